"""One transform each."""
