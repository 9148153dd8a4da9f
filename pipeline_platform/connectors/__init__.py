"""One folder for each system."""
