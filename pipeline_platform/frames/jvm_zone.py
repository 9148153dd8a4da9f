"""The time zone of the JVM that reads from a database.

JDBC makes a timestamp without a zone in the default zone of the JVM, and Spark takes the same for what it compares with
in the database. The platform starts its JVMs in UTC; a Spark Connect server, or a session that somebody else has
started, may be in another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.remote import is_remote

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def require_utc(spark: SparkSession) -> None:
    """Raise unless Spark's JVM is in UTC.

    Raises:
        PipelineExecutionException: Timestamps would be shifted by the hours between.
    """
    zone = _remote_zone(spark) if is_remote(spark) else _zone(spark)
    if zone not in ("Z", "UTC", "GMT", "Etc/UTC"):
        raise PipelineExecutionException(
            f"Spark's JVM is in the time zone {zone}, which would shift timestamps that come from a database",
            hint="start it with -Duser.timezone=UTC, in spark.driver.extraJavaOptions and "
            "spark.executor.extraJavaOptions",
        )


def _zone(spark: SparkSession) -> str:
    jvm: Any = spark._jvm  # pyright: ignore[reportPrivateUsage]
    return str(jvm.java.time.ZoneId.systemDefault().normalized().toString())


def _remote_zone(spark: SparkSession) -> str:
    # A row of its own, so that it is an executor which answers: that is where rows are read.
    rows = spark.range(1).selectExpr("java_method('java.time.ZoneId', 'systemDefault') AS zone")
    return str(rows.collect()[0]["zone"])
