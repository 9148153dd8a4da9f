"""`toDeltaLake`: a Delta table, written in one commit that can be repeated without harm."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self
from urllib.parse import unquote

from pydantic import model_validator
from pydantic_core import PydanticCustomError
from sqlglot import exp

from pipeline_platform.config.traits import Traits
from pipeline_platform.config.values import Flag, Location, Names, SqlExpression, one_of
from pipeline_platform.connectors.delta.apply_changes import ChangeLoad, FrameChanges, given_changes
from pipeline_platform.connectors.delta.changes import Changes, require_changes
from pipeline_platform.connectors.delta.history import load_result
from pipeline_platform.connectors.delta.merge import merge, with_unique_keys
from pipeline_platform.connectors.delta.schema_enforcement import require_names, require_partitions, require_schema
from pipeline_platform.connectors.delta.table import open_table
from pipeline_platform.connectors.delta.types import DELTA_TYPES
from pipeline_platform.connectors.files.exact_text import exact_partitions
from pipeline_platform.connectors.storage.bucket import require_bucket
from pipeline_platform.connectors.storage.location import S3Options, StorageLocation
from pipeline_platform.connectors.storage.paths import at_path, spark_path
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.columns import quoted
from pipeline_platform.frames.remote import is_remote
from pipeline_platform.frames.session import empty_frame, escape_braces, run_sql
from pipeline_platform.frames.storable import (
    PartitionOverwrite,
    field_names,
    require_columns,
    require_partition_overwrite,
    require_storable,
)
from pipeline_platform.steps.dataset import Dataset
from pipeline_platform.steps.load import Load, LoadResult, LoadRun, PreparedLoad

if TYPE_CHECKING:
    from deltalake import DeltaTable
    from pyspark.sql import DataFrame
    from pyspark.sql.streaming.readwriter import DataStreamWriter

    from pipeline_platform.credentials.model import Credentials

_WRITTEN_VERSION = 1
_EMPTY_FOR = "pipelinePlatform.emptyFor"


class ToDeltaLake(Load, S3Options):
    """Writes a Delta table in one commit; a retried run finds its own commit and writes nothing more."""

    method: ClassVar[str] = "toDeltaLake"
    kind: ClassVar[str] = "deltalake"
    example = {"path": "lake/orders", "mode": "overwrite"}

    path: Location
    """Local path or URI of the table."""
    mode: Annotated[
        Literal["append", "overwrite", "errorIfExists", "ignore", "merge", "applyChanges"],
        one_of("append", "overwrite", "errorIfExists", "ignore", "merge", "applyChanges"),
    ] = "append"
    """What happens to existing rows; `merge` updates those with equal `mergeKeys` and adds the others;
    with `applyChanges` the rows of the frame are changes of the table's rows."""
    partition_by: Names = []
    """Columns the table is partitioned by."""
    partition_overwrite: PartitionOverwrite | None = None
    """With mode `overwrite` and `partitionBy`: replace all rows (`static`), or only the partitions that the frame has
    rows for (`dynamic`); by default the value of `spark.sql.sources.partitionOverwriteMode`, which is `static`."""
    replace_where: SqlExpression | None = None
    """With mode `overwrite`: replace only the rows for which this condition holds; a row of the frame for which it does
    not hold is an error."""
    merge_schema: Flag = False
    """Add columns that the table does not have yet; if its property `delta.enableTypeWidening` is true, also widen the
    types of others."""
    overwrite_schema: Flag = False
    """With mode `overwrite`: give the table the frame's columns."""
    merge_keys: Names = []
    """With mode `merge`: the columns that identify a row; two rows of a load with equal keys are an error."""
    changes: Changes | None = None
    """With mode `applyChanges`: how the rows are read as changes."""
    cluster_by: Names = []
    """Columns of Delta's liquid clustering, for a new table."""

    @model_validator(mode="after")
    def _keys_fit_mode(self) -> Self:
        if self.mode == "merge" and not self.merge_keys:
            raise PydanticCustomError("merge", "mode merge needs 'mergeKeys'", {"key": "mode"})
        if self.mode != "merge" and self.merge_keys:
            message = "'mergeKeys' needs mode merge"
            raise PydanticCustomError("merge", message, {"key": "mergeKeys"})
        require_changes(self.mode, self.changes)
        if self.overwrite_schema and self.mode != "overwrite":
            message = "'overwriteSchema' needs mode overwrite"
            raise PydanticCustomError("overwrite", message, {"key": "overwriteSchema"})
        require_partition_overwrite(self.partition_overwrite, self.mode, self.partition_by)
        if self.partition_overwrite == "dynamic" and self.overwrite_schema:
            message = "'overwriteSchema' changes the columns of the whole table: it needs 'partitionOverwrite' static"
            raise PydanticCustomError("overwrite", message, {"key": "overwriteSchema"})
        if self.replace_where is not None:
            self._require_replace_where_fits()
        if self.partition_by and self.cluster_by:
            message = "'partitionBy' and 'clusterBy' are mutually exclusive"
            raise PydanticCustomError("cluster", message, {"key": "clusterBy"})
        return self

    def _require_replace_where_fits(self) -> None:
        message = None
        if self.mode != "overwrite":
            message = "'replaceWhere' needs mode overwrite"
        elif self.partition_overwrite == "dynamic" or self.overwrite_schema:
            other = "overwriteSchema" if self.overwrite_schema else "partitionOverwrite"
            message = f"'replaceWhere' and '{other}' are mutually exclusive"
        if message is not None:
            raise PydanticCustomError("replace", "{message}", {"message": message, "key": "replaceWhere"})

    def partition_errors(self, column: str) -> Sequence[tuple[str | None, str]]:
        errors = list(super().partition_errors(column))
        if self.names_partition_in_place():
            return errors
        if self.replace_where is not None:
            errors.append(("replaceWhere", "each run replaces the rows of its partition, so leave out 'replaceWhere'"))
        if self.overwrite_schema:
            errors.append(("overwriteSchema", "'overwriteSchema' changes the whole table, and not one partition"))
        return errors

    def uri(self) -> str:
        return spark_path(self.path)

    def dataset(self) -> Dataset:
        return at_path(self.path, "delta")

    def traits(self) -> Traits:
        # A merge reports the rows it changed: one of the frame may have changed several of the table. A clustered table
        # is made before its first rows are looked at.
        # Changes are all looked at before anything is written.
        fails_whole = self.mode == "applyChanges" or (self.mode != "merge" and not self.cluster_by)
        return Traits(
            reports_rows=self.mode not in ("merge", "applyChanges"), fails_whole=fails_whole, replaces_partitions=True
        )

    def folder(self) -> str | None:
        return self.path

    def native_sink(self, frame: DataFrame, run: LoadRun) -> DataStreamWriter | None:
        if self.mode != "append" or self.output_mode != "append" or self.cluster_by:
            return None
        place = self.place(run.credentials)
        options = {"mergeSchema": str(self.merge_schema).lower(), "path": place.uri, **place.spark_options()}
        writer = self.exact(frame, open_table(place)).writeStream.format("delta").options(**options)
        return writer.partitionBy(*self.partition_by) if self.partition_by else writer

    def columns(self, credentials: Credentials | None) -> Sequence[str] | None:
        """The columns of the table, as it is now; None if there is none.

        Args:
            credentials: Those of its bucket.
        """
        table = open_table(self.place(credentials))
        return [field.name for field in table.schema().fields] if table is not None else None

    def exact(self, frame: DataFrame, table: DeltaTable | None) -> DataFrame:
        """The frame, made to fail while it is read at a text that the table would give back as NULL.

        Args:
            frame: The frame.
            table: The table, if it is there.
        """
        if self.partition_by or self.overwrite_schema or table is None:
            return exact_partitions(frame, self.partition_by)
        return exact_partitions(frame, table.metadata().partition_columns)

    def prepare(self, frame: DataFrame, run: LoadRun) -> PreparedLoad:
        given = given_changes(frame, self.changes) if self.changes is not None else None
        frame = given.in_table() if given is not None else frame
        require_columns(frame, self.partition_by, "partitionBy")
        require_columns(frame, self.cluster_by, "clusterBy")
        require_columns(frame, self.merge_keys, "mergeKeys")
        require_storable(frame, DELTA_TYPES, self.partition_by)
        if unquote(self.path) != self.path:
            raise PipelineExecutionException(
                f"the path of a Delta table must not hold '%' before two digits or letters A to F: {self.path}",
                hint="delta-rs, which finds out what was loaded already, reads it as an escape; use another path",
            )
        place = self.place(run.credentials)
        require_bucket(place)
        if self.cluster_by and place.credentials is not None:
            raise PipelineExecutionException(
                "'clusterBy' can't be combined with credentials of the step: Delta creates such a table with those "
                "of the session",
                hint="use 'partitionBy', or create the table first",
            )
        if self.mode in ("merge", "applyChanges") and place.credentials is not None and is_remote(frame.sparkSession):
            raise PipelineExecutionException(
                f"mode {self.mode} over Spark Connect can't use credentials of the step: it runs as SQL, which uses "
                "those of the server",
                hint="give the server the rights, or run it with SPARK_MASTER",
            )
        prepared = DeltaWrite(self, frame, run, place, given)
        prepared.check()
        return prepared


@dataclass(frozen=True)
class DeltaWrite:
    """One load of a Delta table.

    Args:
        config: The step.
        frame: What is written.
        run: The load it belongs to; its id becomes Delta's transaction app id.
        place: Where the table is.
        given: With mode `applyChanges`: the changes; `frame` has the table's columns then.
    """

    config: ToDeltaLake
    frame: DataFrame
    run: LoadRun
    place: StorageLocation
    given: FrameChanges | None = None

    def check(self) -> None:
        """Hold the frame against the table.

        Raises:
            PipelineExecutionException: Mode, partition columns, columns or types don't fit.
        """
        table = self._table()
        if table is None:
            require_names(self.frame, field_names(self.frame.schema), {})
            return
        if self._is_done(table) or self._is_empty_for_this(table):
            return
        self._require_loaded(table)
        if self.config.mode == "errorIfExists":
            raise PipelineExecutionException(
                f"there is a Delta table at {self.config.path} already, and mode is errorIfExists",
                hint="use mode append, overwrite, merge or ignore, or another path",
            )
        if self.config.mode == "ignore":
            return
        metadata = table.metadata()
        if self.config.overwrite_schema:
            require_names(self.frame, field_names(self.frame.schema), metadata.configuration)
            return
        require_partitions(self.config.path, self.config.partition_by, metadata.partition_columns)
        reader = self.frame.sparkSession.read.format("delta").options(**self.place.spark_options())
        schema = reader.load(self.place.uri).schema
        if self.given is not None:
            self._change_load(self.given).require_fit(schema)
        require_schema(
            self.frame,
            schema,
            self.config.path,
            metadata.configuration,
            merge_schema=self.config.merge_schema,
            whole_rows=self.config.mode == "merge",
        )

    def write(self) -> LoadResult:
        """Write in one commit, unless this load or, with mode `ignore`, any load has done so."""
        table = self._table()
        if table is not None and self._is_done(table):
            return LoadResult(skipped="an earlier attempt of this run has loaded it already", version=table.version())
        if self.given is not None:
            changed = replace(self.given, frame=self.config.exact(self.given.frame, table))
            self._change_load(changed).write()
            return load_result(self._table(), self.place, self._commit_mark)
        frame = self.config.exact(self.frame, table)
        if table is not None and self._is_empty_for_this(table):
            self._save(frame, "append")
            return load_result(self._table(), self.place, self._commit_mark)
        if table is not None and self.config.mode == "ignore":
            self._require_loaded(table)
            return LoadResult(skipped="there is a table already, and mode is ignore", version=table.version())
        if self.config.mode == "merge":
            source = with_unique_keys(frame, self.config.merge_keys)
            if table is None:
                self._create(source, "append")
            else:
                merge(source, self.place, self.config.merge_keys, self._commit, merge_schema=self.config.merge_schema)
        elif table is None:
            # There may be one by the time that Delta looks, of a run that loads another partition.
            self._create(frame, self.config.mode, self._replaced())
        else:
            self._save(frame, self.config.mode, self._replaced())
        return load_result(self._table(), self.place, self._commit_mark)

    def last_batch(self) -> int | None:
        """The version of the stream's transactions, which is the number of the micro-batch."""
        table = self._table()
        return table.transaction_version(self.run.load_id) if table is not None else None

    def clean(self) -> None:
        """Nothing is left by an attempt that did not commit, but files that VACUUM removes."""

    def _replaced(self) -> str | None:
        """The rows of the table that are replaced; None for all of them."""
        return self.run.rows.spark_sql() if self.run.rows is not None else self.config.replace_where

    def _save(self, frame: DataFrame, mode: str, replaced: str | None = None) -> None:
        # Spark Connect knows it under this name only.
        writer = frame.write.format("delta").mode("error" if mode == "errorIfExists" else mode)
        if self.config.partition_by:
            writer = writer.partitionBy(*self.config.partition_by)
        options = {
            "mergeSchema": str(self.config.merge_schema).lower(),
            "txnAppId": self.run.load_id,
            "txnVersion": str(self._version),
            "userMetadata": self._commit_mark,
        }
        if self.config.overwrite_schema:
            options["overwriteSchema"] = "true"
        if self.config.partition_overwrite is not None:
            options["partitionOverwriteMode"] = self.config.partition_overwrite
        if mode == "overwrite" and replaced is not None:
            # Delta takes one or the other.
            options |= {"replaceWhere": replaced, "partitionOverwriteMode": "static"}
        writer.options(**options, **self.place.spark_options()).save(self.place.uri)

    def _create(self, frame: DataFrame, mode: str, replaced: str | None = None) -> None:
        if not self.config.cluster_by:
            self._save(frame, mode, replaced)
            return
        spark = frame.sparkSession
        load = exp.Literal.string(self.run.load_id).sql(dialect="spark")
        # Spark's writer can't cluster what lies at a path, so that this table begins with an empty version.
        run_sql(
            spark,
            f"CREATE TABLE delta.{escape_braces(quoted(self.place.uri))} USING delta "
            f"CLUSTER BY ({escape_braces(', '.join(map(quoted, self.config.cluster_by)))}) "
            f"TBLPROPERTIES ('{_EMPTY_FOR}' = {escape_braces(load)}) AS SELECT * FROM {{empty}}",
            # Not of the frame itself, whose rows would count as looked at.
            empty=empty_frame(spark, frame.schema),
        )
        self._save(frame, "append")

    def _change_load(self, given: FrameChanges) -> ChangeLoad:
        return ChangeLoad(
            given,
            self.place,
            self.run.load_id,
            self._version,
            self._commit,
            merge_schema=self.config.merge_schema,
            create=lambda rows: self._create(rows, "append"),
        )

    @property
    def _commit(self) -> Mapping[str, str]:
        """Settings of a session with which Delta makes the commit of this load."""
        return {
            "spark.databricks.delta.write.txnAppId": self.run.load_id,
            "spark.databricks.delta.write.txnVersion": str(self._version),
            "spark.databricks.delta.commitInfo.userMetadata": self._commit_mark,
        }

    @property
    def _commit_mark(self) -> str:
        return json.dumps({"load": self.run.key})

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
        maker = self._empty_for(table) if self.config.mode in ("errorIfExists", "ignore") else None
        if maker is not None:
            raise PipelineExecutionException(
                f"the Delta table at {self.config.path} is empty: the load {maker.split('/')[0]} has made it, and has "
                "failed or not written its rows yet",
                hint="run it again once that load is done; if it failed, continue it with --load-id, or delete the "
                "table, which has no rows",
            )

    def _is_done(self, table: DeltaTable) -> bool:
        done = table.transaction_version(self.run.load_id)
        return done is not None and done >= self._version

    @property
    def _version(self) -> int:
        """Delta keeps the highest version of each application: a stream is one, and its micro-batches count up."""
        return self.run.batch if self.run.batch is not None else _WRITTEN_VERSION
