"""Measures the platform against hand-written Spark scripts of the same jobs."""
