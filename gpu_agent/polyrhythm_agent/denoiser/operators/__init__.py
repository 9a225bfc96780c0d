"""The one place where the products of a denoiser's layers are computed."""
