"""The parts of ``benchmarks/latency.py``: what is compared, how it is run, and how it is summed up and shown.

Only ``campaign`` talks to a fleet; everything else is pure. Nothing here may depend on a result.
"""
