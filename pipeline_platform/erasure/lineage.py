"""Under which other names a key is handed on: the columns of each sink that are made of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.credentials.run_credentials import RunCredentials
from pipeline_platform.engine.plan import plan
from pipeline_platform.engine.planned import PlannedFrame
from pipeline_platform.engine.spark.session import pipeline_settings
from pipeline_platform.exceptions import PipelineException
from pipeline_platform.steps.extract import Extract
from pipeline_platform.steps.load import Load

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@dataclass
class KeyLineage:
    """Columns that are made of a key, found pipeline by pipeline.

    Args:
        names: The names of the keys.
        made: By location, the columns of a sink that are made of a key.
        unknown: By the name of a pipeline, why that is not known of its sinks.
    """

    names: frozenset[str]
    made: dict[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])
    unknown: dict[str, str] = field(default_factory=dict[str, str])

    def follow(self, pipelines: Sequence[PipelineConfig], spark: Callable[[], SparkSession]) -> None:
        """Plan each pipeline, and note what its loads are given.

        Args:
            pipelines: Those that write a table before those that read it.
            spark: Gives the session.
        """
        for pipeline in pipelines:
            if pipeline.partitions is not None:
                self.unknown[pipeline.name] = "it has partitions"
                continue
            try:
                self._follow(pipeline, spark())
            except PipelineException as error:
                self.unknown[pipeline.name] = error.message

    def _follow(self, pipeline: PipelineConfig, spark: SparkSession) -> None:
        names = {step.name for step in pipeline.steps if step.type != "load" and step.guards is None}
        resolved = pipeline.resolve()
        with (
            pipeline_settings(pipeline, spark),
            closing(RunCredentials.from_environment("erase", pipeline.location)) as credentials,
        ):
            planned = plan(resolved, spark, "erase", credentials, names, writes=False)
            with planned.persisted:
                made = self._made(planned.frames)
        for step in resolved.steps:
            if isinstance(step.config, Load):
                location = step.config.dataset().uri
                above = made.get(step.inputs[0].step, frozenset())
                self.made[location] = self.made.get(location, frozenset()) | above

    def _made(self, frames: Mapping[int, PlannedFrame]) -> dict[int, frozenset[str]]:
        found: dict[int, frozenset[str]] = {}
        for index in sorted(frames):
            found[index] = self._made_in(frames[index], found)
        return found

    def _made_in(self, planned: PlannedFrame, above: Mapping[int, frozenset[str]]) -> frozenset[str]:
        config = planned.step.config
        names = self.names
        if isinstance(config, Extract):
            dataset = config.dataset()
            names = names | self.made.get(dataset.uri if dataset is not None else "", frozenset())
            return frozenset(column.name for column in planned.columns if column.name.lower() in _lower(names))
        inputs = {edge.step for edge in planned.step.inputs}
        is_any = any(above.get(index) for index in inputs)
        return frozenset(
            column.name
            for column in planned.columns
            if column.name.lower() in _lower(names) or _is_made(planned.lineage.get(column.name), above, is_any)
        )


def _is_made(sources: Sequence[tuple[int, str]] | None, above: Mapping[int, frozenset[str]], is_any: bool) -> bool:
    """Whether a column is made of one that is made of a key; of one that does not say what it is made of, perhaps."""
    if sources is None:
        return is_any
    return any(name in above.get(index, frozenset()) for index, name in sources)


def _lower(names: frozenset[str]) -> set[str]:
    return {name.lower() for name in names}
