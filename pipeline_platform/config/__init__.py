"""A JSON file becomes a PipelineConfig, or every error in it with its line. No Spark, no Dagster."""
