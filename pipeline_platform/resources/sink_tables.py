"""The Delta tables that the loads of a pipeline write, looked at without a JVM by dagster-delta's table resource."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.config.uris import normalized_uri
from pipeline_platform.connectors.delta.history import commits_of
from pipeline_platform.connectors.storage.location import S3Options, StorageLocation, bucket_of
from pipeline_platform.resources.vault import VaultResource
from pipeline_platform.steps.load import Load


@dataclass(frozen=True)
class SinkTable:
    """A table, as its log has it.

    Args:
        step: The load.
        uri: Where it is.
        version: The newest; None if there is no table.
        committed: When that was made, in UTC.
    """

    step: Step
    uri: str
    version: int | None = None
    committed: datetime | None = None


def sink_tables(pipeline: PipelineConfig, vault: VaultResource) -> Iterator[SinkTable]:
    """The Delta table of each load that has one; only the newest entries of its log are read.

    Args:
        pipeline: The pipeline.
        vault: Has the credentials of the loads.

    Raises:
        PipelineException: The credentials of a load can't be had.
        DeltaError: A table is one that delta-rs can't read, or its store does not answer.
    """
    from pipeline_platform.engine.step_credentials import credentials_for

    with closing(vault.run_credentials("health", pipeline.location)) as credentials:
        for step in pipeline.steps:
            config = step.config.resolved()
            if isinstance(config, Load) and isinstance(config, S3Options) and config.kind == "deltalake":
                yield _looked_at(step, config.place(credentials_for(credentials, config, step)))


def _looked_at(step: Step, place: StorageLocation) -> SinkTable:
    from dagster_delta import ClientConfig, DeltaTableResource, LocalConfig, S3Config
    from deltalake.exceptions import TableNotFoundError

    uri, key = normalized_uri(place.uri), place.delta_rs_options()
    if bucket_of(place.uri) is None:
        resource = DeltaTableResource(url=uri, storage_options=LocalConfig())
    else:
        storage = S3Config(
            access_key_id=key.get("AWS_ACCESS_KEY_ID"),
            secret_access_key=key.get("AWS_SECRET_ACCESS_KEY"),
            token=key.get("AWS_SESSION_TOKEN"),
            region=key.get("AWS_REGION"),
            endpoint=key.get("AWS_ENDPOINT_URL"),
            virtual_hosted_style_request=key.get("AWS_VIRTUAL_HOSTED_STYLE_REQUEST"),
        )
        client = ClientConfig(allow_http="AWS_ALLOW_HTTP" in key, timeout=key["timeout"])
        resource = DeltaTableResource(url=uri, storage_options=storage, client_options=client)
    try:
        table = resource.load()
    except TableNotFoundError:
        return SinkTable(step, uri)
    newest = next(commits_of(table, place), None)
    committed = datetime.fromtimestamp(newest["timestamp"] / 1000, UTC) if newest is not None else None
    return SinkTable(step, uri, table.version(), committed)
