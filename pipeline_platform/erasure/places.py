"""Every place of a project that rows are written to: what loads write, and quarantines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from urllib.parse import unquote

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.config.table_writers import quarantine_beside_sink
from pipeline_platform.connectors.delta.sink import ToDeltaLake
from pipeline_platform.credentials.run_credentials import RunCredentials
from pipeline_platform.engine.step_credentials import credentials_for, credentials_of_bucket
from pipeline_platform.exceptions import PipelineException
from pipeline_platform.steps.erasing import Erasable
from pipeline_platform.steps.load import Load


@dataclass(frozen=True)
class Place:
    """Where a step writes rows.

    Args:
        name: What it is called on the command line: the pipeline and the step.
        location: Where it is, as people and tools can open it.
        pipeline: The pipeline.
        step: The step.
        erasable: How rows are erased from it; the reason, where that can't be done.
        is_quarantine: Whether these are rows that the step took out.
    """

    name: str
    location: str
    pipeline: PipelineConfig
    step: Step
    erasable: Erasable | str
    is_quarantine: bool = False


def places_of(pipelines: Sequence[PipelineConfig], sessions: ExitStack) -> list[Place]:
    """The places that pipelines write to, each once, in the order of the pipelines.

    Args:
        pipelines: The pipelines.
        sessions: Closes what the credentials were read by.

    Raises:
        PipelineException: A variable is not set that a place needs.
    """
    found: dict[str, Place] = {}
    for pipeline in pipelines:
        credentials = sessions.enter_context(closing(RunCredentials.from_environment("erase", pipeline.location)))
        for place in _of_pipeline(pipeline.resolve(), credentials):
            # Of a table that two write, who applies changes to it knows what is remembered of them.
            known = found.get(place.location)
            if known is None or getattr(place.step.config, "changes", None) is not None:
                found[place.location] = place
    return list(found.values())


def _of_pipeline(pipeline: PipelineConfig, credentials: RunCredentials) -> Iterator[Place]:
    beside = quarantine_beside_sink(pipeline.steps)
    for step in pipeline.steps:
        if isinstance(step.config, Load):
            name = f"{pipeline.name}.{step.name}"
            erasable = _erasable(pipeline, step, step.config, credentials)
            yield Place(name, step.config.dataset().uri, pipeline, step, erasable)
        path = (step.config.quarantine() or beside) if step.config.fills_quarantine() else None
        if path is not None:
            table = ToDeltaLake(path=path)
            name = f"{pipeline.name}.{step.name}/quarantine"
            kept = _erasable(pipeline, step, table, credentials)
            yield Place(name, table.dataset().uri, pipeline, step, kept, is_quarantine=True)


def _erasable(pipeline: PipelineConfig, step: Step, load: Load, credentials: RunCredentials) -> Erasable | str:
    # The URI of a local path has braces escaped.
    if "${partition:" in unquote(load.dataset().location):
        return "each partition has a place of its own, and 'erase' does not know which there are"
    try:
        entered = (
            credentials_for(credentials, load, step)
            if load is step.config
            else credentials_of_bucket(credentials, pipeline.steps, load.dataset().uri)
        )
        return load.erasure(entered)
    except PipelineException as error:
        return str(error)
