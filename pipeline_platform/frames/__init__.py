"""What sources, transforms and sinks share that work on Spark's frames."""
