"""A described fleet in virtual time: the very scheduling core, and agents that compute nothing but the clock.

Reads no wall clock and draws no random number: the same description gives the same timeline to the last digit. Knows no
network; ``python -m polyrhythm_coordinator.simulation`` is its command line.
"""
