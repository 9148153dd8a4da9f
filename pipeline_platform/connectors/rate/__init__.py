"""Spark's source of generated rows."""
