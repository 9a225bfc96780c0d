"""One pair of modules a family: how its model is loaded, and how it runs a patch of the picture."""
