"""`toDeltaLake`: a Delta table, written in one commit that can be repeated without harm."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self
from urllib.parse import unquote

from pydantic import model_validator
from pydantic_core import PydanticCustomError
from sqlglot import exp

from pipeline_platform.config.values import Flag, Location, Names, one_of
from pipeline_platform.connectors.delta.errors import REPEATED_KEYS
from pipeline_platform.connectors.delta.table import open_table
from pipeline_platform.connectors.delta.types import DELTA_TYPES
from pipeline_platform.connectors.files.exact_text import exact_partitions
from pipeline_platform.connectors.storage.bucket import require_bucket
from pipeline_platform.connectors.storage.location import S3Options, StorageLocation
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.columns import HELPER_PREFIX, quoted
from pipeline_platform.frames.remote import is_remote
from pipeline_platform.frames.session import empty_frame, run_sql
from pipeline_platform.frames.settings import spark_settings
from pipeline_platform.frames.storable import (
    PartitionOverwrite,
    field_names,
    require_columns,
    require_partition_overwrite,
    require_storable,
)
from pipeline_platform.steps.dataset import Dataset, at_path, spark_path
from pipeline_platform.steps.load import Load, LoadResult, LoadRun, PreparedLoad

if TYPE_CHECKING:
    from deltalake import DeltaTable
    from pyspark.sql import DataFrame
    from pyspark.sql.streaming.readwriter import DataStreamWriter
    from pyspark.sql.types import DataType, StructType
    from pyspark.sql.window import WindowSpec

# Commits by others that may come between ours and the look at it.
_COMMITS_LOOKED_AT = 50
_WRITTEN_VERSION = 1
_EMPTY_FOR = "pipelinePlatform.emptyFor"
_COLUMN_MAPPING = "delta.columnMapping.mode"
_TYPE_WIDENING = "delta.enableTypeWidening"
_COLUMN_MAPPING_DEFAULT = "spark.databricks.delta.properties.defaults.columnMapping.mode"
_NOT_IN_NAMES = " ,;{}()\n\t="
_ONE_MERGE = threading.Lock()


class ToDeltaLake(Load, S3Options):
    """Writes a Delta table in one commit; a retried run finds its own commit and writes nothing more."""

    method: ClassVar[str] = "toDeltaLake"
    kind: ClassVar[str] = "deltalake"

    path: Location
    """Local path or URI of the table."""
    mode: Annotated[
        Literal["append", "overwrite", "errorIfExists", "ignore", "merge"],
        one_of("append", "overwrite", "errorIfExists", "ignore", "merge"),
    ] = "append"
    """What happens to existing rows; `merge` updates those with equal `mergeKeys` and adds the others."""
    partition_by: Names = []
    """Columns the table is partitioned by."""
    partition_overwrite: PartitionOverwrite | None = None
    """With mode `overwrite` and `partitionBy`: replace all rows (`static`), or only the partitions that the frame has
    rows for (`dynamic`); by default the value of `spark.sql.sources.partitionOverwriteMode`, which is `static`."""
    merge_schema: Flag = False
    """Add columns that the table does not have yet; if its property `delta.enableTypeWidening` is true, also widen the
    types of others."""
    overwrite_schema: Flag = False
    """With mode `overwrite`: give the table the frame's columns."""
    merge_keys: Names = []
    """With mode `merge`: the columns that identify a row; two rows of a load with equal keys are an error."""
    cluster_by: Names = []
    """Columns of Delta's liquid clustering, for a new table."""

    @model_validator(mode="after")
    def _keys_fit_mode(self) -> Self:
        if self.mode == "merge" and not self.merge_keys:
            raise PydanticCustomError("merge", "mode merge needs 'mergeKeys'", {"key": "mode"})
        if self.mode != "merge" and self.merge_keys:
            message = "'mergeKeys' needs mode merge"
            raise PydanticCustomError("merge", message, {"key": "mergeKeys"})
        if self.overwrite_schema and self.mode != "overwrite":
            message = "'overwriteSchema' needs mode overwrite"
            raise PydanticCustomError("overwrite", message, {"key": "overwriteSchema"})
        require_partition_overwrite(self.partition_overwrite, self.mode, self.partition_by)
        if self.partition_overwrite == "dynamic" and self.overwrite_schema:
            message = "'overwriteSchema' changes the columns of the whole table: it needs 'partitionOverwrite' static"
            raise PydanticCustomError("overwrite", message, {"key": "overwriteSchema"})
        if self.partition_by and self.cluster_by:
            message = "'partitionBy' and 'clusterBy' are mutually exclusive"
            raise PydanticCustomError("cluster", message, {"key": "clusterBy"})
        return self

    def uri(self) -> str:
        return spark_path(self.path)

    def dataset(self) -> Dataset:
        return at_path(self.path, "delta")

    def reports_rows(self) -> bool:
        # A merge reports the rows it changed: one of the frame may have changed several of the table.
        return self.mode != "merge"

    def folder(self) -> str | None:
        return self.path

    def native_sink(self, frame: DataFrame, run: LoadRun) -> DataStreamWriter | None:
        if self.mode != "append" or self.output_mode != "append" or self.cluster_by:
            return None
        place = self.place(run.credentials)
        options = {"mergeSchema": str(self.merge_schema).lower(), "path": place.uri, **place.spark_options()}
        writer = self.exact(frame, open_table(place)).writeStream.format("delta").options(**options)
        return writer.partitionBy(*self.partition_by) if self.partition_by else writer

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
        if self.mode == "merge" and place.credentials is not None and is_remote(frame.sparkSession):
            raise PipelineExecutionException(
                "a merge over Spark Connect can't use credentials of the step: it runs as SQL, which uses those of "
                "the server",
                hint="give the server the rights, or run it with SPARK_MASTER",
            )
        prepared = DeltaWrite(self, frame, run, place)
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
    """

    config: ToDeltaLake
    frame: DataFrame
    run: LoadRun
    place: StorageLocation

    def check(self) -> None:
        """Hold the frame against the table.

        Raises:
            PipelineExecutionException: Mode, partition columns, columns or types don't fit.
        """
        table = self._table()
        if table is None:
            self._check_names(field_names(self.frame.schema), {})
            return
        if self._is_done(table) or self._is_empty_for_this(table):
            return
        if self.config.mode == "errorIfExists":
            raise PipelineExecutionException(
                f"there is a Delta table at {self.config.path} already, and mode is errorIfExists",
                hint="use mode append, overwrite, merge or ignore, or another path",
            )
        if self.config.mode == "ignore":
            return
        metadata = table.metadata()
        if self.config.overwrite_schema:
            self._check_names(field_names(self.frame.schema), metadata.configuration)
            return
        self._check_partitions(metadata.partition_columns)
        self._check_schema(metadata.configuration)

    def write(self) -> LoadResult:
        """Write in one commit, unless this load or, with mode `ignore`, any load has done so."""
        table = self._table()
        if table is not None and self._is_done(table):
            return LoadResult(skipped="an earlier attempt of this run has loaded it already", version=table.version())
        frame = self.config.exact(self.frame, table)
        if table is not None and self._is_empty_for_this(table):
            self._save(frame, "append")
            return self._written()
        if table is not None and self.config.mode == "ignore":
            return LoadResult(skipped="there is a table already, and mode is ignore", version=table.version())
        if self.config.mode == "merge":
            self._merge(frame, into_existing=table is not None)
        elif table is None:
            self._create(frame, self.config.mode)
        else:
            self._save(frame, self.config.mode)
        return self._written()

    def last_batch(self) -> int | None:
        """The version of the stream's transactions, which is the number of the micro-batch."""
        table = self._table()
        return table.transaction_version(self.run.load_id) if table is not None else None

    def clean(self) -> None:
        """Nothing is left by an attempt that did not commit, but files that VACUUM removes."""

    def _save(self, frame: DataFrame, mode: str) -> None:
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
        writer.options(**options, **self.place.spark_options()).save(self.place.uri)

    def _create(self, frame: DataFrame, mode: str) -> None:
        if not self.config.cluster_by:
            self._save(frame, mode)
            return
        spark = frame.sparkSession
        load = exp.Literal.string(self.run.load_id).sql(dialect="spark")
        # Spark's writer can't cluster what lies at a path, so that this table begins with an empty version.
        run_sql(
            spark,
            f"CREATE TABLE delta.{_in_text(quoted(self.place.uri))} USING delta "
            f"CLUSTER BY ({_in_text(', '.join(map(quoted, self.config.cluster_by)))}) "
            f"TBLPROPERTIES ('{_EMPTY_FOR}' = {_in_text(load)}) AS SELECT * FROM {{empty}}",
            # Not of the frame itself, whose rows would count as looked at.
            empty=empty_frame(spark, frame.schema),
        )
        self._save(frame, "append")

    def _merge(self, frame: DataFrame, *, into_existing: bool) -> None:
        source = _with_unique_keys(frame, self.config.merge_keys)
        if not into_existing:
            self._create(source, "append")
            return
        spark = self.frame.sparkSession
        condition = " AND ".join(f"target.{quoted(key)} <=> source.{quoted(key)}" for key in self.config.merge_keys)
        settings = {
            "spark.databricks.delta.write.txnAppId": self.run.load_id,
            "spark.databricks.delta.write.txnVersion": str(self._version),
            "spark.databricks.delta.commitInfo.userMetadata": self._commit_mark,
        }
        # They are the whole session's: two merges at once would take each other's for their own.
        with _ONE_MERGE, spark_settings(spark, settings):
            if is_remote(spark):
                self._merge_by_sql(source, condition)
            else:
                self._merge_by_table(source, condition)

    def _merge_by_table(self, source: DataFrame, condition: str) -> None:
        from delta.tables import DeltaTable

        table = DeltaTable.forPath(source.sparkSession, self.place.uri, self.place.spark_options())
        merge = table.alias("target").merge(source.alias("source"), condition)
        if self.config.merge_schema:
            merge = merge.withSchemaEvolution()
        if self._has_backticks():
            columns = {quoted(name): f"source.{quoted(name)}" for name in source.columns}
            merge.whenMatchedUpdate(set=columns).whenNotMatchedInsert(values=columns).execute()  # pyright: ignore[reportArgumentType]
        else:
            merge.whenMatchedUpdateAll().whenNotMatchedInsertAll().execute()

    def _merge_by_sql(self, source: DataFrame, condition: str) -> None:
        """Merge without `DeltaTable`: what a server needs for that is not published for Spark 4.1."""
        evolution = "WITH SCHEMA EVOLUTION " if self.config.merge_schema else ""
        columns = [quoted(name) for name in source.columns]
        update, insert = "*", "*"
        if self._has_backticks():
            update = ", ".join(f"{name} = source.{name}" for name in columns)
            insert = f"({', '.join(columns)}) VALUES ({', '.join(f'source.{name}' for name in columns)})"
        run_sql(
            source.sparkSession,
            f"MERGE {evolution}INTO delta.{_in_text(quoted(self.place.uri))} AS target USING {{source}} AS source "
            f"ON {_in_text(condition)} WHEN MATCHED THEN UPDATE SET {_in_text(update)} "
            f"WHEN NOT MATCHED THEN INSERT {_in_text(insert)}",
            source=source,
        )

    def _has_backticks(self) -> bool:
        """Whether Delta's own list of all columns, `*`, would fail: it does not quote a backtick in a name."""
        return any("`" in name for name in self.frame.columns)

    @property
    def _commit_mark(self) -> str:
        return json.dumps({"load": self.run.key})

    def _table(self) -> DeltaTable | None:
        return open_table(self.place)

    def _is_empty_for_this(self, table: DeltaTable) -> bool:
        """Whether an earlier attempt made the table and got no further."""
        return table.version() == 0 and table.metadata().configuration.get(_EMPTY_FOR) == self.run.load_id

    def _is_done(self, table: DeltaTable) -> bool:
        done = table.transaction_version(self.run.load_id)
        return done is not None and done >= self._version

    @property
    def _version(self) -> int:
        """Delta keeps the highest version of each application: a stream is one, and its micro-batches count up."""
        return self.run.batch if self.run.batch is not None else _WRITTEN_VERSION

    def _written(self) -> LoadResult:
        table = self._table()
        for commit in self._commits(table) if table is not None else ():
            if commit.get("userMetadata") == self._commit_mark:
                metrics = {key: int(value) for key, value in commit.get("operationMetrics", {}).items()}
                return LoadResult(
                    rows=_changed_rows(metrics),
                    bytes=metrics.get("numOutputBytes", metrics.get("numTargetBytesAdded")),
                    files=metrics.get("numFiles", metrics.get("numTargetFilesAdded")),
                    version=commit["version"],
                    detail=metrics,
                )
        # Delta makes no commit for a merge or an append that changes nothing.
        return LoadResult(rows=0, bytes=0, files=0, version=table.version() if table is not None else None)

    def _commits(self, table: DeltaTable) -> Iterator[dict[str, Any]]:
        """What the newest commits say of themselves, the newest first."""
        if history := table.history(_COMMITS_LOOKED_AT):
            yield from history
            return
        # delta-rs 1.6 finds none where the path holds '#' or '?'.
        log = self.place.path() / "_delta_log"
        for version in range(table.version(), max(table.version() - _COMMITS_LOOKED_AT, -1), -1):
            for line in (log / f"{version:020}.json").read_text().splitlines():
                if (commit := json.loads(line).get("commitInfo")) is not None:
                    yield {**commit, "version": version}

    def _check_partitions(self, existing: Sequence[str]) -> None:
        wanted = [name.lower() for name in self.config.partition_by]
        if wanted and wanted != [name.lower() for name in existing]:
            have = ", ".join(existing) or "nothing"
            raise PipelineExecutionException(
                f"the table at {self.config.path} is partitioned by {have}, "
                f"and 'partitionBy' says {', '.join(self.config.partition_by)}",
                hint="leave 'partitionBy' out, or write with mode overwrite and overwriteSchema",
            )

    def _check_names(self, names: Sequence[str], properties: Mapping[str, str | None]) -> None:
        default = self.frame.sparkSession.conf.get(_COLUMN_MAPPING_DEFAULT, None)
        if (properties.get(_COLUMN_MAPPING) or default or "none") != "none":
            return
        for name in names:
            if any(character in _NOT_IN_NAMES for character in name):
                raise PipelineExecutionException(
                    f"Delta does not allow the column name '{name}': it has one of the characters ' ,;{{}}()=', "
                    "a tab or a new line",
                    hint=f"rename it, or set '{_COLUMN_MAPPING_DEFAULT}' to 'name' in sparkConf for a new table",
                )

    def _check_schema(self, properties: Mapping[str, str | None]) -> None:
        from pyspark.sql.types import StructType

        reader = self.frame.sparkSession.read.format("delta").options(**self.place.spark_options())
        table = reader.load(self.place.uri).schema
        existing = {field.name.lower(): field for field in table}
        added = _added(self.frame.schema, table)
        if added and not self.config.merge_schema:
            has = ", ".join(field.name for field in table)
            raise PipelineExecutionException(
                f"the table at {self.config.path} has no column '{added[0]}'; it has {has}",
                hint="drop the column, or set 'mergeSchema' to add it to the table",
            )
        self._check_names([*added, *_new_fields(self.frame.schema, table)], properties)
        may_widen = properties.get(_TYPE_WIDENING) == "true"
        for field in self.frame.schema:
            target = existing.get(field.name.lower())
            if target is not None and not _fits(
                field.dataType, target.dataType, widens=may_widen and self.config.merge_schema
            ):
                wanted = target.dataType.simpleString()
                hint = f"cast it with enrichData: CAST({field.name} AS {wanted})"
                if isinstance(target.dataType, StructType):
                    hint = "give it the fields of the table's column"
                if may_widen and _fits(field.dataType, target.dataType, widens=True):
                    hint = "set 'mergeSchema', which widens the table's column"
                raise PipelineExecutionException(
                    f"the column '{field.name}' is {field.dataType.simpleString()}, and the table at "
                    f"{self.config.path} has it as {wanted}",
                    hint=hint,
                )
        missing = _added(table, self.frame.schema)
        if self.config.mode == "merge" and missing and not self.config.merge_schema:
            raise PipelineExecutionException(
                f"the frame has no column '{missing[0]}', which the table at {self.config.path} has, and a merge "
                "writes whole rows",
                hint=(
                    "add the column, or set 'mergeSchema', which leaves it unchanged in existing rows and null "
                    "in new ones"
                ),
            )


def _widens(target: DataType, source: DataType) -> bool:
    """Whether Delta gives a column of the table the wider type of the frame, as its protocol lists them."""
    from pyspark.sql.types import (
        ByteType,
        DecimalType,
        DoubleType,
        FloatType,
        IntegerType,
        LongType,
        ShortType,
    )

    widths: list[type[DataType]] = [ByteType, ShortType, IntegerType, LongType]
    small = isinstance(target, ByteType | ShortType | IntegerType)
    match target, source:
        case (FloatType(), DoubleType()):
            return True
        case (_, DoubleType()):
            return small
        case (DecimalType(), DecimalType()):
            more = source.scale - target.scale
            return more >= 0 and source.precision - target.precision >= more
        case (_, DecimalType()) if type(target) in widths:
            return source.precision - source.scale >= (10 if small else 20)
        case _ if type(target) in widths and type(source) in widths:
            return widths.index(type(source)) >= widths.index(type(target))
        case _:
            return False


def _with_unique_keys(frame: DataFrame, keys: Sequence[str]) -> DataFrame:
    """The frame, made to fail while it is read if two rows have the same keys."""
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    same: WindowSpec = Window.partitionBy(*(F.col(quoted(key)) for key in keys))
    shown = F.concat_ws(", ", *(F.col(quoted(key)).cast("string") for key in keys))
    message = F.concat(F.lit(f"{REPEATED_KEYS} {', '.join(keys)}: "), shown)
    once = F.when(F.col(_OCCURRENCES) > 1, F.raise_error(message).cast("boolean")).otherwise(F.lit(True))
    return frame.withColumn(_OCCURRENCES, F.count(F.lit(1)).over(same)).filter(once).drop(_OCCURRENCES)


def _added(source: StructType, target: StructType, prefix: str = "") -> list[str]:
    """Fields, nested ones included, that only the source has."""
    from pyspark.sql.types import StructType

    known = {field.name.lower(): field.dataType for field in target}
    added: list[str] = []
    for field in source:
        there = known.get(field.name.lower())
        if there is None:
            added.append(prefix + field.name)
        elif isinstance(field.dataType, StructType) and isinstance(there, StructType):
            added += _added(field.dataType, there, f"{prefix}{field.name}.")
    return added


def _new_fields(source: StructType, target: StructType) -> list[str]:
    """Names, at any depth and in arrays and maps, too, that only the source has."""
    known = set(field_names(target))
    return [name for name in field_names(source) if name not in known]


_OCCURRENCES = f"{HELPER_PREFIX}occurrences"


def _changed_rows(metrics: dict[str, int]) -> int | None:
    if "numTargetRowsInserted" in metrics:
        return metrics["numTargetRowsInserted"] + metrics.get("numTargetRowsUpdated", 0)
    return metrics.get("numOutputRows")


def _fits(source: DataType, target: DataType, *, widens: bool) -> bool:
    """Whether Delta takes a column of the source's type; `widens`: or gives the table's the wider one."""
    from pyspark.sql.types import ArrayType, ByteType, IntegerType, MapType, NullType, ShortType, StructType

    if isinstance(source, StructType) and isinstance(target, StructType):
        fields = {field.name.lower(): field.dataType for field in target}
        return all(
            _fits(field.dataType, fields.get(field.name.lower(), field.dataType), widens=widens) for field in source
        )
    if isinstance(source, ArrayType) and isinstance(target, ArrayType):
        return _fits(source.elementType, target.elementType, widens=widens)
    if isinstance(source, MapType) and isinstance(target, MapType):
        return _fits(source.keyType, target.keyType, widens=widens) and _fits(
            source.valueType, target.valueType, widens=widens
        )
    # The one family of types that Delta converts on write.
    widths = (ByteType, ShortType, IntegerType)
    return (
        source == target
        or isinstance(source, NullType)
        or (isinstance(source, widths) and isinstance(target, widths))
        or (widens and _widens(target, source))
    )


def _in_text(sql: str) -> str:
    """SQL for a text in which `SparkSession.sql` looks for the names of frames in braces."""
    return sql.replace("{", "{{").replace("}", "}}")
