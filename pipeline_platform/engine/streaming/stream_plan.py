"""Plans a stream: the frame whose rows become its micro-batches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.credentials.run_credentials import RunCredentials
from pipeline_platform.engine.failures import error_context, explained
from pipeline_platform.engine.plan import inputs_of, plan
from pipeline_platform.engine.planned import Plan
from pipeline_platform.engine.scope import MicroBatch
from pipeline_platform.engine.step_credentials import credentials_for
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.frames.remote import is_remote
from pipeline_platform.frames.session import empty_frame
from pipeline_platform.metrics.run import StepMetrics
from pipeline_platform.metrics.stream import MALFORMED_RECORDS, StreamProgress
from pipeline_platform.steps.extract import Extract
from pipeline_platform.steps.load import Load
from pipeline_platform.steps.malformed import MALFORMED
from pipeline_platform.steps.transform import Transform

if TYPE_CHECKING:
    from pyspark.errors import AnalysisException
    from pyspark.sql import DataFrame, SparkSession


@dataclass(frozen=True)
class StreamIds:
    """By what the micro-batches of a stream are known; by default of one that is planned and not run.

    Args:
        query_id: Of the query.
        next_batch: The first micro-batch that was not begun.
        load_ids: For each load, by its index: what its load id adds to the query's.
    """

    query_id: str = "check"
    next_batch: int = 0
    load_ids: Mapping[int, str] = field(default_factory=dict[int, str])


@dataclass(frozen=True)
class PlannedStream:
    """A stream that every sink can take.

    Args:
        frame: The rows that become the micro-batches.
        checked: The plan of an empty micro-batch, by which that was found out.
    """

    frame: DataFrame
    checked: Plan


def plan_stream(
    pipeline: PipelineConfig,
    spark: SparkSession,
    credentials: RunCredentials,
    ids: StreamIds | None = None,
) -> PlannedStream:
    """Build the frame whose rows become the micro-batches, and hold every sink against it; nothing is started.

    Args:
        pipeline: A streaming pipeline, its environment variables replaced.
        spark: The session.
        credentials: Where each step gets those of its system.
        ids: By what its micro-batches are known.

    Raises:
        PipelineException: A step can't be planned; it names the step.
    """
    ids = ids or StreamIds()
    frame = stream_frame(pipeline, spark, credentials, pipeline.shape.head)
    _require_supported(pipeline, frame)
    none = MicroBatch(empty_frame(spark, frame.schema), ids.next_batch, ids.load_ids)
    checked = plan(pipeline, spark, ids.query_id, credentials, micro_batch=none)
    checked.persisted.close()
    return PlannedStream(frame, checked)


def malformed_counted(frame: DataFrame, config: Extract, step: Step) -> DataFrame:
    """The frame of a stream, whose progress is to say how many malformed records went on as nulls."""
    from pyspark.sql import functions as F

    if not config.counts_malformed():
        return frame
    return frame.observe(f"{MALFORMED_RECORDS}{step.name}", F.count(MALFORMED).alias("rows"))


def malformed_before_head(pipeline: PipelineConfig, progress: StreamProgress) -> list[StepMetrics]:
    """What the extracts made null in a micro-batch whose frames the stream does not end with: no sink knows of them.

    Args:
        pipeline: A streaming pipeline, its environment variables replaced.
        progress: What Spark says of the micro-batch.
    """
    head = pipeline.shape.head
    found: list[StepMetrics] = []
    for step in pipeline.steps:
        if step.name in progress.malformed and step.index != head:
            dataset = step.config.dataset() if isinstance(step.config, Extract) else None
            found.append(
                StepMetrics(
                    index=step.index,
                    name=step.name,
                    type=step.type,
                    method=step.config.method,
                    status="COMPLETED",
                    uri=dataset.uri if dataset is not None else None,
                    malformed=progress.malformed[step.name],
                )
            )
    return found


def refused(error: AnalysisException, step: Step) -> PipelineConfigurationException:
    """What Spark does not do in a stream, as a mistake in the file: it would be refused again.

    Args:
        error: Spark's.
        step: The first load, whose output mode counts.
    """
    told = explained(error, step)
    return PipelineConfigurationException(
        f"Spark can't run these steps as a stream: {told.message}",
        location=step.location,
        hint=(
            "change the steps before the first validation or load, or 'outputMode'; move what only a batch can "
            "do into a batch pipeline that reads what this one loads"
        ),
    )


def _require_supported(pipeline: PipelineConfig, frame: DataFrame) -> None:
    """Ask Spark what it would ask itself when the query starts, if it is at hand."""
    from pyspark.errors import AnalysisException

    step = pipeline.main_load
    config = step.config
    assert isinstance(config, Load)
    if is_remote(frame.sparkSession) or config.is_continuous():
        return
    # What belongs to the JVM has no types.
    jvm: Any = frame.sparkSession._jvm  # pyright: ignore[reportPrivateUsage]
    in_java: Any = frame._jdf  # pyright: ignore[reportPrivateUsage]
    plan = in_java.queryExecution().analyzed()
    mode = getattr(jvm.org.apache.spark.sql.streaming.OutputMode, config.output_mode.capitalize())()
    try:
        jvm.org.apache.spark.sql.catalyst.analysis.UnsupportedOperationChecker.checkForStreaming(plan, mode)
    except AnalysisException as error:
        raise refused(error, step) from error


def stream_frame(pipeline: PipelineConfig, spark: SparkSession, credentials: RunCredentials, index: int) -> DataFrame:
    """The frame of a step that is a part of the stream, as a stream.

    Args:
        pipeline: A streaming pipeline, its environment variables replaced.
        spark: The session.
        credentials: Where each step gets those of its system.
        index: Of the step: the head, or one above it.

    Raises:
        PipelineException: A step can't be planned; it names the step.
    """
    needed = pipeline.shape.streamed & pipeline.upstream_of({index})
    frames: dict[int, DataFrame] = {}
    for step in pipeline.steps:
        if step.index not in needed:
            continue
        with error_context(step):
            config = step.config
            match config:
                case Extract() if step.traits.is_stream:
                    frame = config.read_stream(spark, credentials_for(credentials, config, step))
                    if step.index != pipeline.shape.head:
                        frame = config.accepted(malformed_counted(frame, config, step))
                case Extract():
                    frame = config.accepted(config.read(spark, credentials_for(credentials, config, step)))
                case Transform():
                    frame = config.apply(inputs_of(step, frames, spark))
                case _:
                    raise TypeError(f"{config.method} produces no frame")
            frames[step.index] = frame
    return frames[index]
