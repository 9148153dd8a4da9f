"""A JSON file becomes a PipelineConfig, or every mistake in it."""
