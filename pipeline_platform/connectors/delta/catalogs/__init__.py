"""Tables that are registered in a catalog by name."""
