"""What is asked of a Spark session, with the types that pyspark leaves open."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import StructType


def escape_braces(sql: str) -> str:
    """SQL as a part of a statement for `run_sql`, which looks for the names of frames in braces."""
    return sql.replace("{", "{{").replace("}", "}}")


def run_sql(spark: SparkSession, statement: str, **frames: DataFrame) -> DataFrame:
    """Run a statement of Spark SQL.

    Args:
        spark: The session.
        statement: A frame is named in it as `{name}`.
        frames: The frames that it names.
    """
    session: Any = spark
    return session.sql(statement, **frames)


def empty_frame(spark: SparkSession, schema: StructType | str) -> DataFrame:
    """A frame without rows.

    Args:
        spark: The session.
        schema: Its columns.
    """
    return frame_of(spark, [], schema)


def frame_of(spark: SparkSession, rows: Any, schema: StructType | str) -> DataFrame:
    """A frame of rows that are there.

    Args:
        spark: The session.
        rows: A list of tuples, or a table of pyarrow's.
        schema: Its columns.
    """
    session: Any = spark
    return session.createDataFrame(rows, schema)


def arrow_table(frame: DataFrame) -> Any:
    """All rows of a frame, as a table of pyarrow's.

    Args:
        frame: The frame, of few rows.
    """
    asked: Any = frame
    return asked.toArrow()
