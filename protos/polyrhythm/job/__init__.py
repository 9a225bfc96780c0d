"""What a client asks for, what it is told, and what it gets."""
