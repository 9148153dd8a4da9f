"""The first rows of extracts, read from their real systems, with stand-ins for what is sensitive in them."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import closing, redirect_stdout
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pipeline_platform.config.partitions import Partition
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.credentials.run_credentials import RunCredentials
from pipeline_platform.engine.failures import error_context
from pipeline_platform.engine.preview import Previews, preview_steps, previewed
from pipeline_platform.engine.spark.session import planning_session
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.frames.causes import failure_of
from pipeline_platform.frames.failure_text import failure_message
from pipeline_platform.frames.session import arrow_table
from pipeline_platform.redacted_values import holds_secret_name
from pipeline_platform.testing.rows import arrow_schema_of
from pipeline_platform.testing.stand_ins import StandIns, holds_secret, is_telling, single_values
from pipeline_platform.testing.values import unreadable_types

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.types import DataType, StructType

_CLOCK = re.compile(r"\b(current_timestamp|current_date|localtimestamp|now|curdate)\(", re.IGNORECASE)


@dataclass(frozen=True)
class ExtractedRows:
    """Rows of an extract.

    Args:
        step: The extract.
        columns: Its columns.
        rows: The rows, as pyarrow hands them to Python.
        hidden: Names of the columns in which stand-ins are.
    """

    step: Step
    columns: StructType
    rows: Sequence[Mapping[str, Any]]
    hidden: frozenset[str]


@dataclass(frozen=True)
class RealRows:
    """What a pipeline has read.

    Args:
        extracts: The rows of each extract.
        uses_clock: Whether a step asks for the current time.
    """

    extracts: Sequence[ExtractedRows]
    uses_clock: bool


def extracts_for(pipeline: PipelineConfig, steps: Sequence[Step]) -> list[Step]:
    """The extracts that steps need.

    Args:
        pipeline: The pipeline.
        steps: The steps.
    """
    needed = {index for step in steps for index in preview_steps(pipeline, step)}
    return [step for step in pipeline.steps if step.index in needed and step.type == "extract"]


def real_rows(
    pipeline: PipelineConfig, steps: Sequence[Step], limit: int, where: Mapping[str, str], partition: Partition | None
) -> RealRows:
    """Read the first rows of the extracts that steps need.

    No value of a column that is marked as sensitive, that looks like a secret or that such a column is made of is in
    them: stand-ins are, the same one for the same value, in whatever column it is.

    Args:
        pipeline: The pipeline.
        steps: The steps.
        limit: How many rows of each extract at most.
        where: SQL conditions by the name of an extract.
        partition: What is loaded; of a pipeline with partitions.

    Raises:
        PipelineException: A step can't be planned or read, or a column has values that no test can hold.
    """
    extracts = extracts_for(pipeline, steps)
    pipeline.require_ready({index for step in steps for index in preview_steps(pipeline, step)}, partition)
    with (
        planning_session(pipeline) as spark,
        closing(RunCredentials.from_environment("preview", pipeline.location)) as credentials,
        previewed(pipeline, [*steps, *extracts], spark, credentials, partition) as previews,
        previews.values_hidden(),
    ):
        hidden = previews.sensitive_sources()
        read = [_read(pipeline, previews, step, limit, where.get(step.name), hidden[step.index]) for step in extracts]
        uses_clock = any(_uses_clock(previews.of(step, judges=False).frame) for step in steps)
    return RealRows(_without_sensitive(read), uses_clock)


def _read(
    pipeline: PipelineConfig, previews: Previews, step: Step, limit: int, where: str | None, hidden: frozenset[str]
) -> ExtractedRows:
    frame = previews.of(step, judges=False).frame
    for name, kind in _unwritable(frame.schema):
        raise PipelineConfigurationException(
            f"the column '{name}' is {kind.simpleString().upper()}, whose values can't be written in a test",
            location=step.location,
            hint="write the test by hand, with the columns that matter",
        )
    if where is not None:
        frame = _filtered(frame, step, where)
    with error_context(step, pipeline):
        table = arrow_table(frame.limit(limit))
    try:
        rows = table.cast(arrow_schema_of(frame.schema)).to_pylist()
    except (ValueError, OverflowError) as error:
        raise PipelineConfigurationException(
            f"a value of '{step.name}' can't be written in a test: {error}",
            location=step.location,
            hint=f'choose rows without it: --where "{step.name}=…"',
        ) from error
    return ExtractedRows(step, frame.schema, rows, hidden)


def _filtered(frame: DataFrame, step: Step, where: str) -> DataFrame:
    """The rows for which a condition of the command line holds.

    Raises:
        PipelineConfigurationException: It is none.
    """
    from pyspark.errors import PySparkException

    try:
        filtered = frame.filter(where)
        # Over Spark Connect a frame is analyzed only when something is asked of it.
        _ = filtered.columns
    except PySparkException as error:
        raise PipelineConfigurationException(
            f"the condition of --where for '{step.name}', {where}: {failure_message(failure_of(error))}",
            location=step.location,
            hint=f"write a condition as in SQL; the columns are {', '.join(frame.columns)}",
        ) from error
    return filtered


def _unwritable(columns: StructType) -> Iterator[tuple[str, DataType]]:
    yield from unreadable_types(columns)
    yield from ((one.name, one.dataType) for one in columns.fields if "variant" in one.dataType.simpleString())


def writable_columns(columns: StructType) -> list[str]:
    """Names of the columns whose values can be written in a test.

    Args:
        columns: The columns.
    """
    others = {name for name, _ in _unwritable(columns)}
    return [one.name for one in columns.fields if one.name not in others]


def _uses_clock(frame: DataFrame) -> bool:
    with redirect_stdout(io.StringIO()) as told:
        frame.explain("extended")
    return _CLOCK.search(told.getvalue()) is not None


def _without_sensitive(extracts: Sequence[ExtractedRows]) -> list[ExtractedRows]:
    """The same with stand-ins.

    Raises:
        PipelineConfigurationException: There are not enough values for them.
    """
    values = {
        (one.step.index, column.name): set(single_values([row[column.name] for row in one.rows], column.dataType))
        for one in extracts
        for column in one.columns.fields
    }
    marked = {(one.step.index, name) for one in extracts for name in one.hidden | _with_secret_names(one)}
    hidden = _hidden(marked, values)
    found = [
        replace(one, hidden=frozenset(name for index, name in hidden if index == one.step.index)) for one in extracts
    ]
    real = {key for column in hidden for key in values[column]}
    stand_ins = StandIns(frozenset(real))
    try:
        found = [_changed(one, stand_ins, is_hidden=True) for one in found]
    except OverflowError as error:
        raise PipelineConfigurationException(
            f"a sensitive column has too many different values: {error}", hint="record fewer rows: --limit"
        ) from error
    return [_changed(one, stand_ins, is_hidden=False) for one in found]


def _with_secret_names(extract: ExtractedRows) -> set[str]:
    """The columns in whose rows there is a map with a key that looks like the name of a secret."""
    return {name for row in extract.rows for name, value in row.items() if holds_secret_name(value)}


def _hidden(marked: Set[tuple[int, str]], values: Mapping[tuple[int, str], Set[Any]]) -> Set[tuple[int, str]]:
    """The columns that are hidden: also those of the same name, and those that share a value with one or hold a secret.

    Args:
        marked: Those that are known to be sensitive, by step index and name.
        values: What is in each column.
    """
    names = {name.lower() for _, name in marked}
    hidden = {column for column, keys in values.items() if column[1].lower() in names or holds_secret(keys)}
    while True:
        real = {key for column in hidden for key in values[column] if is_telling(key)}
        more = {column for column, keys in values.items() if not real.isdisjoint(keys)}
        if more <= hidden:
            return hidden
        hidden |= more


def _changed(extract: ExtractedRows, stand_ins: StandIns, *, is_hidden: bool) -> ExtractedRows:
    change = stand_ins.hide if is_hidden else stand_ins.elsewhere
    kinds = {one.name: one.dataType for one in extract.columns.fields if (one.name in extract.hidden) == is_hidden}
    rows = [
        {name: change(value, kinds[name]) if name in kinds else value for name, value in row.items()}
        for row in extract.rows
    ]
    return replace(extract, rows=rows)
