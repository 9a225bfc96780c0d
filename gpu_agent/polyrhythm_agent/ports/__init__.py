"""What an agent's rooms ask of each other. No behaviour here."""
