"""Methods that write a frame to a sink."""
