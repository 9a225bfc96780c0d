"""What a daemon does about its worker and the coordinator's commands: events in, effects out.

Owns the rules of relaying, restarting, aborting and killing. Pure: no process, no socket, no clock, no logging; the
time is an argument. ``worker_process`` and ``coordinator_link`` are its edges.
"""
