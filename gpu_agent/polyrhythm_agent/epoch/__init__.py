"""One run of this worker on one picture: its plan, its steps, its boundaries, and the picture at the end."""
