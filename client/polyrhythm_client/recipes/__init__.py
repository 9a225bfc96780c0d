"""What a PNG carries of how it was made, written and read again."""
