"""Parts of ``scaling.py``: random fleets, their measurement, and what is shown of it."""
