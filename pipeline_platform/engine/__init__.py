"""Runs a PipelineConfig on a SparkSession: plan, validate, load. No Dagster."""
