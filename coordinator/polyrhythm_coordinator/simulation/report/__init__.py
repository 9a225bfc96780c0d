"""What became of a simulated request: as data, and as a picture."""
