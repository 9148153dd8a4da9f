"""Holds the files of a micro-batch against the columns that their stream began with, before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.config.stream_shape import StreamShape
from pipeline_platform.connectors.files.heads import plain_path
from pipeline_platform.connectors.files.stream_columns import COLUMNS_OPTION, StreamColumns
from pipeline_platform.connectors.storage.location import EntersS3
from pipeline_platform.credentials.run_credentials import RunCredentials
from pipeline_platform.engine.failures import explaining
from pipeline_platform.engine.step_credentials import credentials_for
from pipeline_platform.steps.extract import Extract

if TYPE_CHECKING:
    from pyspark.sql.streaming.query import StreamingQuery


def steps_that_compare_files(pipeline: PipelineConfig, shape: StreamShape) -> list[Step]:
    """The steps of a stream that hold the files of each micro-batch against those that are there when it starts.

    Args:
        pipeline: A streaming pipeline.
        shape: What of it is the stream.
    """
    return [
        step
        for step in pipeline.steps
        if step.index in shape.streamed and isinstance(step.config, Extract) and step.config.compares_new_files()
    ]


def require_columns_of_stream(query: StreamingQuery, steps: list[Step], credentials: RunCredentials) -> None:
    """Raise unless the files of the micro-batch that runs have the columns of their stream.

    Args:
        query: The query, which has planned the micro-batch.
        steps: Those that compare files.
        credentials: Where each step gets those of its system.

    Raises:
        PipelineException: A file has other columns; it names the step.
    """
    for columns, paths in _files_of_micro_batch(query):
        for step in steps:
            config = step.config.resolved()
            assert isinstance(config, EntersS3)
            if config.uri() == columns.uri:
                with explaining(step):
                    columns.require(paths, config.place(credentials_for(credentials, config, step)))
                break


def _files_of_micro_batch(query: StreamingQuery) -> Iterator[tuple[StreamColumns, list[str]]]:
    # What belongs to the JVM has no types. The frame of a micro-batch does not know its files.
    in_jvm: Any = query
    leaves = in_jvm._jsq.streamingQuery().lastExecution().logical().collectLeaves()
    for leaf in (leaves.apply(index) for index in range(leaves.size())):
        if leaf.getClass().getSimpleName() != "LogicalRelation":
            continue
        relation = leaf.relation()
        option = relation.options().get(COLUMNS_OPTION)
        if option.isDefined():
            yield StreamColumns.from_option(option.get()), [plain_path(uri) for uri in relation.location().inputFiles()]
