"""What changes leave behind that no row of their table shows: deletes, and changes that changed nothing.

A change that comes late is right only if they are known. They are in a Delta table within the table's folder, one row
each, with no values but keys and sequence. No commit is of two tables at once: this one is written first, and a commit
of it says which commit of the other it belongs to. Where that one never came, it is taken back by the next load.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from pipeline_platform.connectors.delta.changes.columns import ChangeColumns
from pipeline_platform.connectors.delta.history import commits_of
from pipeline_platform.connectors.delta.table import open_table
from pipeline_platform.connectors.delta.type_widening import allow_widening, require_may_widen
from pipeline_platform.connectors.storage.location import StorageLocation
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.columns import nullable_columns, quoted
from pipeline_platform.frames.remote import is_remote
from pipeline_platform.frames.session import empty_frame, escape_braces, run_sql

if TYPE_CHECKING:
    from deltalake import DeltaTable
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import DataType, StructType

_FOLDER = "_pipeline_platform/changes"
"""Delta and VACUUM take no notice of folders whose names begin with `_`."""


@dataclass(frozen=True)
class LoadMark:
    """The transaction with which Delta knows a load.

    Args:
        app: The id of the application.
        version: Its version.
    """

    app: str
    version: int

    def is_in(self, table: DeltaTable | None) -> bool:
        """Whether a table holds what the load wrote."""
        done = table.transaction_version(self.app) if table is not None else None
        return done is not None and done >= self.version


@dataclass(frozen=True)
class ChangeMemory:
    """The remembered changes of a table.

    Args:
        table_place: Where the table is.
        columns: The columns that changes are about.
    """

    table_place: StorageLocation
    columns: ChangeColumns

    @property
    def place(self) -> StorageLocation:
        """Where they are."""
        return replace(self.table_place, uri=f"{self.table_place.uri.rstrip('/')}/{_FOLDER}")

    def types(self) -> dict[str, DataType]:
        """The types that keys and sequence have there, by name; none if nothing is remembered."""
        memory = open_table(self.place)
        return self._types_in(_schema_of(memory)) if memory is not None else {}

    def require_may_widen(self) -> None:
        """Require that keys and sequence get wider types there, or can be allowed to.

        Raises:
            PipelineExecutionException: They can't.
        """
        memory = open_table(self.place)
        if memory is not None:
            require_may_widen(self.place, memory.metadata().configuration)

    def require_same_meaning(self) -> None:
        """Require that the changes before had the same keys.

        Raises:
            PipelineExecutionException: They had others.
        """
        memory = open_table(self.place)
        before = next(self._marks(memory), None) if memory is not None else None
        for key, now in self._meaning.items():
            if before is not None and before[key] != now:
                raise PipelineExecutionException(
                    f"changes were applied to the table at {self.table_place.uri} with '{key}' {_shown(before[key])} "
                    f"before, and the step says {_shown(now)}",
                    hint="leave it as it was, or load the changes from the beginning into another path",
                )

    def confirmed(self, spark: SparkSession, table: DeltaTable | None) -> DataFrame | None:
        """What is remembered, without what belongs to a load whose commit of the table never came.

        Args:
            spark: The session.
            table: The table as it is now; None if there is none, and then nothing counts.
        """
        memory = open_table(self.place)
        if memory is None:
            return None
        pending = self._pending(memory)
        if table is None and memory.version() > 0:
            self._restore(spark, 0)
        elif pending is not None and not pending[1].is_in(table):
            self._restore(spark, pending[0] - 1)
        return spark.read.format("delta").options(**self.place.spark_options()).load(self.place.uri)

    def begin(self, changes: DataFrame) -> None:
        """Note by what rows are told apart and ordered, unless that is noted.

        Args:
            changes: With the columns of what is remembered.
        """
        if open_table(self.place) is None:
            # So that there always is a version to go back to, too.
            self._save(empty_frame(changes.sparkSession, nullable_columns(changes.schema)), {})

    def add(self, changes: DataFrame, load: LoadMark, *, is_pending: bool) -> None:
        """Remember changes, in one commit.

        Args:
            changes: With the columns of what is remembered.
            load: The load they came with.
            is_pending: Whether they count only once the table holds the load.
        """
        self._save(changes, {"app": load.app, "version": load.version} if is_pending else {})

    def settle(self, spark: SparkSession, changes: DataFrame) -> None:
        """Make what was added last count by itself, as the table needed no commit.

        Args:
            spark: The session.
            changes: What was added.
        """
        self.confirmed(spark, open_table(self.table_place))
        self._save(changes, {})

    @property
    def _meaning(self) -> dict[str, Any]:
        return {
            "keys": [name.lower() for name in self.columns.keys],
            "sequenceBy": self.columns.sequence.lower(),
            "scdType": 2 if self.columns.has_versions else 1,
        }

    def _types_in(self, schema: StructType) -> dict[str, DataType]:
        key = cast("StructType", schema["key"].dataType)
        types = {name: field.dataType for name, field in zip(self.columns.keys, key, strict=False)}
        return {**types, self.columns.sequence: schema["sequence"].dataType}

    def _save(self, changes: DataFrame, pending: dict[str, Any]) -> None:
        options = {
            "userMetadata": json.dumps({**self._meaning, **pending}),
            # Each load adds a small file.
            "delta.autoOptimize.autoCompact": "true",
        }
        if self._is_widened_for(changes):
            options["mergeSchema"] = "true"
        writer = changes.write.format("delta").mode("append")
        writer.options(**options, **self.place.spark_options()).save(self.place.uri)

    def _is_widened_for(self, changes: DataFrame) -> bool:
        """Whether keys or sequence get wider types with these changes; if so, Delta is told that it may give them.

        Their own commit does it, so that a load that is taken back takes the types back as well.
        """
        memory = open_table(self.place)
        if memory is None or not self.columns.types:
            return False
        if self._types_in(changes.schema) == self._types_in(_schema_of(memory)):
            return False
        allow_widening(changes.sparkSession, self.place, memory.metadata().configuration)
        return True

    def _pending(self, memory: DeltaTable) -> tuple[int, LoadMark] | None:
        """The newest version that remembers something, if it counts only once the table holds the load."""
        for commit in commits_of(memory, self.place):
            if commit.get("operation") == "RESTORE":
                return None
            if (mark := _mark(commit)) is not None:
                return (commit["version"], LoadMark(mark["app"], mark["version"])) if "app" in mark else None
        return None

    def _marks(self, memory: DeltaTable) -> Iterator[dict[str, Any]]:
        marks = map(_mark, commits_of(memory, self.place))
        return (mark for mark in marks if mark is not None)

    def _restore(self, spark: SparkSession, version: int) -> None:
        if is_remote(spark):
            path = escape_braces(quoted(self.place.uri))
            run_sql(spark, f"RESTORE TABLE delta.{path} TO VERSION AS OF {version}").collect()
            return
        from delta.tables import DeltaTable

        DeltaTable.forPath(spark, self.place.uri, self.place.spark_options()).restoreToVersion(version)


def truncations_in(memory: DataFrame) -> DataFrame:
    """Of what is remembered, the changes that are of no row alone.

    Args:
        memory: What is remembered.
    """
    return memory.filter("key IS NULL")


def _mark(commit: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a commit of ours says of itself; None for one that somebody else made."""
    try:
        mark: Any = json.loads(commit.get("userMetadata") or "")
    except ValueError:
        return None
    return cast("dict[str, Any]", mark) if isinstance(mark, dict) and "keys" in mark else None


def _shown(value: Any) -> str:
    return ", ".join(cast("list[str]", value)) if isinstance(value, list) else str(value)


def _schema_of(memory: DeltaTable) -> StructType:
    from pyspark.sql.types import StructType

    return StructType.fromJson(json.loads(memory.schema().to_json()))
