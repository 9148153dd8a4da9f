"""Tables of live databases, mirrored while the runs that do it are killed."""
