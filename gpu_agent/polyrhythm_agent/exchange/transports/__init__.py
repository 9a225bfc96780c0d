"""How bytes reach another worker: over Gloo, or inside one process."""
