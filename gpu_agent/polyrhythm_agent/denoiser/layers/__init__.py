"""Layers that see a patch of the picture, and get the rest by the exchange."""
