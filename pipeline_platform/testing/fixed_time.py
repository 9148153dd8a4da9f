"""A session in which it is always the same time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pipeline_platform.config.placeholders import strings_in
from pipeline_platform.config.step import Step
from pipeline_platform.exceptions import PipelineConfigurationException

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# Those without parentheses Spark looks up nowhere; `unix_timestamp` has another meaning with an argument.
_OF_SPARK_ALONE = re.compile(
    r"(?<![\w.`'\"])((current_timestamp|current_date|localtimestamp)\b(?!\s*\()|unix_timestamp\s*\(\s*\))",
    re.IGNORECASE,
)


def session_at(spark: SparkSession, now: str) -> SparkSession:
    """Another session of the same JVM, whose functions for the current time give this one.

    Spark's own are dropped from it, and functions of SQL take their names.

    Args:
        spark: A session in this process.
        now: An ISO time with its zone.

    Raises:
        PipelineConfigurationException: The session is on a server, which has its own clock.
    """
    if not hasattr(spark, "_jsparkSession"):
        raise PipelineConfigurationException(
            "'now' needs Spark in this process, and the session is on a Spark Connect server",
            hint="unset SPARK_REMOTE, or set PIPELINE_PLATFORM_SPARK_SERVER to never",
        )
    moment = datetime.fromisoformat(now).astimezone(UTC)
    timestamp, day = f"{moment:%Y-%m-%d %H:%M:%S.%f}", f"{moment:%Y-%m-%d}"
    session: Any = spark.newSession()
    registry = session._jsparkSession.sessionState().functionRegistry()
    identifier = session._jvm.org.apache.spark.sql.catalyst.FunctionIdentifier
    for signature, returned in (
        ("current_timestamp() RETURNS TIMESTAMP", f"TIMESTAMP '{timestamp}Z'"),
        ("now() RETURNS TIMESTAMP", f"TIMESTAMP '{timestamp}Z'"),
        ("localtimestamp() RETURNS TIMESTAMP_NTZ", f"CAST(TIMESTAMP '{timestamp}Z' AS TIMESTAMP_NTZ)"),
        ("current_date() RETURNS DATE", f"DATE '{day}'"),
        ("curdate() RETURNS DATE", f"DATE '{day}'"),
    ):
        registry.dropFunction(identifier(signature.partition("(")[0]))
        session.sql(f"CREATE TEMPORARY FUNCTION {signature} RETURN {returned}")
    return session


def clock_readers(steps: list[Step]) -> Iterator[tuple[Step, str]]:
    """The steps that ask for the time in a way that can't be answered otherwise, each with what it writes.

    Args:
        steps: The steps.
    """
    for step in steps:
        written: Mapping[str, Any] = step.config.as_written.model_dump(exclude_unset=True)
        for text in strings_in(written):
            if (found := _OF_SPARK_ALONE.search(text)) is not None:
                yield step, found[0]
                break
