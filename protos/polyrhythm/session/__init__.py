"""What crosses between coordinator, daemon and worker."""
