"""Mode `applyChanges` with `snapshotKeys`: the frame is all there is, and the table, or its history, becomes that.

Nothing is remembered beside the table: what has changed is what is different from it. One commit writes that; there is
none where nothing is different.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pipeline_platform.config.schema_policy import SchemaPolicy
from pipeline_platform.connectors.delta.changes.columns import ChangeColumns, FrameChanges, comparable
from pipeline_platform.connectors.delta.changes.config import CURRENT, VALID_FROM, VALID_TO
from pipeline_platform.connectors.delta.changes.fit import require_still_held
from pipeline_platform.connectors.delta.changes.memory import ChangeMemory
from pipeline_platform.connectors.delta.changes.merge import ChangeMerge
from pipeline_platform.connectors.delta.changes.outcome import ACTION, DELETE, INSERT, UPDATE
from pipeline_platform.connectors.delta.errors import INCOMPLETE_CHANGE
from pipeline_platform.connectors.delta.merge import with_unique_keys
from pipeline_platform.connectors.delta.table import open_table, require_unchanged
from pipeline_platform.connectors.delta.type_widening import allow_widening
from pipeline_platform.connectors.storage.location import StorageLocation
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.by_name import by_name, joint_type
from pipeline_platform.frames.columns import HELPER_PREFIX, quoted
from pipeline_platform.frames.made_once import rows_made_once

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import DataType, StructType

_NEW, _OLD = f"{HELPER_PREFIX}new", f"{HELPER_PREFIX}old"
_KEY = f"{HELPER_PREFIX}key"
_UNKEYED = "a row of the table, which no snapshot could delete, has NULL in"


@dataclass(frozen=True)
class SnapshotLoad:
    """A snapshot that is loaded into a table.

    Args:
        given: The rows.
        place: Where the table is.
        commit: Settings of a session with which Delta makes the commit of the load.
        merge_schema: Whether columns that the table does not have are added to it, and its types get wider.
        widens: Whether columns of the table that is there are to get wider types.
        create: Makes the table of its first rows, with that commit.
    """

    given: FrameChanges
    place: StorageLocation
    commit: Mapping[str, str]
    merge_schema: bool
    widens: bool
    create: Callable[[DataFrame], None]

    def require_fit(self, table: StructType, policy: SchemaPolicy | None) -> None:
        """Require that the table that is there can become what the snapshot is.

        Args:
            table: Its columns.
            policy: What happens where they are others.

        Raises:
            PipelineExecutionException: It can't.
        """
        self.given.require_fit(table, self.place.uri, policy)
        if open_table(ChangeMemory(self.place, self._columns).place) is not None:
            raise PipelineExecutionException(
                f"the table at {self.place.uri} has had single changes applied to it, which a snapshot would undo",
                hint="apply changes with 'keys' again, or load the snapshots into another path",
            )

    def write(self) -> None:
        """Write what is different, in one commit of the table.

        Raises:
            PipelineExecutionException: The snapshot is older than what the table has, or another load has changed the
                table meanwhile.
        """
        with ExitStack() as kept:
            # At once, so that what counts the rows of the frame hears of it.
            rows = kept.enter_context(rows_made_once(self._checked(), at_once=True))
            at = self._taken_at(rows)
            table = open_table(self.place)
            if table is None:
                self.create(self._first(rows, at))
                return
            if self.widens:
                # A version of its own, before the table is looked at, which is not to change from then on.
                allow_widening(rows.sparkSession, self.place, table.metadata().configuration)
                table = open_table(self.place) or table
            reader = rows.sparkSession.read.format("delta").options(**self.place.spark_options())
            stored = reader.load(self.place.uri)
            require_still_held(self._columns, stored.schema, self.place.uri)
            different = kept.enter_context(rows_made_once(self._different(rows, stored, at), at_once=False))
            if different.isEmpty():
                return
            if self._columns.has_versions:
                self._require_newest(stored, at)
            require_unchanged(table, self.place)
            merge = ChangeMerge(different, self.place, self._columns, within="true", truncated_at=None)
            merge.write(self.commit, merge_schema=self.merge_schema)

    @property
    def _columns(self) -> ChangeColumns:
        return self.given.columns

    def _checked(self) -> DataFrame:
        """The rows, made to fail while they are read at one without a key, or at two with the same."""
        return with_unique_keys(self._with_keys(self.given.frame, INCOMPLETE_CHANGE), self._columns.keys)

    def _with_keys(self, rows: DataFrame, message: str) -> DataFrame:
        """Rows, made to fail while they are read at one without a key."""
        from pyspark.sql import functions as F

        missing = F.coalesce(*(F.when(F.col(quoted(name)).isNull(), F.lit(name)) for name in self._columns.keys))
        failed = F.raise_error(F.concat(F.lit(f"{message} "), missing)).cast("boolean")
        return rows.filter(F.when(missing.isNotNull(), failed).otherwise(F.lit(True)))

    def _taken_at(self, rows: DataFrame) -> Column:
        """When the snapshot was taken: now, or what all of its rows say."""
        from pyspark.sql import functions as F

        name, kind = self.given.changes.sequence_by, rows.schema[self._columns.sequence].dataType
        if name is None:
            return F.lit(datetime.now(UTC))
        sequence = F.col(quoted(self._columns.sequence))
        # As text: Python has not every date, and takes a time without a zone for one of the machine's.
        texts = [best(sequence).cast("string") for best in (F.min, F.max)]
        found: Any = rows.agg(*texts, F.count_if(sequence.isNull())).collect()[0]
        first, last, unknown = found
        if first is None or first != last or unknown:
            told = (
                "NULL" if unknown else f"both {first} and {last}" if first != last else "no value, as there is no row"
            )
            raise PipelineExecutionException(
                f"a snapshot is of one time, and its '{name}' has {told}",
                hint="load one snapshot at a time: filter the rows before the load, or leave 'sequenceBy' out",
            )
        return F.lit(first).cast(kind)

    def _first(self, rows: DataFrame, at: Column) -> DataFrame:
        from pyspark.sql import functions as F

        columns = [F.col(quoted(name)) for name in self._columns.stored]
        return rows.select(*columns, *(self._valid(at, None) if self._columns.has_versions else []))

    def _valid(self, since: Column, until: Column | None) -> list[Column]:
        """The columns of the table that say when a version was valid."""
        from pyspark.sql import functions as F

        kind = self.given.frame.schema[self._columns.sequence].dataType
        ended = (until if until is not None else F.lit(None)).cast(kind)
        return [since.cast(kind).alias(VALID_FROM), ended.alias(VALID_TO), F.lit(until is None).alias(CURRENT)]

    def _different(self, rows: DataFrame, stored: DataFrame, at: Column) -> DataFrame:
        """The rows of the table that are added, changed or deleted, with what is done with each."""
        from pyspark.sql import functions as F

        columns = self._columns
        now = self._with_keys(stored.filter(quoted(CURRENT)) if columns.has_versions else stored, _UNKEYED)
        types = self._types(stored.schema)
        given = rows.select(*(F.col(quoted(name)) for name in columns.stored))
        new = given.select(self._key(types), F.struct(*self._values(given, types)).alias(_NEW))
        since = [F.col(quoted(VALID_FROM)).alias(VALID_FROM)] if columns.has_versions else []
        old = now.select(self._key(types), F.struct(*self._values(now, types), *since).alias(_OLD))
        pairs = new.join(old, _KEY, "full_outer")
        if columns.carried:
            kept = [F.col(_OLD if name in columns.carried else _NEW).getField(name).alias(name) for name in types]
            pairs = pairs.withColumn(_NEW, F.when(F.col(_NEW).isNotNull(), F.struct(*kept)))
        was = F.struct(*(F.col(_OLD).getField(name).alias(name) for name in columns.written))
        kind = new.schema[_NEW].dataType
        is_same = comparable(F.col(_NEW), kind).eqNullSafe(comparable(was, kind))
        inserted = self._written(_NEW, INSERT, at, None)
        if columns.has_versions:
            ended = self._written(_OLD, UPDATE, F.col(_OLD).getField(VALID_FROM), at)
            changed, gone = F.array(ended, inserted), F.array(ended)
        else:
            changed = F.array(self._written(_NEW, UPDATE, at, None))
            gone = F.array(self._written(_OLD, DELETE, at, None))
        done = F.when(F.col(_OLD).isNull(), F.array(inserted)).when(F.col(_NEW).isNull(), gone).when(~is_same, changed)
        return pairs.select(F.explode(done).alias(_NEW)).select(f"{_NEW}.*")

    def _written(self, side: str, action: str, since: Column, until: Column | None) -> Column:
        """A row of the table as one value, and what is done with it."""
        from pyspark.sql import functions as F

        values = [F.col(side).getField(name).alias(name) for name in self._columns.written]
        valid = self._valid(since, until) if self._columns.has_versions else []
        return F.struct(*values, *valid, F.lit(action).alias(ACTION))

    def _types(self, table: StructType) -> dict[str, DataType]:
        """By the name of a column: the type that holds the values of the snapshot and of the table."""
        there = {field.name.lower(): field.dataType for field in table}
        frame = self.given.frame.schema
        kinds = {name: frame[name].dataType for name in self._columns.stored}
        kinds |= {name: there[name.lower()] for name in self._columns.carried}
        return {name: joint_type(kind, there.get(name.lower(), kind)) for name, kind in kinds.items()}

    def _values(self, frame: DataFrame, types: Mapping[str, DataType]) -> list[Column]:
        from pyspark.sql import functions as F

        there = {field.name.lower(): field.dataType for field in frame.schema}
        return [
            (
                by_name(F.col(quoted(name)), there[name.lower()], kind)
                if name.lower() in there
                else F.lit(None).cast(kind)
            ).alias(name)
            for name, kind in types.items()
        ]

    def _key(self, types: Mapping[str, DataType]) -> Column:
        from pyspark.sql import functions as F

        keys = [F.col(quoted(name)).cast(types[name]) for name in self._columns.keys]
        return F.struct(*(key.alias(f"_{place}") for place, key in enumerate(keys))).alias(_KEY)

    def _require_newest(self, stored: DataFrame, at: Column) -> None:
        """A version can't end before it has begun."""
        from pyspark.sql import functions as F

        newest = F.max(F.greatest(F.col(quoted(VALID_FROM)), F.col(quoted(VALID_TO))))
        found: Any = stored.agg(newest.cast("string"), at > newest, at.cast("string")).collect()[0]
        text, is_newer, taken = found
        if is_newer is False:
            raise PipelineExecutionException(
                f"the history at {self.place.uri} goes up to {text}, and this snapshot, which differs from it, is of "
                f"{taken}",
                hint="load snapshots in their order, each once",
            )
