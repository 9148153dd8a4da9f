"""Puts the rows of a test in place of what extracts read."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline_platform.config.documents.document import SourcePosition
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.frames.columns import nullable_columns
from pipeline_platform.frames.session import frame_of
from pipeline_platform.testing.file_format import GivenRows
from pipeline_platform.testing.given_frame import GivenFrame, GivenStream
from pipeline_platform.testing.inferred_types import inferred_schema
from pipeline_platform.testing.reading import PipelineTest
from pipeline_platform.testing.rows import parsed_schema, typed_rows

if TYPE_CHECKING:
    from pyspark.sql import SparkSession
    from pyspark.sql.types import StructType


def with_given_rows(test: PipelineTest, spark: SparkSession, folder: Path) -> PipelineConfig:
    """The pipeline of a test with its rows in place of what the extracts read, and validations that only warn.

    Args:
        test: The test.
        spark: The session.
        folder: Where the rows of streams are put, each micro-batch as a file.

    Raises:
        PipelineConfigurationException: Rows don't fit their schema.
    """
    steps: list[Step] = []
    for step in test.pipeline.steps:
        if step.name in test.case.warn_only:
            steps.append(replace(step, config=step.config.model_copy(update={"on_failure": "warn"})))
            continue
        given = test.case.given.get(step.name)
        if given is None:
            steps.append(step)
            continue
        place = test.place / "given" / step.name
        rows = _rows(given, place)
        schema = nullable_columns(given_schema(step, given, place))
        if test.is_streamed(step):
            batches = [rows] if given.batches is None else [rows / number for number in range(len(given.batches))]
            own = folder / step.name
            own.mkdir()
            for number, batch in enumerate(batches):
                _write(typed_rows(spark, batch, schema), own, number)
            steps.append(replace(step, config=GivenStream.of(own, schema)))
        else:
            frame = frame_of(spark, typed_rows(spark, rows, schema), schema)
            steps.append(replace(step, config=GivenFrame.of(frame)))
    return test.pipeline.model_copy(update={"steps": tuple(steps)})


def _rows(given: GivenRows, place: SourcePosition) -> SourcePosition:
    return place if isinstance(place.value, list) else place / ("rows" if given.batches is None else "batches")


def given_schema(step: Step, given: GivenRows, place: SourcePosition) -> StructType:
    """The columns of the rows that a test gives.

    Args:
        step: The extract that they are given for.
        given: What is given.
        place: Where it is written.

    Raises:
        PipelineConfigurationException: It is no schema, or nobody knows which columns there are.
    """
    rows = _rows(given, place)
    declared = getattr(step.config, "schema_", None)
    if given.schema_ is not None:
        return parsed_schema(given.schema_, place / "schema")
    if isinstance(declared, str):
        return parsed_schema(declared, rows)
    return inferred_schema(rows, in_batches=given.batches is not None)


def _write(table: Any, folder: Path, number: int) -> None:
    """Write the rows of a micro-batch; Spark takes the files in the order of their times."""
    from pyarrow import parquet

    writer: Any = parquet
    file = folder / f"{number:05}.parquet"
    writer.write_table(table, file)
    os.utime(file, (number + 1, number + 1))
