"""Typed credentials and the one redactor. No Dagster, no Spark."""
