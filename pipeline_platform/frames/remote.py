"""Spark Connect: a session on a server, which takes DataFrames and SQL, but nothing that needs its JVM at hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def is_remote(spark: SparkSession) -> bool:
    """Whether a session is one on a Spark Connect server."""
    return type(spark).__module__.startswith("pyspark.sql.connect.")
