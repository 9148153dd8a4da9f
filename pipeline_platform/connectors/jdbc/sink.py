"""What writing to a database takes, whichever it is: rows are staged, then one transaction makes them the table's.

Beside the target, in its schema, lie

- `pipeline_platform_loads`, the ledger: a row for each load that is complete;
- while a load runs, a staging table of its attempt, and a table of the partitions of the frame that are in it. The
  attempt holds a lock of the staging table's name.

An attempt that finds its load in the ledger has nothing to do. What an earlier attempt left is dropped by the next one,
and what a load left whose process is gone, so that nobody holds its lock, by the next load of the schema.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from pipeline_platform.connectors.jdbc.database import DatabaseConnection
from pipeline_platform.connectors.jdbc.ledger import LEDGER, ledger_key
from pipeline_platform.connectors.jdbc.lost_rows import rows_lost, staging_removed
from pipeline_platform.connectors.jdbc.replaced_rows import condition_of, partition_column, require_partition_column
from pipeline_platform.connectors.jdbc.staging import FILLED, FillsStaging, database_error_in
from pipeline_platform.connectors.jdbc.table_drift import fitted, signed_as
from pipeline_platform.connectors.jdbc.table_write import TableWrite
from pipeline_platform.connectors.jdbc.target_table import TableName, TargetColumn, paired, require_types
from pipeline_platform.connectors.jdbc.unheld import unheld_failure
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.columns import quoted
from pipeline_platform.frames.session import empty_frame
from pipeline_platform.frames.storable import require_columns, require_different_names, require_storable
from pipeline_platform.steps.load import NOTHING_NEW, LoadResult

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


_STAGING = "pipeline_platform_staging_"
_PARTITIONS = "_parts"
# Those of attempts that hold a lock. An older version's attempts, with a shorter name, held none.
_OWNED = re.compile(rf"(?P<staging>{_STAGING}[0-9a-f]{{12}}_[0-9a-f]{{12}})({_PARTITIONS})?")


@dataclass(frozen=True)
class DatabaseWrite(TableWrite):
    """One load of a table: staged, then published."""

    def checked(self) -> Self:
        """The load, held against the table, and with a frame that fits it; writes nothing.

        Raises:
            PipelineException: The database can't be entered, or mode, columns, types or rights don't fit.
        """
        require_different_names(self.frame)
        require_columns(self.frame, self.config.merge_keys, "mergeKeys")
        load = self
        with self.database.session(f"table {self.config.table}") as session:
            place = self.place(session)
            columns = self.columns(session, place)
            if columns is None:
                require_storable(self.frame, self.database.storable)
                self.database.require_names(self.frame.columns)
                self.require_makeable()
            elif self.config.mode != "ignore" and not self.is_begun(session, place):
                self._require_mode(place)
                load = self._fitted(place, columns)
                load._require_fitting(session, place, columns)
        return load

    def _require_fitting(self, session: DatabaseConnection, place: TableName, columns: Sequence[TargetColumn]) -> None:
        """Raise unless the table takes the frame, once it has got the columns that it lacks."""
        require_storable(self.frame, self.database.storable)
        self.database.require_names(self.changes.added)
        known = [field for field in self.frame.schema if field.name not in self.changes.added]
        names = [pair.column.name for pair in paired(known, columns, str(place))]
        self.require_rights(session, place, names)
        if self.changes.names:
            self.require_alterable(session, place)
        if self.config.mode == "merge":
            self.require_mergeable(session, place, names)
        if self.run.rows is not None and self.config.mode == "overwrite":
            require_partition_column(self.run.rows, columns, self.changes.added, str(place))

    def _fitted(self, place: TableName, columns: Sequence[TargetColumn]) -> Self:
        if (policy := self.config.schema_policy) is None:
            return self
        frame, changes = fitted(self.frame, columns, str(place), policy, self.config.merge_keys, self.config.kind)
        return replace(self, frame=frame, changes=changes)

    def write(self) -> LoadResult:
        """Stage the rows, then make them the table's in one transaction, unless an earlier attempt has.

        Raises:
            PipelineException: A value does not fit, or the server says no; the table is as it was.
        """
        with self.database.session(f"table {self.config.table}") as session:
            place = self.place(session)
            if self.run.cursor is not None and self.run.cursor.is_idle:
                return NOTHING_NEW
            self.make_ledger(session, place)
            if self.run.cursor is not None:
                cursor = self._cursor(self.run.cursor)
                cursor.make(session, place)
                if self.run.cursor.after.files:
                    cursor.make_room(session, place)
            finished = self.finished(session, place)
            self._drop_leftovers(session, place)
            self._drop_orphans(session, place)
            if finished is not None:
                return finished
            columns = self.columns(session, place)
            if columns is not None:
                if self.config.mode == "ignore":
                    return _IGNORED
                self._require_mode(place)
        staging = self.staging(place)
        with self.database.session() as owner:
            self.database.hold(owner, staging.name)
            return self._write_by_way_of(staging, place, columns)

    def _write_by_way_of(self, staging: TableName, place: TableName, columns: list[TargetColumn] | None) -> LoadResult:
        about = f"table {self.config.table}"
        wanted: list[TargetColumn] = []
        with self.database.session(about) as session:
            if columns is None:
                self.make_as_spark_does(session, staging)
                columns = self.columns(session, staging)
                assert columns is not None
                pairs = paired(self.frame.schema, columns, str(place))
            else:
                wanted = self._wanted(session, staging)
                pairs = paired(self.frame.schema, self.changes.applied(columns, wanted), str(place))
                self.make_staging(session, staging, pairs)
            self.make_partitions(session, self._partitions(staging))
        rows = self._fill(self.lines(pairs), self.fills(staging, self._partitions(staging), pairs))
        with self.database.session(about) as session:
            if self.columns(session, self._partitions(staging)) is None and not self.is_begun(session, place):
                raise staging_removed(self._about)
            load = replace(self, wanted=tuple(wanted))
            written = load.publish(session, place, staging, [pair.column.name for pair in pairs], rows)
            self.forget_before(session, place)
            self._drop_leftovers(session, place)
            told = self.changes.with_grown(columns, self.columns(session, place) or ()) if self.changes.limited else ()
        return replace(written, schema_changes=(told or self.changes.told) if written.skipped is None else ())

    def _wanted(self, session: DatabaseConnection, staging: TableName) -> list[TargetColumn]:
        """The columns that the table gets, with the types that Spark gives them."""
        if not self.changes.names:
            return []
        plain = self.config.model_copy(update={"mode": "append", "merge_keys": []})
        frame = self.frame.select(*map(quoted, self.changes.names))
        replace(self, config=plain, frame=frame).make_as_spark_does(session, staging)
        made = self.columns(session, staging) or []
        session.execute(f"DROP TABLE {self.sql(staging)}")
        before = self.changes.widened or {}
        return [replace(column, type=signed_as(before.get(column.name, ""), column.type)) for column in made]

    def last_batch(self) -> int | None:
        """The newest micro-batch of the stream that the ledger knows; it keeps one of each stream."""
        with self.database.session(f"table {self.config.table}") as session:
            place = self.place(session)
            if not self.database.tables_named(session, place.schema, LEDGER):
                return None
            ledger, begins = self.sql(place.beside(LEDGER)), f"{self.run.load_id}/"
            found = session.rows(f"SELECT load_id FROM {ledger} WHERE left(load_id, %s) = %s", len(begins), begins)
        numbers = (str(load_id)[len(begins) :] for [load_id] in found)
        return max((int(number) for number in numbers if number.isdigit()), default=None)

    def clean(self) -> None:
        """Drop the staging tables of this load; what was begun to be published is left to be finished."""
        with self.database.session() as session:
            self._drop_leftovers(session, self.place(session))

    def require_staged(self, session: DatabaseConnection, staging: TableName, rows: int) -> None:
        """Raise unless the partitions that are staged are those that the tasks say; within the transaction.

        Both tables are emptied where a crashed server recovers: they are unlogged, or were not yet on its disk.

        Raises:
            PipelineExecutionException: The server lost some.
        """
        partitions = self.sql(self._partitions(staging))
        staged = int(session.rows(f"SELECT coalesce(sum(row_count), 0) FROM {partitions}")[0][0])
        if staged != rows:
            raise rows_lost(self._about, staged, rows)

    def require_taken(self, session: DatabaseConnection, staging: TableName, taken: int, rows: int) -> None:
        """Raise if the table took other rows than the tasks staged, unless a trigger or rule of the table's did that.

        Raises:
            PipelineExecutionException: The staging table had no longer what was staged.
        """
        if taken != rows:
            staged = session.rows(f"SELECT count(*) FROM {self.sql(staging)}")[0][0]
            if staged != rows:
                raise rows_lost(self._about, staged, rows)

    def forget_before(self, session: DatabaseConnection, place: TableName) -> None:
        """Take the micro-batch before this one out of the ledger, where nothing asks for it any more."""
        if self.run.key_before is not None:
            ledger = self.sql(place.beside(LEDGER))
            session.execute(f"DELETE FROM {ledger} WHERE load_id = %s", ledger_key(self.run.key_before))

    def staging(self, place: TableName) -> TableName:
        """The staging table of this attempt."""
        return place.beside(f"{self._staging_prefix(place)}{self.attempt}")

    def _staging_prefix(self, place: TableName) -> str:
        load = hashlib.sha256(f"{place}\n{self.run.key}".encode()).hexdigest()[:12]
        return f"{_STAGING}{load}_"

    def _partitions(self, staging: TableName) -> TableName:
        return staging.beside(f"{staging.name}{_PARTITIONS}")

    def remove_replaced(self, session: DatabaseConnection, place: TableName) -> None:
        """Remove the rows that the load replaces; within the transaction."""
        if self.run.rows is None:
            session.execute(f"DELETE FROM {self.sql(place)}")
            return
        column = partition_column(self.run.rows, self.columns(session, place) or ())
        condition, values = condition_of(self.run.rows, column, self.database)
        session.execute(f"DELETE FROM {self.sql(place)} WHERE {condition}", *values)

    def is_needed(self, session: DatabaseConnection, staging: TableName) -> bool:
        """Whether a staging table is still to be published."""
        return False

    def _drop_leftovers(self, session: DatabaseConnection, place: TableName) -> None:
        for name in self.database.tables_named(session, place.schema, self._staging_prefix(place)):
            if not self.is_needed(session, place.beside(name)):
                session.execute(f"DROP TABLE IF EXISTS {self.sql(place.beside(name))}")

    def _drop_orphans(self, session: DatabaseConnection, place: TableName) -> None:
        """Drop the staging tables of loads whose process is gone."""
        for name in self.database.tables_named(session, place.schema, _STAGING):
            owned = _OWNED.fullmatch(name)
            if owned is None or self.database.is_held(session, owned["staging"]):
                continue
            if not self.is_needed(session, place.beside(name)):
                try:
                    session.execute(f"DROP TABLE IF EXISTS {self.sql(place.beside(name))}")
                except Exception as error:
                    # Another user's, who is left to drop it.
                    found = self.database.failure_of(error)
                    if found is None or found[0] != "permission":
                        raise

    def _require_mode(self, place: TableName) -> None:
        if self.config.mode == "errorIfExists":
            raise PipelineExecutionException(
                f"there is a table {place} in {self.database.address} already, and mode is errorIfExists",
                hint="use mode append, overwrite, merge or ignore, or another table",
            )

    def require_makeable(self) -> None:
        """Raise if no table can be made for the frame.

        Raises:
            PipelineExecutionException: A column has no type that one could be made with.
        """
        require_types(self.frame.schema, self.config.table)

    def make_as_spark_does(self, session: DatabaseConnection, staging: TableName) -> None:
        """Make an empty table with the types that Spark gives the frame's columns in this system."""
        empty = empty_frame(self.frame.sparkSession, self.frame.schema).coalesce(1)
        writer = empty.write.format("jdbc").options(**self.database.spark_options())
        writer = writer.option("dbtable", self.sql(staging)).option("createTableOptions", self.database.table_options)
        writer.mode("error").save()

    def _fill(self, lines: DataFrame, fill: FillsStaging) -> int:
        """Stage the rows: how many the tasks say there are."""
        if self.config.num_partitions is not None:
            lines = lines.coalesce(self.config.num_partitions)
        try:
            return sum(row[0] for row in lines.mapInArrow(fill, FILLED).collect())  # pyright: ignore[reportUnknownMemberType]
        except Exception as error:
            text = str(error)
            told = database_error_in(text)
            if told is not None:
                trouble = self.database.trouble(*told)
                if trouble == "table":
                    raise staging_removed(self._about) from error
                raise self.database.failure(trouble, told[1], f"table {self.config.table}") from error
            unheld = unheld_failure(text)
            if unheld is not None:
                raise unheld from error
            raise


_IGNORED = LoadResult(skipped="there is a table already, and mode is ignore")
