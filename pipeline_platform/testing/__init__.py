"""Tests that stand beside pipelines: rows that are given for extracts, and what is expected of other steps."""
