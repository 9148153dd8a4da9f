"""The tables and folders that the pipelines of a project write, each once, however many pipelines write it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from pipeline_platform.config.maintenance import Maintenance
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.placeholders import substitute_all
from pipeline_platform.config.step import Step
from pipeline_platform.config.table_writers import Writer, quarantine_beside_sink
from pipeline_platform.config.uris import normalized_uri
from pipeline_platform.connectors.storage.location import S3Options, StorageLocation, place_of
from pipeline_platform.connectors.storage.paths import spark_path
from pipeline_platform.credentials.run_credentials import RunCredentials
from pipeline_platform.engine.step_credentials import credentials_for, credentials_of_bucket
from pipeline_platform.engine.streaming.checkpoint_place import checkpoint_location
from pipeline_platform.exceptions import PipelineConfigurationException

_DELTA = "deltalake"
Kind = Literal["delta", "files", "other"]


@dataclass(frozen=True)
class Sink:
    """What a step writes.

    Args:
        pipeline: Its pipeline; of several that write it the first one with `maintenance`.
        writer: The step and where it writes.
    """

    pipeline: PipelineConfig
    writer: Writer

    @property
    def step(self) -> Step:
        """The load, or the step whose rows are quarantined."""
        return self.writer.step

    @property
    def name(self) -> str:
        """What people call it: pipeline and step."""
        return f"{self.pipeline.name}/{self.step.name}{' (quarantine)' if self.writer.is_quarantine else ''}"

    @property
    def kind(self) -> Kind:
        """What it is: a Delta table, a folder of files, or something of another system."""
        if self.writer.is_quarantine:
            return "delta"
        if not isinstance(self.step.config, S3Options):
            return "other"
        return "delta" if self.step.config.kind == _DELTA else "files"

    @property
    def maintenance(self) -> Maintenance | None:
        """How it is kept, if the pipeline says and it is a table that can be."""
        return self.pipeline.maintenance if self.kind == "delta" and not self.writer.is_in_several else None

    def place(self, credentials: RunCredentials) -> StorageLocation:
        """Where it is, with what it is entered with.

        Args:
            credentials: Those of the run.

        Raises:
            CredentialException: They can't be had, or an environment variable is not set.
            PipelineConfigurationException: There are several of it, one for each partition.
        """
        if self.writer.is_in_several:
            raise PipelineConfigurationException(
                "there is one for each partition: the partition is a part of its path", location=self.step.location
            )
        steps = self.pipeline.steps
        if self.writer.is_quarantine:
            path = self.step.config.quarantine() or quarantine_beside_sink(steps)
            uri = spark_path(substitute_all(path or ""))
            return place_of(uri, credentials_of_bucket(credentials, steps, uri))
        config = self.step.config.resolved()
        assert isinstance(config, S3Options)
        return config.place(credentials_for(credentials, config, self.step))


def sinks(pipelines: Iterable[PipelineConfig]) -> list[Sink]:
    """What pipelines write, each place once.

    Args:
        pipelines: Those of a project.
    """
    found: dict[str, Sink] = {}
    for sink in _all(pipelines):
        before = found.get(sink.writer.place)
        if before is None or (before.maintenance is None and sink.maintenance is not None):
            found[sink.writer.place] = sink
    return list(found.values())


def _all(pipelines: Iterable[PipelineConfig]) -> Iterator[Sink]:
    for pipeline in pipelines:
        for writer in pipeline.writers:
            yield Sink(pipeline, writer)


def places_inside(uri: str, pipelines: Iterable[PipelineConfig]) -> Iterator[str]:
    """What else of a project lies in the folder of a table, where only hidden folders are left alone.

    Args:
        uri: Where the table is, as datasets have it.
        pipelines: Those of the project.
    """
    for pipeline in pipelines:
        for sink in _all([pipeline]):
            if _is_inside(uri, sink.writer.place):
                yield f"the step '{sink.step.name}' of '{pipeline.name}' writes {sink.writer.place},"
        if pipeline.mode == "streaming" and _is_inside(uri, normalized_uri(checkpoint_location(pipeline))):
            yield f"the stream '{pipeline.name}' has its checkpoint"


def _is_inside(uri: str, place: str) -> bool:
    inside = place.removeprefix(f"{uri}/")
    return inside != place and not inside.startswith(("_", "."))
