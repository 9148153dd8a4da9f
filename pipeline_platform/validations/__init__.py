"""One validation each."""
