"""The seams of an agent: what its rooms ask of each other. No behaviour here."""
