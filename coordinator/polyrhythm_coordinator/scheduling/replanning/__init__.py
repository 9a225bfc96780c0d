"""Another plan for the rest of a running picture: when one is looked for, and when it is worth it."""
