"""Methods that read a dataset into a frame."""
