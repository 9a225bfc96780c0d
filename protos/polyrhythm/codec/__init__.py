"""The vocabulary to and from protobuf, inverses of each other.

Owns the only hand-written code that reads the generated messages, beside servicers and links. Must not decide anything:
what a message means is the vocabulary's business, and what cannot be understood is an error that names the field.
"""
