"""Agents: which may work on a picture now, what is known of their speed, and what is kept free for whom."""
