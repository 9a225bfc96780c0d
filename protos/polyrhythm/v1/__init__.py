"""Public API: the stubs of polyrhythm.v1, generated beside their .proto files."""
