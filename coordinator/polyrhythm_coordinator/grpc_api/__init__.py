"""The gRPC services: decode, call the interpreter, encode. Nothing is decided here."""
