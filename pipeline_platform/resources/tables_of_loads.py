"""Reads the Delta tables of loads for people's own assets, by way of dagster-delta.

Importing dagster-delta, and with it delta-rs and Arrow, takes longer than loading the definitions of a project.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import dagster as dg
import pyarrow
from dagster._core.storage.db_io_manager import DbTypeHandler, TableSlice
from dagster_delta import DeltaLakePyarrowIOManager
from dagster_delta._db_io_manager import CustomDbIOManager
from dagster_delta.io_manager.base import DeltaLakeDbClient, TableConnection
from deltalake import DeltaTable, QueryBuilder

from pipeline_platform.config.loader import load_pipeline
from pipeline_platform.config.partitions import Partition
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.uris import normalized_uri
from pipeline_platform.config.variables import VariableValue
from pipeline_platform.connectors.storage.location import S3Options
from pipeline_platform.credentials.run_credentials import RunCredentials
from pipeline_platform.engine.step_credentials import credentials_for
from pipeline_platform.registry import method_registry
from pipeline_platform.resources.asset_metadata import ITEM, NOT_LOADED, PIPELINE_FILE, STEP
from pipeline_platform.resources.partitions import partition_of
from pipeline_platform.resources.table_slices import TABLE, RowsAndColumns, rows_and_columns
from pipeline_platform.steps.extract import Extract
from pipeline_platform.steps.load import Load

_URI = "dagster/uri"


class TablesOfLoads(CustomDbIOManager):
    """Hands an asset the table of the load that it depends on."""

    def __init__(self) -> None:
        arrow: Any = pyarrow
        super().__init__(  # pyright: ignore[reportUnknownMemberType]
            db_client=_Tables(),
            database="deltalake",
            type_handlers=_type_handlers(),
            default_load_type=arrow.Table,
            io_manager_name="DeltaTables",
        )

    def load_input(self, context: dg.InputContext) -> object:
        """The table, of the type that the argument is annotated with.

        Args:
            context: Of the input.

        Raises:
            dg.DagsterInvariantViolationError: The asset is not that of a load to Delta Lake, or its pipeline is not
                loaded.
            CredentialException: The credentials of the load's step can't be had.
        """
        upstream = context.upstream_output
        if upstream is not None and (why := (upstream.definition_metadata or {}).get(NOT_LOADED)) is not None:
            raise dg.DagsterInvariantViolationError(
                f"the table of {context.asset_key.to_user_string()} can't be found: {why}\nnext: correct the file, and "
                "reload the definitions"
            )
        with _kept_level():
            return super().load_input(context)

    def handle_output(self, context: dg.OutputContext, obj: object) -> None:
        """Refuse what an asset returns.

        Args:
            context: Of the output.
            obj: What it returned.

        Raises:
            dg.DagsterInvariantViolationError: Always.
        """
        raise dg.DagsterInvariantViolationError(
            "'delta_tables' reads the tables of loads and stores nothing; for tables of your own, give the asset an IO "
            "manager of dagster-delta, such as DeltaLakePyarrowIOManager"
        )


def _type_handlers() -> Sequence[DbTypeHandler[Any]]:
    io_manager: Any = DeltaLakePyarrowIOManager
    arrow = [_WholeTable(), *map(_Arrow, io_manager.type_handlers())]
    return [*arrow, _Polars()] if find_spec("polars") is not None else arrow


@contextmanager
def _kept_level() -> Generator[None]:
    """dagster-delta sets the level of the root logger to DEBUG, and leaves it there."""
    root = logging.getLogger()
    level = root.level
    try:
        yield
    finally:
        root.setLevel(level)


class _WholeTable(DbTypeHandler[Any]):
    """The table itself, with its version, history and files."""

    @property
    def supported_types(self) -> Sequence[type[object]]:
        return [DeltaTable]

    def handle_output(self, context: dg.OutputContext, table_slice: TableSlice, obj: Any, connection: Any) -> Any:
        raise NotImplementedError("nothing is stored")

    def load_input(self, context: dg.InputContext, table_slice: TableSlice, connection: TableConnection) -> DeltaTable:
        table = _table(connection)
        if _is_mapped(table):
            context.log.warning(
                f"the columns of {connection.table_uri} have other names in its files, by which 'to_pyarrow_table' and "
                "'to_pandas' of delta-rs find none: all values would be NULL; its QueryBuilder finds them"
            )
        return table


class _Part(DbTypeHandler[Any]):
    """A type that holds rows: of the columns in the metadata, and of the partitions of the run.

    dagster-delta's own reading is not asked: each of its types writes another query, with the names of columns as
    Python shows them, and with times that have lost their zone.
    """

    def handle_output(self, context: dg.OutputContext, table_slice: TableSlice, obj: Any, connection: Any) -> Any:
        raise NotImplementedError("nothing is stored")

    def load_input(self, context: dg.InputContext, table_slice: TableSlice, connection: TableConnection) -> Any:
        metadata = context.definition_metadata or {}
        table = _table(connection, metadata.get("table_version"))
        wanted = rows_and_columns(table, table_slice, metadata.get("predicate"))
        return self.read(table, wanted, context.dagster_type.typing_type)

    @abstractmethod
    def read(self, table: DeltaTable, wanted: RowsAndColumns, kind: Any) -> Any:
        """Read a part of a table.

        Args:
            table: The table.
            wanted: The part.
            kind: The type that the argument is annotated with; `Any` without an annotation.
        """


class _Arrow(_Part):
    """A type that dagster-delta makes of Arrow.

    Args:
        handler: How it does so.
    """

    def __init__(self, handler: DbTypeHandler[Any]) -> None:
        self._handler: Any = handler

    @property
    def supported_types(self) -> Sequence[type[object]]:
        return self._handler.supported_types

    def read(self, table: DeltaTable, wanted: RowsAndColumns, kind: Any) -> Any:
        arrow: Any = pyarrow
        found = QueryBuilder().register(TABLE, table).execute(wanted.query())
        return self._handler.from_arrow(found, arrow.Table if kind is Any else kind)


class _Polars(_Part):
    """A frame of Polars, which reads files by the names that the table has for its columns."""

    @property
    def supported_types(self) -> Sequence[type[object]]:
        import polars as pl

        return [pl.DataFrame, pl.LazyFrame]

    def read(self, table: DeltaTable, wanted: RowsAndColumns, kind: Any) -> Any:
        import polars as pl

        if _is_mapped(table):
            raise dg.DagsterInvariantViolationError(
                f"the columns of {table.table_uri} have other names in its files (column mapping), which Polars "
                "does not find: all values would be NULL; annotate the argument with pyarrow.Table, and make it "
                "polars.from_arrow(table)"
            )
        frame = wanted.of_polars(pl.scan_delta(table))
        return frame if issubclass(kind, pl.LazyFrame) else frame.collect()


def _is_mapped(table: DeltaTable) -> bool:
    """Whether the columns have other names in the files: Delta's column mapping."""
    return (table.metadata().configuration.get("delta.columnMapping.mode") or "none") != "none"


def _table(connection: TableConnection, version: int | None = None) -> DeltaTable:
    return DeltaTable(connection.table_uri, version=version, storage_options=connection.storage_options)


class _Tables(DeltaLakeDbClient):
    """The table of an upstream load, where it is."""

    @staticmethod
    @contextmanager
    def connect(
        context: dg.OutputContext | dg.InputContext,
        table_slice: TableSlice,  # noqa: ARG004
    ) -> Generator[TableConnection]:
        upstream = context.upstream_output if isinstance(context, dg.InputContext) else None
        metadata = (upstream.definition_metadata or {}) if upstream is not None else {}
        if _URI not in metadata:
            raise dg.DagsterInvariantViolationError(
                f"the asset {context.asset_key.to_user_string()} has no '{_URI}' in its metadata, as the loads of "
                "pipelines have, so its table can't be found; name the asset of a toDeltaLake"
            )
        keys = context.asset_partition_keys if context.has_asset_partitions else ()
        yield _connection(context.asset_key, metadata, keys)


def _connection(key: dg.AssetKey, metadata: Mapping[str, Any], partitions: Sequence[str]) -> TableConnection:
    if PIPELINE_FILE not in metadata:
        # The asset of somebody else, who says where its table is.
        return TableConnection(normalized_uri(str(metadata[_URI])), {}, None)
    file, number = Path(str(metadata[PIPELINE_FILE])), metadata[STEP]
    item = metadata.get(ITEM)
    values = item.value if isinstance(item, dg.JsonMetadataValue) else item
    pipeline = load_pipeline(file, method_registry(), values=cast("Mapping[str, VariableValue] | None", values))
    step = next((step for step in pipeline.steps if step.number == number), None)
    config = step.config if step is not None else None
    dataset = config.dataset() if isinstance(config, (Extract, Load)) else None
    if step is None or dataset is None or dataset.uri != metadata[_URI]:
        raise dg.DagsterInvariantViolationError(
            f"{file} has changed: step {number} no longer has {metadata[_URI]}; reload the definitions"
        )
    # An extract may read an older version, or the changes of a table.
    if not isinstance(config, Load) or not isinstance(config, S3Options) or config.kind != "deltalake":
        raise dg.DagsterInvariantViolationError(
            f"the asset {key.to_user_string()} is no Delta table: its step is {step.config.method}; name that of a "
            "toDeltaLake instead"
        )
    if config.names_partition_in_place():
        config = config.resolved(_one_of(key, pipeline, partitions).texts())
    config = config.resolved()
    with closing(RunCredentials.from_environment("delta_tables", step.location)) as credentials:
        place = config.place(credentials_for(credentials, config, step))
    return TableConnection(normalized_uri(place.uri), place.delta_rs_options(), None)


def _one_of(key: dg.AssetKey, pipeline: PipelineConfig, partitions: Sequence[str]) -> Partition:
    if pipeline.partitions is None or len(partitions) != 1:
        raise dg.DagsterInvariantViolationError(
            f"each partition of {key.to_user_string()} is a table of its own, so an asset can take one at a time: give "
            "it the same partitions"
        )
    return partition_of(pipeline.partitions, partitions)
