"""A shallow clone of a Delta table: a table of its own, whose rows lie in the other one's files until they change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline_platform.config.sql import sql_text
from pipeline_platform.connectors.delta.history import CLONED_FROM
from pipeline_platform.connectors.delta.table import open_table
from pipeline_platform.connectors.storage.bucket import require_bucket
from pipeline_platform.connectors.storage.location import StorageLocation
from pipeline_platform.frames.columns import quoted
from pipeline_platform.frames.session import escape_braces, run_sql
from pipeline_platform.frames.settings import spark_settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def clone(source: StorageLocation, target: StorageLocation, spark: SparkSession) -> str | None:
    """Make a table that is not there yet a shallow clone of another one.

    Args:
        source: The other table.
        target: Where the clone is to be.
        spark: The session.

    Returns:
        Where the other table is; None if there is none, or the table is there already.
    """
    require_bucket(target)
    if open_table(target) is not None or open_table(source) is None:
        return None
    # A statement takes no options.
    with spark_settings(spark, {**source.session_settings(), **target.session_settings()}):
        origin = sql_text(source.uri)
        statement = (
            f"CREATE TABLE delta.{quoted(target.uri)} SHALLOW CLONE delta.{quoted(source.uri)} "
            f"TBLPROPERTIES ('{CLONED_FROM}' = {origin})"
        )
        run_sql(spark, escape_braces(statement)).collect()
    return source.uri
