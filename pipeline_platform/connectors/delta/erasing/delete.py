"""Deletes rows from the newest version of a Delta table, so that its history does not say by which values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline_platform.connectors.delta.merge import one_merge
from pipeline_platform.connectors.files.erasing.parquet_rows import ColumnPath, text_pattern
from pipeline_platform.connectors.files.erasing.untyped import arrow
from pipeline_platform.connectors.storage.location import StorageLocation
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.columns import quoted
from pipeline_platform.frames.remote import is_remote
from pipeline_platform.frames.session import escape_braces, frame_of, run_sql

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_PATTERN = "pattern"


@dataclass(frozen=True)
class Deletion:
    """Rows that are deleted.

    Args:
        place: Where the table is.
        columns: By column, or field within one, the values as text.
        texts: Rows that hold one of these within a text are deleted, too.
    """

    place: StorageLocation
    columns: Mapping[ColumnPath, frozenset[str]]
    texts: frozenset[str]


def delete_rows(spark: SparkSession, deletion: Deletion, mark: str) -> None:
    """Delete rows in one commit; none is made if there are none.

    The predicate of a DELETE would stand in the table's history, with the values in it. Of a merge there stand the
    names of columns alone.

    Args:
        spark: The session.
        deletion: Which rows.
        mark: What the commit says of itself.

    Raises:
        PipelineExecutionException: The session is on a server, and the step has credentials.
    """
    place = deletion.place
    if is_remote(spark) and place.credentials is not None:
        raise PipelineExecutionException(
            "rows can't be erased over Spark Connect with credentials of the step: it runs as SQL, which uses those of "
            "the server",
            hint="run it with SPARK_MASTER",
        )
    target = spark.read.format("delta").options(**place.spark_options()).load(place.uri)
    source, condition = _source(spark, deletion, target)
    commit = {
        "spark.databricks.delta.commitInfo.userMetadata": mark,
        # A row that is only marked as deleted is still in its file.
        "spark.databricks.delta.merge.deletionVectors.persistent": "false",
    }
    with one_merge(spark, commit):
        if is_remote(spark):
            run_sql(
                spark,
                f"MERGE INTO delta.{escape_braces(quoted(place.uri))} AS target USING {{source}} AS source "
                f"ON {escape_braces(condition)} WHEN MATCHED THEN DELETE",
                source=source,
            )
            return
        from delta.tables import DeltaTable

        table = DeltaTable.forPath(spark, place.uri, place.spark_options())
        table.alias("target").merge(source.alias("source"), condition).whenMatchedDelete().execute()


def rewrite_marked(spark: SparkSession, place: StorageLocation) -> None:
    """Write files again whose rows are marked as deleted, without them.

    Args:
        spark: The session.
        place: Where the table is.
    """
    from pipeline_platform.frames.settings import spark_settings

    with spark_settings(spark, place.session_settings()):
        run_sql(spark, f"REORG TABLE delta.{escape_braces(quoted(place.uri))} APPLY (PURGE)").collect()


def commit_nothing(spark: SparkSession, place: StorageLocation, mark: str) -> None:
    """Make a commit that changes nothing, so that the one before it is not the newest any more.

    Args:
        spark: The session.
        place: Where the table is.
        mark: What the commit says of itself.
    """
    from pipeline_platform.frames.settings import spark_settings

    commit = {
        "spark.databricks.delta.commitInfo.userMetadata": mark,
        "spark.databricks.delta.skipRecordingEmptyCommits": "false",
    }
    table = spark.read.format("delta").options(**place.spark_options()).load(place.uri)
    with spark_settings(spark, commit):
        table.limit(0).write.format("delta").options(**place.spark_options()).mode("append").save(place.uri)


def _source(spark: SparkSession, deletion: Deletion, target: DataFrame) -> tuple[DataFrame, str]:
    """The values as a frame, a row for each, and the condition by which they find rows of the table."""
    pa = arrow()
    from pyspark.sql import functions as F

    names = list(deletion.columns)
    fields = [f"key{place}" for place in range(len(names))]
    rows = [
        {field: value} for field, name in zip(fields, names, strict=True) for value in sorted(deletion.columns[name])
    ]
    if deletion.texts:
        rows.append({_PATTERN: text_pattern(deletion.texts)})
    schema = pa.schema([(field, pa.string()) for field in (*fields, _PATTERN)])
    texts = ", ".join(f"{field} string" for field in (*fields, _PATTERN))
    given = frame_of(spark, pa.Table.from_pylist(rows, schema=schema), texts)
    conditions: list[str] = []
    typed: dict[str, Any] = {}
    for field, name in zip(fields, names, strict=True):
        path = ".".join(map(quoted, name))
        kind = target.select(F.col(path).alias(field)).schema[0].dataType
        typed[field] = F.col(field).try_cast(kind)
        conditions.append(f"target.{path} = source.{field}")
    if deletion.texts:
        conditions += [
            f"target.{quoted(column.name)} RLIKE source.{_PATTERN}"
            for column in target.schema
            if column.dataType.simpleString() == "string"
        ]
    return given.withColumns(typed) if typed else given, " OR ".join(conditions)
