"""Statements of SQL about tables, with texts in them that people have written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline_platform.frames.session import run_sql
from pipeline_platform.frames.settings import spark_settings

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

# By default Spark puts the environment's variables into SQL, within its strings, too.
_AS_WRITTEN = {"spark.sql.variable.substitute": "false"}


def run_statement(spark: SparkSession, statement: str) -> DataFrame:
    """Run a statement as it is written.

    Args:
        spark: The session.
        statement: The statement.
    """
    with spark_settings(spark, _AS_WRITTEN):
        # It names no frames, so that braces in it are none of a frame's name.
        return run_sql(spark, statement)
