"""Methods that make a frame of one or more others."""
