"""What a model is and costs, as far as somebody without its weights has to know."""
