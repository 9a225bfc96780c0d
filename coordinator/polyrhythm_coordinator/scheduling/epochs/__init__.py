"""Runs of one gang on one picture: how they start, are told their plan, report, stop and go on after a loss."""
