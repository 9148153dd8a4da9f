"""The Delta tables that loads have written, for people's own assets, without a JVM."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, cast

import dagster as dg
import pyarrow as pa
from dagster._core.storage.db_io_manager import DbTypeHandler, TableSlice
from dagster_delta import BaseDeltaLakeIOManager, LocalConfig
from dagster_delta._db_io_manager import CustomDbIOManager
from dagster_delta.config import AzureConfig, GcsConfig, S3Config
from dagster_delta.io_manager.arrow import _DeltaLakePyArrowTypeHandler as ArrowHandler
from dagster_delta.io_manager.base import DeltaLakeDbClient, TableConnection
from pydantic import Field

from pipeline_platform.config.loader import load_pipeline
from pipeline_platform.config.step import Step
from pipeline_platform.connectors.storage.location import S3Options
from pipeline_platform.connectors.storage.paths import normalized_uri
from pipeline_platform.credentials.run_credentials import RunCredentials
from pipeline_platform.registry import method_registry

PIPELINE_FILE = "pipeline_file"
"""Metadata of an asset: the file that its step is written in."""
_URI = "dagster/uri"


class DeltaTables(BaseDeltaLakeIOManager):
    """Hands an asset the Delta table of an asset it depends on, as the type that its argument is annotated with.

    `pyarrow.Table` (the default), `pyarrow.RecordBatchReader`, and with the extra `polars` also `polars.DataFrame` and
    `polars.LazyFrame`. The metadata `columns` of the input selects columns. The table of a load is read with the
    credentials of its step. What an asset of one's own returns is put into a table below `root_uri`.
    """

    root_uri: str = Field(default="", description="Where the tables of assets of your own are stored.")
    storage_options: AzureConfig | S3Config | LocalConfig | GcsConfig = Field(
        default=LocalConfig(),
        discriminator="provider",
        description="How that place is entered; the tables of loads are read with the credentials of their steps.",
    )

    @staticmethod
    def type_handlers() -> Sequence[DbTypeHandler[Any]]:
        """Of the types that a table can be had as."""
        handlers: list[DbTypeHandler[Any]] = [_ArrowTables()]
        try:
            from dagster_delta.io_manager.polars import _DeltaLakePolarsTypeHandler
        except ImportError:
            return handlers
        return [*handlers, _DeltaLakePolarsTypeHandler()]

    @staticmethod
    def default_load_type() -> type:
        """Where an argument has no annotation."""
        return pa.Table

    def create_io_manager(self, context: dg.InitResourceContext) -> CustomDbIOManager:
        """As Dagster asks for it.

        Args:
            context: Of the resource.
        """
        return _QuietIOManager(
            db_client=_Tables(),
            database="deltalake",
            schema=self.schema_,
            type_handlers=self.type_handlers(),
            default_load_type=self.default_load_type(),
            io_manager_name=type(self).__name__,
        )


class _QuietIOManager(CustomDbIOManager):
    """dagster-delta sets the root logger to DEBUG, where other libraries write requests with their credentials."""

    def load_input(self, context: dg.InputContext) -> object:
        with _kept_level():
            return super().load_input(context)

    def handle_output(self, context: dg.OutputContext, obj: object) -> None:
        with _kept_level():
            super().handle_output(context, obj)


@contextmanager
def _kept_level() -> Generator[None]:
    root = logging.getLogger()
    level = root.level
    try:
        yield
    finally:
        root.setLevel(level)


class _ArrowTables(ArrowHandler):
    """Arrow, of the columns in the metadata: dagster-delta writes that list into its query as Python shows it."""

    def load_input(self, context: dg.InputContext, table_slice: TableSlice, connection: TableConnection) -> Any:
        columns = table_slice.columns
        if columns is not None:
            quoted = ", ".join('"' + str(column).replace('"', '""') + '"' for column in columns)
            table_slice = table_slice._replace(columns=cast(Any, quoted))
        return super().load_input(context, table_slice, connection)


class _Tables(DeltaLakeDbClient):
    """The table of an upstream load where it is, and any other below the root."""

    @staticmethod
    @contextmanager
    def connect(context: dg.OutputContext | dg.InputContext, table_slice: TableSlice) -> Iterator[TableConnection]:
        metadata = _upstream_metadata(context)
        if _URI in metadata:
            yield _connection(context.asset_key, metadata)
            return
        if not (context.resource_config or {}).get("root_uri"):
            raise dg.DagsterInvariantViolationError(
                f"the asset {context.asset_key.to_user_string()} has no '{_URI}' in its metadata, as the loads of "
                "pipelines have; for tables of your own, set 'root_uri' of DeltaTables"
            )
        with DeltaLakeDbClient.connect(context, table_slice) as connection:
            yield connection


def _upstream_metadata(context: dg.OutputContext | dg.InputContext) -> Mapping[str, Any]:
    upstream = context.upstream_output if isinstance(context, dg.InputContext) else None
    return (upstream.definition_metadata or {}) if upstream is not None else {}


def _connection(key: dg.AssetKey, metadata: Mapping[str, Any]) -> TableConnection:
    step = _step(metadata)
    if step is None:
        return TableConnection(normalized_uri(str(metadata[_URI])), {}, None)
    config = step.config.resolved()
    if not isinstance(config, S3Options) or step.config.kind != "deltalake":
        raise dg.DagsterInvariantViolationError(
            f"the asset {key.to_user_string()} is no Delta table: its step is {config.method}; name that of a "
            "toDeltaLake instead"
        )
    need = config.credential_request()
    with closing(RunCredentials.from_environment("delta_tables", step.location)) as credentials:
        place = config.place(credentials.enter(need, step.location) if need is not None else None)
    return TableConnection(normalized_uri(place.uri), place.delta_rs_options(), None)


def _step(metadata: Mapping[str, Any]) -> Step | None:
    """The step of a pipeline that an asset is; None for an asset of somebody else."""
    file, number = metadata.get(PIPELINE_FILE), metadata.get("step")
    if not isinstance(file, str) or not isinstance(number, int):
        return None
    return load_pipeline(Path(file), method_registry()).steps[number - 1]
