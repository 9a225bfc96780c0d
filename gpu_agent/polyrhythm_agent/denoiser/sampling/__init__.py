"""Noise levels, updates and drawn noise: what turns predictions into the next latent."""
