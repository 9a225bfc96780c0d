"""Private API: the stubs of polyrhythm.agent.v1, generated beside their .proto files."""
