"""What is computed where and when, what it costs, and why it was chosen."""
