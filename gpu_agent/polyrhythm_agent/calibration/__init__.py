"""Calibration: what stale activations and merged steps cost on the model at hand, measured by the real step loop.

Owns which plans measure what, the run of a gang in one process, and the file beside the model. Predicts nothing: the
coordinator does that from the numbers.
"""
