"""`toDeltaLake`: a Delta table, written in one commit that can be repeated without harm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self
from urllib.parse import unquote

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from pipeline_platform.config.catalog_names import CatalogName, CatalogTable, redirected_name
from pipeline_platform.config.redirection import Redirection
from pipeline_platform.config.replacement import ALL_ROWS, PRESENT_PARTITIONS, Replacement
from pipeline_platform.config.schema_policy import SchemaPolicy
from pipeline_platform.config.step import PipelineMode
from pipeline_platform.config.traits import Traits
from pipeline_platform.config.values import Flag, Location, Names, SqlExpression, one_of
from pipeline_platform.connectors.delta.catalogs.registration import registered
from pipeline_platform.connectors.delta.changes.apply import given_changes
from pipeline_platform.connectors.delta.changes.config import Changes, require_changes
from pipeline_platform.connectors.delta.clone import clone
from pipeline_platform.connectors.delta.cursor import DeltaCursor
from pipeline_platform.connectors.delta.erasing.sink import DeltaErasure
from pipeline_platform.connectors.delta.schema_enforcement import (
    TYPE_WIDENING,
    require_partitions,
    require_schema,
    widens,
)
from pipeline_platform.connectors.delta.table import open_table
from pipeline_platform.connectors.delta.types import DELTA_TYPES
from pipeline_platform.connectors.delta.write import DeltaWrite, WriteOptions
from pipeline_platform.connectors.storage.bucket import require_bucket
from pipeline_platform.connectors.storage.location import S3Options
from pipeline_platform.connectors.storage.paths import at_path, spark_path
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.fitted_frame import fitted_frame
from pipeline_platform.frames.remote import is_remote
from pipeline_platform.frames.schema_drift import schema_drift
from pipeline_platform.frames.storable import (
    PartitionOverwrite,
    require_columns,
    require_partition_overwrite,
    require_storable,
)
from pipeline_platform.steps.dataset import Dataset
from pipeline_platform.steps.load import Load, LoadRun, PreparedLoad

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming.readwriter import DataStreamWriter
    from pyspark.sql.types import StructType

    from pipeline_platform.credentials.model import Credentials


_NOT_ALL = "not all there is, and 'snapshotKeys' deletes what a snapshot lacks"


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
    schema_policy: SchemaPolicy | None = None
    """What happens where the columns of the frame are not those of the table: instead of `mergeSchema`. Mode
    `applyChanges` takes it without `quarantine` and `variant`, which would make changes differ that are the same; a
    change leaves missing columns as they were, and keys and `sequenceBy` may get wider, too."""
    overwrite_schema: Flag = False
    """With mode `overwrite`: give the table the frame's columns."""
    merge_keys: Names = []
    """With mode `merge`: the columns that identify a row; two rows of a load with equal keys are an error."""
    changes: Changes | None = None
    """With mode `applyChanges`: how the rows are read as changes."""
    cluster_by: Names = []
    """Columns of Delta's liquid clustering, for a new table."""
    catalog_table: CatalogTable | None = None
    """The name under which the table is registered in a catalog once it is loaded, such as `sales.orders`: in the Hive
    metastore of `PIPELINE_PLATFORM_HIVE_METASTORE`, or, as `CATALOG.SCHEMA.TABLE`, in a catalog of Spark's. See
    [register tables in a catalog](how-to/register-tables.md)."""

    @model_validator(mode="after")
    def _can_keep_contract(self) -> Self:
        if self.contract is not None and self.mode == "applyChanges":
            message = "a contract is about the rows of a table, and with mode applyChanges the rows are changes of them"
            raise PydanticCustomError("contract", "{message}", {"message": message, "key": "contract"})
        return self

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
        self._require_policy_fits()
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

    def _require_policy_fits(self) -> None:
        if self.schema_policy is None:
            return
        message = None
        if self.mode not in ("append", "overwrite", "merge", "applyChanges"):
            message = "'schemaPolicy' needs mode append, overwrite, merge or applyChanges"
        elif self.mode == "applyChanges" and self.schema_policy.new_columns == "quarantine":
            message = (
                "'newColumns' quarantine is not for mode applyChanges, where what is kept as JSON would make changes "
                "differ that are the same: use add or ignore"
            )
        elif self.mode == "applyChanges" and self.schema_policy.type_changes == "variant":
            message = (
                "'typeChanges' variant is not for mode applyChanges, where a value in another column would make "
                "changes differ that are the same: use widen, and cast what it refuses"
            )
        elif self.merge_schema or self.overwrite_schema:
            other = "mergeSchema" if self.merge_schema else "overwriteSchema"
            message = f"'schemaPolicy' and '{other}' are mutually exclusive"
        if message is not None:
            raise PydanticCustomError("schema", "{message}", {"message": message, "key": "schemaPolicy"})

    def _require_replace_where_fits(self) -> None:
        message = None
        if self.mode != "overwrite":
            message = "'replaceWhere' needs mode overwrite"
        elif self.partition_overwrite == "dynamic" or self.overwrite_schema:
            other = "overwriteSchema" if self.overwrite_schema else "partitionOverwrite"
            message = f"'replaceWhere' and '{other}' are mutually exclusive"
        if message is not None:
            raise PydanticCustomError("replace", "{message}", {"message": message, "key": "replaceWhere"})

    def partition_columns(self) -> tuple[str, ...]:
        return tuple(self.partition_by)

    def partition_errors(self, column: str) -> Sequence[tuple[str | None, str]]:
        errors = list(super().partition_errors(column))
        if self.names_partition_in_place():
            if self.catalog_table is not None:
                errors.append(("catalogTable", "each partition is a table of its own, and they can't have one name"))
            return errors
        if self._takes_snapshots():
            errors.append(("changes", f"a partition is {_NOT_ALL}"))
        if self.replace_where is not None:
            errors.append(("replaceWhere", "each run replaces the rows of its partition, so leave out 'replaceWhere'"))
        if self.overwrite_schema:
            errors.append(("overwriteSchema", "'overwriteSchema' changes the whole table, and not one partition"))
        return errors

    def replaces(self) -> Replacement | None:
        if self.changes is not None:
            return self.changes.replaces()
        if self.replace_where is not None:
            return Replacement("replaces the rows of its 'replaceWhere'", condition=self.replace_where)
        return PRESENT_PARTITIONS if self.partition_overwrite == "dynamic" else super().replaces()

    def mode_errors(self, mode: PipelineMode) -> Sequence[tuple[str | None, str]]:
        if mode == "streaming" and self._takes_snapshots():
            return [("changes", f"a micro-batch is {_NOT_ALL}")]
        return super().mode_errors(mode)

    def _takes_snapshots(self) -> bool:
        return self.changes is not None and self.changes.is_snapshot

    def cursor_error(self, *, looks_again: bool) -> tuple[str | None, str] | None:
        if self._takes_snapshots():
            return "changes", f"what is new is {_NOT_ALL}"
        if self.mode not in ("append", "merge", "applyChanges"):
            return "mode", f"with mode {self.mode} a load of what is new would not leave alone what was loaded before"
        return None

    def merges_rows(self) -> bool:
        return self.mode in ("merge", "applyChanges")

    def cursor_place(self, name: str, credentials: Credentials | None) -> DeltaCursor:
        return DeltaCursor(self.place(credentials), name)

    def erasure(self, credentials: Credentials | None) -> DeltaErasure:
        keys = tuple(self.changes.found_by) if self.changes is not None else ()
        return DeltaErasure(self.place(credentials), keys)

    def uri(self) -> str:
        return spark_path(self.path)

    def redirected(self, to: Redirection) -> Self:
        name = redirected_name(self.catalog_table, to) if self.catalog_table is not None else None
        return self.with_place(to, path=to.path(self.path), catalog_table=name)

    def depends_on_rows(self) -> bool:
        return self.mode in ("append", "merge") or (self.mode == "overwrite" and self.replaces() != ALL_ROWS)

    def begin_as(self, other: Load, spark: SparkSession, credentials: Credentials | None) -> str | None:
        assert isinstance(other, ToDeltaLake)
        return clone(other.place(credentials), self.place(credentials), spark)

    def dataset(self) -> Dataset:
        return at_path(self.path, "delta")

    def catalog_name(self) -> str | None:
        return self.catalog_table

    def traits(self) -> Traits:
        # A merge reports the rows it changed: one of the frame may have changed several of the table. A clustered table
        # is made before its first rows are looked at.
        # Changes are all looked at before anything is written.
        fails_whole = self.mode == "applyChanges" or (self.mode != "merge" and not self.cluster_by)
        return Traits(
            reports_rows=self.mode not in ("merge", "applyChanges"),
            fails_whole=fails_whole,
            replaces_partitions=True,
            remembers_rows=self.mode != "applyChanges",
            needs_own_jvm=self.catalog_table is not None,
            loads_once=True,
        )

    def folder(self) -> str | None:
        return self.path

    def native_sink(self, frame: DataFrame, run: LoadRun) -> DataStreamWriter | None:
        if self.mode != "append" or self.output_mode != "append" or self.cluster_by or self.schema_policy is not None:
            return None
        if self.catalog_table is not None:
            return None
        place = self.place(run.credentials)
        options = {"mergeSchema": str(self.merge_schema).lower(), "path": place.uri, **place.spark_options()}
        writer = self._how().exact(frame, open_table(place)).writeStream.format("delta").options(**options)
        return writer.partitionBy(*self.partition_by) if self.partition_by else writer

    def columns(self, credentials: Credentials | None) -> Sequence[str] | None:
        """The columns of the table, as it is now; None if there is none.

        Args:
            credentials: Those of its bucket.
        """
        table = open_table(self.place(credentials))
        return [field.name for field in table.schema().fields] if table is not None else None

    def _how(self) -> WriteOptions:
        return WriteOptions(
            path=self.path,
            mode=self.mode,
            partition_by=self.partition_by,
            cluster_by=self.cluster_by,
            merge_keys=self.merge_keys,
            merge_schema=self.merge_schema,
            overwrite_schema=self.overwrite_schema,
            partition_overwrite=self.partition_overwrite,
            replace_where=self.replace_where,
            schema_policy=self.schema_policy,
        )

    def require_fit(self, frame: DataFrame, table: StructType, former: Load) -> bool:
        if self.mode in ("errorIfExists", "ignore", "applyChanges") or not isinstance(former, ToDeltaLake):
            return False
        if self.overwrite_schema:
            return True
        require_partitions(self.path, self.partition_by, former.partition_by)
        is_wider = False
        if self.schema_policy is not None:
            told = f"the table at {self.path}"
            fixed = former.partition_by
            drift = schema_drift(
                frame.schema, table, told, self.schema_policy, widens, keys=self.merge_keys, fixed=fixed
            )
            frame, is_wider = fitted_frame(frame, drift), drift.widens
        require_schema(
            frame,
            table,
            self.path,
            {TYPE_WIDENING: "true"} if is_wider else {},
            merge_schema=self.merge_schema or self.schema_policy is not None,
            whole_rows=self.mode == "merge",
        )
        return True

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
        load = DeltaWrite(self._how(), frame, run, place, given=given).checked()
        return registered(load, CatalogName.parse(self.catalog_table)) if self.catalog_table is not None else load
