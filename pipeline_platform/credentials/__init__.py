"""Typed credentials, where they come from, and who asked for them. No Dagster, no Spark."""
