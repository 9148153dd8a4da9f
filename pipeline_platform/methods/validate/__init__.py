"""Methods that hold rules against a frame."""
