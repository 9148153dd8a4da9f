"""The real servers that tests and developers use, started as processes of this machine."""
