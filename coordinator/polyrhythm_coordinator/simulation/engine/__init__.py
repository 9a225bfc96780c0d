"""The scheduling core among virtual agents, on a virtual clock."""
