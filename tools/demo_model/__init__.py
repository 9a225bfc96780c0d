"""Parts of the training of the demo model: pictures, autoencoder, denoiser, export, evaluation.

These modules are run by ``tools/train_demo_model.py`` only; no package of the project imports them.
"""
