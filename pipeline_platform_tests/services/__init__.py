"""The servers themselves."""
