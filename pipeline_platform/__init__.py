"""Data pipelines as JSON files, run as Dagster assets on Spark and Delta Lake."""
