"""What an environment has, found out when a run begins: what it does not, is read from production, or cloned."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.config.uris import shown_place
from pipeline_platform.credentials.run_credentials import RunCredentials
from pipeline_platform.engine.failures import error_context
from pipeline_platform.engine.step_credentials import credentials_for
from pipeline_platform.steps.extract import Extract
from pipeline_platform.steps.load import Load

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def reading_what_is_there(
    pipeline: PipelineConfig, spark: SparkSession, credentials: RunCredentials, steps: Set[int] | None = None
) -> PipelineConfig:
    """The pipeline with each source that its environment lacks read from production; itself, if it lacks none.

    Args:
        pipeline: The pipeline, its environment variables replaced.
        spark: The session.
        credentials: Where each step gets those of its system.
        steps: Indices of those that run; None for all.

    Raises:
        PipelineException: It can't be told whether a source is there; it names the step.
    """
    found = list(pipeline.steps)
    for place, step in enumerate(found):
        config, production = step.config, step.production
        if not isinstance(config, Extract) or production is None or (steps is not None and step.index not in steps):
            continue
        with error_context(step):
            is_there = config.is_there(spark, credentials_for(credentials, config, step))
        chosen = replace(step, note=None) if is_there else replace(step, config=production)
        found[place] = replace(chosen, production=None)
    return pipeline.with_steps(found)


def begin_as_production(
    pipeline: PipelineConfig, spark: SparkSession, credentials: RunCredentials, steps: Set[int] | None = None
) -> list[str]:
    """Have each table that the environment lacks, and whose load keeps rows, begin as it is in production.

    Args:
        pipeline: The pipeline, its environment variables replaced.
        spark: The session.
        credentials: Where each step gets those of its system.
        steps: Indices of those that run; None for all.

    Returns:
        What was done, in words.

    Raises:
        PipelineException: A table can't be cloned; it names the step.
    """
    told: list[str] = []
    for step in pipeline.steps:
        config, production = step.config, step.production
        if not isinstance(config, Load) or not isinstance(production, Load):
            continue
        if steps is not None and step.index not in steps:
            continue
        if not config.depends_on_rows() or _begins_anew(pipeline, step):
            continue
        with error_context(step):
            source = config.begin_as(production, spark, credentials_for(credentials, config, step))
        if source is not None:
            told.append(f"'{step.name}' began with a shallow clone of production's {shown_place(source)}")
    return told


def _begins_anew(pipeline: PipelineConfig, load: Step) -> bool:
    """Whether the load adds what production's table may have already: its cursor begins at the first row here."""
    above = (pipeline.steps[index].config for index in pipeline.upstream_of({load.index}))
    return not load.config.merges_rows() and any(config.reads_increments() for config in above)
