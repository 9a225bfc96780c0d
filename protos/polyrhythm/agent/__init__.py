"""Private API between coordinator, agents and their children."""
