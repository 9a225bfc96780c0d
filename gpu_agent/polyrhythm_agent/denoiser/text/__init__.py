"""From a prompt to what a denoiser is conditioned on."""
