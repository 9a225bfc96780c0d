"""Plans of one picture: what they cost, what they lose, and which one is the fastest. Mathematics only."""
