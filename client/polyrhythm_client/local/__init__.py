"""A fleet of this machine, started by the command line as child processes and ended with it.

Owns which agents to start, and their processes. Must not import the other roles: their executables are started, and
spoken to over gRPC like any other fleet.
"""
