"""The process that holds the model and computes. It may die at any moment."""
