"""The data plane of a gang: who sends what when (pure), mailboxes, transports, rendezvous."""
