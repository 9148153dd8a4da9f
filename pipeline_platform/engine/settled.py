"""What extracts ask their systems once, so that it stays the same for as long as they are read."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.credentials.run_credentials import RunCredentials
from pipeline_platform.engine.failures import error_context
from pipeline_platform.engine.step_credentials import credentials_for
from pipeline_platform.exceptions import PipelineException
from pipeline_platform.steps.extract import Extract

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def settled(
    pipeline: PipelineConfig,
    spark: SparkSession,
    credentials: RunCredentials,
    steps: Set[int] | None = None,
    failure: PipelineException | None = None,
) -> PipelineConfig:
    """The pipeline with its extracts settled; itself, where there is nothing to settle.

    Args:
        pipeline: The pipeline, its environment variables replaced.
        spark: The session.
        credentials: Where each step gets those of its system.
        steps: Indices of those that run; None for all.
        failure: Of a pipeline that is settled: what it failed at. If an extract knows now what it did not then, the
            pipeline is another one, and planned again it gets further.

    Raises:
        PipelineException: An extract can't be settled; it names the step.
    """
    told = failure.message if failure is not None else None
    found = list(pipeline.steps)
    for place, step in enumerate(found):
        if not isinstance(step.config, Extract) or not step.traits.asks_first:
            continue
        if steps is not None and step.index not in steps:
            continue
        with error_context(step):
            config = step.config.settled(spark, credentials_for(credentials, step.config, step), told)
        if config is not step.config:
            found[place] = replace(step, config=config)
    return pipeline.with_steps(found)
