"""What the core knows, frozen; what can happen to it and what it wants done; the transaction that replaces it."""
