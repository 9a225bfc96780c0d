"""The core in its world: feeds it events, carries out its effects, and bounds what waits to be read."""
