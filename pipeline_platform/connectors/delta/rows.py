"""Rows of a Delta table that is there, changed and deleted by a condition, each in one commit of Spark's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pipeline_platform.connectors.storage.location import StorageLocation
from pipeline_platform.frames.columns import quoted
from pipeline_platform.frames.remote import is_remote
from pipeline_platform.frames.session import empty_frame, run_sql

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import StructType


def rows_of(spark: SparkSession, place: StorageLocation, version: int | None = None) -> DataFrame:
    """The rows of a table.

    Args:
        spark: The session.
        place: Where the table is.
        version: Of the table; None for the newest whenever they are read.
    """
    reader = spark.read.format("delta").options(**place.spark_options())
    if version is not None:
        reader = reader.option("versionAsOf", str(version))
    return reader.load(place.uri)


def update_rows(spark: SparkSession, place: StorageLocation, condition: str, values: Mapping[str, str]) -> None:
    """Give columns other values in the rows for which a condition holds.

    Args:
        spark: The session.
        place: Where the table is.
        condition: Spark SQL.
        values: By column, Spark SQL.
    """
    if is_remote(spark):
        changes = ", ".join(f"{quoted(name)} = {value}" for name, value in values.items())
        run_sql(spark, f"UPDATE delta.{quoted(place.uri)} SET {changes} WHERE {condition}")
        return
    from delta.tables import DeltaTable

    table = DeltaTable.forPath(spark, place.uri, place.spark_options())
    table.update(condition, {quoted(name): value for name, value in values.items()})


def delete_rows(spark: SparkSession, place: StorageLocation, condition: str) -> None:
    """Delete the rows for which a condition holds.

    Args:
        spark: The session.
        place: Where the table is.
        condition: Spark SQL.
    """
    if is_remote(spark):
        run_sql(spark, f"DELETE FROM delta.{quoted(place.uri)} WHERE {condition}")
        return
    from delta.tables import DeltaTable

    DeltaTable.forPath(spark, place.uri, place.spark_options()).delete(condition)


def add_columns(spark: SparkSession, place: StorageLocation, columns: StructType) -> None:
    """Give a table columns that it lacks; they are NULL in the rows that are there.

    Args:
        spark: The session.
        place: Where the table is.
        columns: The columns.
    """
    # ALTER TABLE takes no credentials of a step.
    writer = empty_frame(spark, columns).write.format("delta").mode("append").option("mergeSchema", "true")
    writer.options(**place.spark_options()).save(place.uri)
