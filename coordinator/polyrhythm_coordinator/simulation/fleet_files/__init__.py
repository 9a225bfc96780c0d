"""Described fleets: read, written, made from presets and from real runs."""
