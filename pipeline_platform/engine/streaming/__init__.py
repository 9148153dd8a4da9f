"""Streams: their queries, checkpoints and state."""
