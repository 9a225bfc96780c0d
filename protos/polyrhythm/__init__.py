"""The vocabulary that client, coordinator and agents share.

Owns the version of the distribution. Must not import anything: every role imports this package first.
"""

__version__ = "0.1.0"
