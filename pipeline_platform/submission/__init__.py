"""Runs that `spark-submit` starts: what it is given, what its driver does, and how the driver tells of it."""
