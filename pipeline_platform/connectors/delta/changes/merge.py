"""Writes what changes make of a table into it, in one commit that touches no other rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pipeline_platform.connectors.delta.changes.columns import ChangeColumns
from pipeline_platform.connectors.delta.changes.config import CURRENT, VALID_FROM, VALID_TO
from pipeline_platform.connectors.delta.changes.outcome import ACTION, DELETE, INSERT, UPDATE
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


@dataclass(frozen=True)
class ChangeMerge:
    """What changes make of a table that is there.

    Args:
        rows: Rows of the table, with what is done with each.
        place: Where the table is.
        columns: The columns that changes are about.
        within: A condition that holds for all of the rows, with which Delta leaves out files.
        truncated_at: All other rows whose sequence is before this, as SQL, are deleted; None if none are.
    """

    rows: DataFrame
    place: StorageLocation
    columns: ChangeColumns
    within: str
    truncated_at: str | None

    def write(self, commit: Mapping[str, str], *, merge_schema: bool) -> None:
        """Write them in one commit.

        Args:
            commit: Settings of the session with which Delta makes the commit.
            merge_schema: Whether columns that the table does not have are added to it.
        """
        spark = self.rows.sparkSession
        with one_merge(spark, commit):
            if is_remote(spark):
                self._by_sql(merge_schema=merge_schema)
            else:
                self._by_table(merge_schema=merge_schema)

    @property
    def _condition(self) -> str:
        found_by = [*self.columns.keys, *([VALID_FROM] if self.columns.has_versions else [])]
        equal = [f"target.{quoted(name)} = source.{quoted(name)}" for name in found_by]
        return " AND ".join([*equal, self.within])

    @property
    def _clauses(self) -> list[_Clause]:
        written = tuple(name for name in self.rows.columns if name != ACTION)
        updated = (VALID_TO, CURRENT) if self.columns.has_versions else written
        clauses = [
            _Clause("both", f"source.{ACTION} = '{DELETE}'"),
            _Clause("both", f"source.{ACTION} = '{UPDATE}'", updated),
            _Clause("source", f"source.{ACTION} = '{INSERT}'", written),
        ]
        if self.truncated_at is not None:
            sequence = f"target.{quoted(self.columns.sequence)}"
            clauses.append(_Clause("target", f"({sequence} IS NULL OR {sequence} < {self.truncated_at})"))
        return clauses

    def _by_table(self, *, merge_schema: bool) -> None:
        from delta.tables import DeltaTable

        table = DeltaTable.forPath(self.rows.sparkSession, self.place.uri, self.place.spark_options())
        merging = table.alias("target").merge(self.rows.alias("source"), self._condition)
        if merge_schema:
            merging = merging.withSchemaEvolution()
        for clause in self._clauses:
            values: dict[str, Any] = clause.values()
            match clause.of, clause.sets:
                case "both", None:
                    merging = merging.whenMatchedDelete(clause.condition)
                case "both", _:
                    merging = merging.whenMatchedUpdate(clause.condition, values)
                case "source", _:
                    merging = merging.whenNotMatchedInsert(clause.condition, values)
                case _:
                    merging = merging.whenNotMatchedBySourceDelete(clause.condition)
        merging.execute()

    def _by_sql(self, *, merge_schema: bool) -> None:
        evolution = "WITH SCHEMA EVOLUTION " if merge_schema else ""
        clauses = " ".join(clause.sql() for clause in self._clauses)
        run_sql(
            self.rows.sparkSession,
            f"MERGE {evolution}INTO delta.{escape_braces(quoted(self.place.uri))} AS target USING {{source}} AS source "
            f"ON {escape_braces(self._condition)} {escape_braces(clauses)}",
            source=self.rows,
        )
