"""The command line: what users write, and what they see."""
