"""Writes what changes make of a table into it, in one commit that touches no other rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pipeline_platform.connectors.delta.change_columns import ChangeColumns
from pipeline_platform.connectors.delta.change_outcome import ACTION, DELETE, INSERT, UPDATE
from pipeline_platform.connectors.delta.changes import CURRENT, VALID_FROM, VALID_TO
from pipeline_platform.connectors.delta.merge import one_merge
from pipeline_platform.connectors.storage.location import StorageLocation
from pipeline_platform.frames.columns import quoted
from pipeline_platform.frames.remote import is_remote
from pipeline_platform.frames.session import escape_braces, run_sql

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


@dataclass(frozen=True)
class _Clause:
    """One WHEN of a merge.

    Args:
        of: The rows it is about: those that are in both, in the source alone, or in the table alone.
        condition: When it applies, besides.
        sets: The columns that get the values of the source; None to delete the row.
    """

    of: Literal["both", "source", "target"]
    condition: str
    sets: tuple[str, ...] | None = None

    def sql(self) -> str:
        """It as part of a MERGE."""
        words = {"both": "MATCHED", "source": "NOT MATCHED", "target": "NOT MATCHED BY SOURCE"}[self.of]
        return f"WHEN {words} AND {self.condition} THEN {self._then()}"

    def values(self) -> dict[str, str]:
        """The columns that are set, with their values."""
        return {quoted(name): f"source.{quoted(name)}" for name in self.sets or ()}

    def _then(self) -> str:
        if self.sets is None:
            return "DELETE"
        values = self.values()
        if self.of == "source":
            return f"INSERT ({', '.join(values)}) VALUES ({', '.join(values.values())})"
        return f"UPDATE SET {', '.join(f'{name} = {value}' for name, value in values.items())}"


def merge_changes(
    rows: DataFrame,
    place: StorageLocation,
    columns: ChangeColumns,
    commit: Mapping[str, str],
    *,
    merge_schema: bool,
    truncated_before: str | None,
) -> None:
    """Write rows into a table that is there, in one commit.

    Args:
        rows: The rows, with what is done with each.
        place: Where the table is.
        columns: The columns that changes are about.
        commit: Settings of the session with which Delta makes the commit.
        merge_schema: Whether columns that the table does not have are added to it.
        truncated_before: All other rows whose sequence is before this, in SQL, are deleted; None if none are.
    """
    spark = rows.sparkSession
    found_by = [*columns.keys, *([VALID_FROM] if columns.has_versions else [])]
    condition = " AND ".join(f"target.{quoted(name)} = source.{quoted(name)}" for name in found_by)
    written = tuple(name for name in rows.columns if name != ACTION)
    clauses = [
        _Clause("both", f"source.{ACTION} = '{DELETE}'"),
        _Clause("both", f"source.{ACTION} = '{UPDATE}'", (VALID_TO, CURRENT) if columns.has_versions else written),
        _Clause("source", f"source.{ACTION} = '{INSERT}'", written),
    ]
    if truncated_before is not None:
        sequence = f"target.{quoted(columns.sequence)}"
        clauses.append(_Clause("target", f"({sequence} IS NULL OR {sequence} < {truncated_before})"))
    with one_merge(spark, commit):
        if is_remote(spark):
            _merge_by_sql(rows, place, condition, clauses, merge_schema=merge_schema)
        else:
            _merge_by_table(rows, place, condition, clauses, merge_schema=merge_schema)


def _merge_by_table(
    rows: DataFrame, place: StorageLocation, condition: str, clauses: list[_Clause], *, merge_schema: bool
) -> None:
    from delta.tables import DeltaTable

    table = DeltaTable.forPath(rows.sparkSession, place.uri, place.spark_options())
    merging = table.alias("target").merge(rows.alias("source"), condition)
    if merge_schema:
        merging = merging.withSchemaEvolution()
    for clause in clauses:
        match clause.of, clause.sets:
            case "both", None:
                merging = merging.whenMatchedDelete(clause.condition)
            case "both", _:
                merging = merging.whenMatchedUpdate(clause.condition, clause.values())  # pyright: ignore[reportArgumentType]
            case "source", _:
                merging = merging.whenNotMatchedInsert(clause.condition, clause.values())  # pyright: ignore[reportArgumentType]
            case _:
                merging = merging.whenNotMatchedBySourceDelete(clause.condition)
    merging.execute()


def _merge_by_sql(
    rows: DataFrame, place: StorageLocation, condition: str, clauses: list[_Clause], *, merge_schema: bool
) -> None:
    evolution = "WITH SCHEMA EVOLUTION " if merge_schema else ""
    run_sql(
        rows.sparkSession,
        f"MERGE {evolution}INTO delta.{escape_braces(quoted(place.uri))} AS target USING {{source}} AS source "
        f"ON {escape_braces(condition)} {escape_braces(' '.join(clause.sql() for clause in clauses))}",
        source=rows,
    )
