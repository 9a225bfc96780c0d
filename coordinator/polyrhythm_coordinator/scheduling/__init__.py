"""The scheduling core: what to run where, and what to do when something happens. Pure.

Owns every decision of the coordinator. No transport, tensors, event loop, clock, randomness or logging in here: time
and numbers come in as arguments, decisions go out as values.
"""
