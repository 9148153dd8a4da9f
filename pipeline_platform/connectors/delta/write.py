"""One load of a Delta table: held against the table, then written in one commit that can be repeated without harm."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pipeline_platform.config.schema_policy import SchemaPolicy
from pipeline_platform.config.sql import sql_text
from pipeline_platform.connectors.delta.changes.apply import ChangeLoad, FrameChanges
from pipeline_platform.connectors.delta.changes.fit import fitted_changes
from pipeline_platform.connectors.delta.changes.snapshot import SnapshotLoad
from pipeline_platform.connectors.delta.cursor import DeltaCursor
from pipeline_platform.connectors.delta.history import load_result, loaded_rows, repeated_keys
from pipeline_platform.connectors.delta.merge import merge, with_unique_keys
from pipeline_platform.connectors.delta.schema_enforcement import (
    TYPE_WIDENING,
    require_names,
    require_no_padding,
    require_partitions,
    require_schema,
    widens,
)
from pipeline_platform.connectors.delta.table import open_table
from pipeline_platform.connectors.delta.type_widening import allow_widening, require_may_widen
from pipeline_platform.connectors.files.exact_text import exact_partitions
from pipeline_platform.connectors.storage.location import StorageLocation
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.columns import quoted
from pipeline_platform.frames.fitted_frame import fitted_frame
from pipeline_platform.frames.schema_drift import Drift, schema_drift
from pipeline_platform.frames.session import empty_frame, escape_braces, run_sql
from pipeline_platform.frames.storable import field_names
from pipeline_platform.steps.cursor import cursor_moved
from pipeline_platform.steps.load import NOTHING_NEW, LoadResult, LoadRun

if TYPE_CHECKING:
    from deltalake import DeltaTable, Metadata
    from pyspark.sql import DataFrame
    from pyspark.sql.types import StructType

_WRITTEN_VERSION = 1
_EMPTY_FOR = "pipelinePlatform.emptyFor"


@dataclass(frozen=True)
class WriteOptions:
    """How a table is written, as the config of the step says."""

    path: str
    mode: str
    partition_by: Sequence[str]
    cluster_by: Sequence[str]
    merge_keys: Sequence[str]
    merge_schema: bool
    overwrite_schema: bool
    partition_overwrite: str | None
    replace_where: str | None
    schema_policy: SchemaPolicy | None = None

    @property
    def merges_schema(self) -> bool:
        """Whether a table that is there gets the columns and the types of a frame; one that fits has those it may."""
        return self.merge_schema or self.schema_policy is not None

    def exact(self, frame: DataFrame, table: DeltaTable | None) -> DataFrame:
        """The frame, made to fail while it is read at a text that the table would give back as NULL.

        Args:
            frame: The frame.
            table: The table, if it is there.
        """
        if self.partition_by or self.overwrite_schema or table is None:
            return exact_partitions(frame, self.partition_by)
        return exact_partitions(frame, table.metadata().partition_columns)


@dataclass(frozen=True)
class DeltaWrite:
    """One load of a Delta table.

    Args:
        how: How it is written.
        frame: What is written.
        run: The load it belongs to; its id becomes Delta's transaction app id.
        place: Where the table is.
        attempt: Differs for every attempt, those of one run included.
        given: With mode `applyChanges`: the changes; `frame` has the table's columns then.
        drift: How the frame was different from the table; `frame` fits it then.
    """

    how: WriteOptions
    frame: DataFrame
    run: LoadRun
    place: StorageLocation
    attempt: str = field(default_factory=lambda: uuid.uuid4().hex)
    given: FrameChanges | None = None
    drift: Drift | None = None

    def checked(self) -> DeltaWrite:
        """The load, held against the table, and with a frame that fits it.

        Raises:
            PipelineExecutionException: Mode, partition columns, columns or types don't fit.
        """
        table = self._table()
        if table is None:
            require_names(self.frame, field_names(self.frame.schema), {})
            return self._fitted_to_memory()
        if self._is_done(table) or self._is_empty_for_this(table):
            return self
        self._require_loaded(table)
        if self.how.mode == "errorIfExists":
            raise PipelineExecutionException(
                f"there is a Delta table at {self.how.path} already, and mode is errorIfExists",
                hint="use mode append, overwrite, merge or ignore, or another path",
            )
        if self.how.mode == "ignore":
            return self
        metadata = table.metadata()
        if self.how.overwrite_schema:
            require_names(self.frame, field_names(self.frame.schema), metadata.configuration)
            return self
        require_partitions(self.how.path, self.how.partition_by, metadata.partition_columns)
        reader = self.frame.sparkSession.read.format("delta").options(**self.place.spark_options())
        schema = reader.load(self.place.uri).schema
        require_no_padding(self.frame, schema, self.how.path)
        if self.given is not None:
            self._change_load(self.given).require_fit(schema, self.how.schema_policy)
        fitted, properties = self._fitted(schema, metadata), metadata.configuration
        require_schema(
            fitted.frame,
            schema,
            self.how.path,
            {**properties, TYPE_WIDENING: "true"} if fitted._is_wider else properties,
            merge_schema=self.how.merges_schema,
            whole_rows=self.how.mode == "merge",
        )
        return fitted

    def _fitted_to_memory(self) -> DeltaWrite:
        """The load of a table that is not there, and may have been begun by one that was cut off."""
        if self.given is None or (policy := self.how.schema_policy) is None:
            return self
        given, _ = fitted_changes(self.given, None, self.place, policy, ())
        return replace(self, frame=given.in_table(), given=given)

    def _fitted(self, schema: StructType, metadata: Metadata) -> DeltaWrite:
        """The load of a frame with the columns that the table has, or is to get."""
        if (policy := self.how.schema_policy) is None:
            return self
        if self.given is not None:
            given, drift = fitted_changes(self.given, schema, self.place, policy, metadata.partition_columns)
            fitted = replace(self, frame=given.in_table(), given=given, drift=drift)
        else:
            fitted = self._fitted_rows(schema, metadata, policy)
        if fitted._is_wider:
            require_may_widen(self.place, metadata.configuration)
        return fitted

    def _fitted_rows(self, schema: StructType, metadata: Metadata, policy: SchemaPolicy) -> DeltaWrite:
        self._require_merge_fits(schema)
        keys, told = self.how.merge_keys, f"the table at {self.how.path}"
        fixed = metadata.partition_columns
        drift = schema_drift(self.frame.schema, schema, told, policy, widens, keys=keys, fixed=fixed)
        lacking = [change.column for change in drift.changes if change.change == "missing" and "." in change.column]
        if lacking and self.how.mode == "merge" and any("`" in name for name in self.frame.columns):
            raise PipelineExecutionException(
                f"the frame has no field '{lacking[0]}', and a column of it has a backtick in its name: such a merge "
                "writes whole structs",
                hint="add the field, or rename the column",
            )
        return replace(self, frame=fitted_frame(self.frame, drift), drift=drift)

    def _require_merge_fits(self, schema: StructType) -> None:
        there = {name.lower() for name in schema.names}
        for key in self.how.merge_keys:
            if key.lower() not in there:
                raise PipelineExecutionException(
                    f"'mergeKeys' names '{key}', and the table at {self.how.path} has no such column",
                    hint="load it into another path, or name columns of the table in 'mergeKeys'",
                )

    @property
    def _is_wider(self) -> bool:
        """Whether columns of the table are to get wider types, as the policy allows."""
        return self.drift is not None and self.drift.widens

    @property
    def _merges_schema(self) -> bool:
        # A table that was made meanwhile is none that the frame was fitted to.
        return self.how.merge_schema or self.drift is not None

    def write(self) -> LoadResult:
        """Write in one commit, unless this load or, with mode `ignore`, any load has done so."""
        result = self._write()
        changes = self.drift.changes if self.drift is not None and result.skipped is None else ()
        remark = repeated_keys(result.detail) if self.how.mode == "merge" else None
        return replace(result, schema_changes=changes, remark=remark)

    def _write(self) -> LoadResult:
        table = self._table()
        if (move := self.run.cursor) is not None:
            cursor = DeltaCursor(self.place, move.name)
            if table is not None and self._is_done(table):
                raise cursor_moved(move.name)
            if move.is_idle:
                return NOTHING_NEW
            self._make_clustered(self.frame)
            cursor.stage(move, self.attempt)
            result = self._written(table)
            table = self._table()
            if table is not None and not self._is_done(table):
                # Of changes that are there already no commit is made, and the cursor moves with one.
                self._save(self._rows_there().limit(0), "append")
                result = load_result(self._table(), self.place, self._commit_mark)
            cursor.settle(move, self._commit_mark, self.attempt)
            return result
        if table is not None and self._is_done(table):
            return LoadResult(skipped="an earlier attempt of this run has loaded it already", version=table.version())
        return self._written(table)

    def _written(self, table: DeltaTable | None) -> LoadResult:
        if self.given is not None:
            changed = replace(self.given, frame=self.how.exact(self.given.frame, table))
            self._change_load(changed).write()
            return load_result(self._table(), self.place, self._commit_mark)
        if table is not None and self._is_wider:
            allow_widening(self.frame.sparkSession, self.place, table.metadata().configuration)
        frame = self.how.exact(self.frame, table)
        if table is not None and self._is_empty_for_this(table):
            self._save(frame, "append")
            return load_result(self._table(), self.place, self._commit_mark)
        if table is not None and self.how.mode == "ignore":
            self._require_loaded(table)
            return LoadResult(skipped="there is a table already, and mode is ignore", version=table.version())
        if self.how.mode == "merge":
            source = with_unique_keys(frame, self.how.merge_keys)
            if table is None:
                self._create(source, "append")
            else:
                merge(source, self.place, self.how.merge_keys, self._commit, merge_schema=self.how.merges_schema)
        elif table is None:
            # There may be one by the time that Delta looks, of a run that loads another partition.
            self._create(frame, self.how.mode, self._replaced())
        else:
            self._save(frame, self.how.mode, self._replaced())
        return load_result(self._table(), self.place, self._commit_mark)

    def _rows_there(self) -> DataFrame:
        reader = self.frame.sparkSession.read.format("delta").options(**self.place.spark_options())
        return reader.load(self.place.uri)

    def last_batch(self) -> int | None:
        """The version of the stream's transactions, which is the number of the micro-batch."""
        table = self._table()
        return table.transaction_version(self.run.load_id) if table is not None else None

    def past_rows(self, count: int) -> Sequence[int]:
        """The numbers of rows that the last loads of the same step had, the newest first.

        Args:
            count: Of how many loads at most.
        """
        table = self._table()
        return loaded_rows(table, self.place, self.run.key)[:count] if table is not None else []

    def clean(self) -> None:
        """Nothing is left by an attempt that did not commit, but files that VACUUM removes."""

    def _replaced(self) -> str | None:
        """The rows of the table that are replaced; None for all of them."""
        return self.run.rows.spark_sql() if self.run.rows is not None else self.how.replace_where

    def _save(self, frame: DataFrame, mode: str, replaced: str | None = None) -> None:
        # Spark Connect knows it under this name only.
        writer = frame.write.format("delta").mode("error" if mode == "errorIfExists" else mode)
        if self.how.partition_by:
            writer = writer.partitionBy(*self.how.partition_by)
        options = {
            "mergeSchema": str(self._merges_schema).lower(),
            "txnAppId": self._app_id,
            "txnVersion": str(self._version),
            "userMetadata": self._commit_mark,
        }
        if self.how.overwrite_schema:
            options["overwriteSchema"] = "true"
        if self.how.partition_overwrite is not None:
            options["partitionOverwriteMode"] = self.how.partition_overwrite
        if mode == "overwrite" and replaced is not None:
            # Delta takes one or the other.
            options |= {"replaceWhere": replaced, "partitionOverwriteMode": "static"}
        writer.options(**options, **self.place.spark_options()).save(self.place.uri)

    def _create(self, frame: DataFrame, mode: str, replaced: str | None = None) -> None:
        if not self.how.cluster_by:
            self._save(frame, mode, replaced)
            return
        self._make_clustered(frame)
        self._save(frame, "append")

    def _make_clustered(self, frame: DataFrame) -> None:
        """Make an empty table, if it is to be clustered and is not there; nothing may lie in its folder by then."""
        if not self.how.cluster_by or self._table() is not None:
            return
        spark = frame.sparkSession
        load = sql_text(self.run.load_id)
        # Spark's writer can't cluster what lies at a path, so that this table begins with an empty version.
        run_sql(
            spark,
            f"CREATE TABLE delta.{escape_braces(quoted(self.place.uri))} USING delta "
            f"CLUSTER BY ({escape_braces(', '.join(map(quoted, self.how.cluster_by)))}) "
            f"TBLPROPERTIES ('{_EMPTY_FOR}' = {escape_braces(load)}) AS SELECT * FROM {{empty}}",
            # Not of the frame itself, whose rows would count as looked at.
            empty=empty_frame(spark, frame.schema),
        )

    def _change_load(self, given: FrameChanges) -> ChangeLoad | SnapshotLoad:
        if given.changes.is_snapshot:
            return SnapshotLoad(
                given,
                self.place,
                self._commit,
                merge_schema=self._merges_schema,
                widens=self._is_wider,
                # Another one may be the first, too, and these rows are all that there are.
                create=lambda rows: self._create(rows, "errorIfExists"),
            )
        return ChangeLoad(
            given,
            self.place,
            self._app_id,
            self._version,
            self._commit,
            merge_schema=self._merges_schema,
            widens=self._is_wider,
            make=self._make_clustered,
            create=lambda rows: self._create(rows, "append"),
        )

    @property
    def _commit(self) -> Mapping[str, str]:
        """Settings of a session with which Delta makes the commit of this load."""
        return {
            "spark.databricks.delta.write.txnAppId": self._app_id,
            "spark.databricks.delta.write.txnVersion": str(self._version),
            "spark.databricks.delta.commitInfo.userMetadata": self._commit_mark,
        }

    @property
    def _commit_mark(self) -> str:
        if self.run.cursor is None:
            return json.dumps({"load": self.run.key})
        # Of the attempt, as each of them may get to another place.
        return json.dumps({"load": self.run.key, "attempt": self.attempt, "cursor": self.run.cursor.after.position})

    def _table(self) -> DeltaTable | None:
        return open_table(self.place)

    def _is_empty_for_this(self, table: DeltaTable) -> bool:
        """Whether an earlier attempt made the table and got no further."""
        return self._empty_for(table) == self.run.load_id

    def _empty_for(self, table: DeltaTable) -> str | None:
        """The load that made the table and got no further; None if rows may have been loaded."""
        return table.metadata().configuration.get(_EMPTY_FOR) if table.version() == 0 else None

    def _require_loaded(self, table: DeltaTable) -> None:
        """Where rows are loaded only once, an empty table of a load that failed must not be taken for a loaded one."""
        maker = self._empty_for(table) if self.how.mode in ("errorIfExists", "ignore") else None
        if maker is not None:
            raise PipelineExecutionException(
                f"the Delta table at {self.how.path} is empty: the load {maker.split('/')[0]} has made it, and has "
                "failed or not written its rows yet",
                hint="run it again once that load is done; if it failed, continue it with --load-id, or delete the "
                "table, which has no rows",
            )

    def _is_done(self, table: DeltaTable) -> bool:
        done = table.transaction_version(self._app_id)
        return done is not None and done >= self._version

    @property
    def _app_id(self) -> str:
        cursor = self.run.cursor
        return DeltaCursor(self.place, cursor.name).app_id if cursor is not None else self.run.load_id

    @property
    def _version(self) -> int:
        """Delta keeps the highest version of each application: a stream is one, and its micro-batches count up."""
        if self.run.cursor is not None:
            return self.run.cursor.after.version
        return self.run.batch if self.run.batch is not None else _WRITTEN_VERSION
