"""Device memory: what is free, what a part takes, and what must fit."""
