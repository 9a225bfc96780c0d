"""Parts of ``replan.py``."""
