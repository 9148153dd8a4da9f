"""Whether what a stream reads is still what the offsets of its checkpoint are positions in."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.connectors.storage.location import StorageLocation
from pipeline_platform.credentials.run_credentials import RunCredentials
from pipeline_platform.engine.failures import error_context
from pipeline_platform.engine.step_credentials import credentials_for
from pipeline_platform.engine.streaming.checkpoint_place import reset_command
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.steps.extract import Extract

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class SourceId:
    """A source that could be made anew under its name.

    Args:
        name: Its name.
        id: What tells it from another one.
        step: The step that reads it.
        may_lose_data: Whether the stream is to go on though messages are gone.
    """

    name: str
    id: str
    step: Step
    may_lose_data: bool


def source_ids(pipeline: PipelineConfig, spark: SparkSession, credentials: RunCredentials) -> dict[str, SourceId]:
    """The ids of all sources of a stream, by the number of the step among the sources and the name.

    Args:
        pipeline: A streaming pipeline, which was planned, its environment variables replaced.
        spark: The session.
        credentials: Where each step gets those of its system.

    Raises:
        PipelineException: A source does not answer.
    """
    found: dict[str, SourceId] = {}
    number = 0
    for step in pipeline.steps:
        if step.index not in pipeline.shape.streamed or not step.traits.is_stream:
            continue
        with error_context(step):
            config = step.config
            assert isinstance(config, Extract)
            ids = config.source_ids(spark, credentials_for(credentials, config, step))
        for name, id_ in ids.items():
            found[f"{number}:{name}"] = SourceId(name, id_, step, step.traits.may_lose_data)
        number += 1
    return found


def require_same_sources(
    pipeline: PipelineConfig, checkpoint: StorageLocation, before: Mapping[str, str], now: Mapping[str, SourceId]
) -> None:
    """Raise if a source was made anew, unless its step says that messages may be lost.

    Args:
        pipeline: A streaming pipeline.
        checkpoint: Its checkpoint.
        before: The ids when the stream was last started.
        now: The sources of today.

    Raises:
        PipelineConfigurationException: The offsets of the checkpoint are positions in one that is gone.
    """
    for key, source in now.items():
        if before.get(key, source.id) == source.id:
            continue
        told = (
            f"'{source.name}' was deleted and recreated since the stream last ran, so the offsets in the checkpoint "
            f"{checkpoint.uri} mean nothing in it"
        )
        if source.may_lose_data:
            _LOG.warning("%s; because failOnDataLoss is false, the stream continues from them", told)
            continue
        raise PipelineConfigurationException(
            told,
            location=source.step.location,
            hint=(
                f"start over, with 'startingOffsets' earliest and '{reset_command(pipeline)}'; to continue from "
                "the same offsets and lose what is before them, set 'failOnDataLoss' to false for one start"
            ),
        )
