"""Model families over diffusers, run patch by patch: grids, samplers, patch-parallel attention, adapters, loading.

Owns everything that knows a model. Must not import exchange, governor or checksums: they reach in through the ports.
"""
