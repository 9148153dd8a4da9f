"""Regular expressions as Spark reads them, which are Java's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline_platform.frames.remote import is_remote

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def java_pattern_mistake(spark: SparkSession, pattern: str) -> str | None:
    """What is wrong with a regular expression; None if nothing is, or if Java is out of reach.

    Args:
        spark: The session; over Spark Connect there is no Java to ask.
        pattern: The expression.
    """
    if is_remote(spark):
        return None
    from pyspark.errors import IllegalArgumentException

    jvm: Any = spark._jvm  # pyright: ignore[reportPrivateUsage]
    try:
        jvm.java.util.regex.Pattern.compile(pattern)
    except IllegalArgumentException as error:
        return str(error).split("\n", 1)[0].strip()
    return None
