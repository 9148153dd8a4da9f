"""The first rows of a step, for people: on a terminal and in a notebook."""

from __future__ import annotations

import html
import io
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing, contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from pipeline_platform.config.config_error import refused
from pipeline_platform.config.loader import load_pipeline
from pipeline_platform.config.partitions import Partition
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.config.variables import VariableValue
from pipeline_platform.credentials.run_credentials import RunCredentials
from pipeline_platform.engine.failures import error_context
from pipeline_platform.engine.preview import StepPreview, preview_steps, previewed
from pipeline_platform.engine.spark.session import planning_session
from pipeline_platform.exceptions import PipelineConfigurationException, PipelineException
from pipeline_platform.frames.columns import quoted
from pipeline_platform.frames.session import arrow_table
from pipeline_platform.redacted_values import redacted_value
from pipeline_platform.redaction import MASK, redact
from pipeline_platform.registry import method_registry

if TYPE_CHECKING:
    from pyspark.sql import Column
    from pyspark.sql.types import StructType

    from pipeline_platform.testing.reading import PipelineTest

DEFAULT_LIMIT = 20
"""How many rows are shown."""


@dataclass(frozen=True)
class StepRows:
    """The first rows of a step.

    Args:
        step: Name of the step.
        columns: Names of its columns, in order.
        types: Their types, as in SQL.
        rows: The rows, of which the hidden values are `***`.
        has_more: Whether the step has more rows than these.
    """

    step: str
    columns: Sequence[str]
    types: Sequence[str]
    rows: Sequence[Sequence[Any]]
    has_more: bool

    def as_dicts(self) -> list[dict[str, Any]]:
        """Each row with the names of its columns."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def __rich__(self) -> Table:
        table = Table(caption="there are more rows" if self.has_more else None)
        for name, kind in zip(self.columns, self.types, strict=True):
            table.add_column(Text.assemble(name, "\n", (kind, "dim")), overflow="fold")
        for row in self.rows:
            table.add_row(*(Text(_shown(value), style="dim" if value is None else "") for value in row))
        return table

    def _repr_html_(self) -> str:
        """The table in a notebook."""
        head = "".join(
            f"<th>{html.escape(name)}<br><small>{html.escape(kind)}</small></th>"
            for name, kind in zip(self.columns, self.types, strict=True)
        )
        body = "".join(
            f"<tr>{''.join(f'<td>{html.escape(_shown(value))}</td>' for value in row)}</tr>" for row in self.rows
        )
        more = "<caption>there are more rows</caption>" if self.has_more else ""
        return f"<table>{more}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _shown(value: Any) -> str:
    return "NULL" if value is None else redact(str(value))


def preview(
    file: str | Path,
    step: str,
    limit: int = DEFAULT_LIMIT,
    *,
    partition: str | None = None,
    variables: Mapping[str, VariableValue] | None = None,
) -> StepRows:
    """The first rows of a step of a pipeline, read from its real sources; nothing is written.

    Args:
        file: The pipeline's file.
        step: Name of the step: of an extract or a transform what it makes, of a validation or a load what it is given.
        limit: How many rows at most.
        partition: Key of the partition; of a pipeline with partitions, which can't do without.
        variables: Values of the pipeline's variables; those of `forEach` choose one of the pipelines of its file.

    Raises:
        PipelineException: The file has errors, there is no such step or partition, or a step can't be read.
    """
    pipeline = load_pipeline(Path(file), method_registry(), values=variables or {})
    return step_rows(pipeline, step, limit, chosen_partition(pipeline, partition))


def chosen_partition(pipeline: PipelineConfig, key: str | None) -> Partition | None:
    """The partition with a key; None for a pipeline without partitions.

    Args:
        pipeline: The pipeline.
        key: The key.

    Raises:
        PipelineConfigurationException: It has no such partition, or no key is given and it has partitions, or one is
            given and it has none.
    """
    if (key is None) != (pipeline.partitions is None):
        wrong = "has no partitions" if key is not None else "has partitions: say which one is looked at"
        hint = None if key is not None else "--partition KEY names it on the command line"
        raise PipelineConfigurationException(f"the pipeline {wrong}", location=pipeline.location, hint=hint)
    if key is None:
        return None
    # Dagster says which there are, and only those who have partitions wait for its import.
    from pipeline_platform.resources.partitions import chosen_partitions

    return chosen_partitions(pipeline, key, key)[0]


def step_rows(pipeline: PipelineConfig, step: str, limit: int, partition: Partition | None) -> StepRows:
    """As `preview`, of a pipeline that is loaded.

    Args:
        pipeline: The pipeline.
        step: Name of the step.
        limit: How many rows at most.
        partition: What is loaded; of a pipeline with partitions.

    Raises:
        PipelineException: As `preview`.
    """
    with step_previewed(pipeline, step, partition) as looked_at:
        frame = looked_at.frame
        with error_context(looked_at.step, pipeline):
            table = arrow_table(frame.select(*_columns(looked_at)).limit(limit + 1))
        return _shown_rows(step, frame.schema, redacted_value(table.to_pylist()), limit)


def rows_in_test(test: PipelineTest, step: str, limit: int, partition: Partition | None) -> StepRows:
    """The rows of a step that come of those that a test gives, without any system; none is hidden.

    Args:
        test: The test.
        step: Name of the step.
        limit: How many rows at most.
        partition: What the test loads; of a pipeline with partitions.

    Raises:
        PipelineException: There is no such step, the test gives no rows for what it needs, or it can't be carried out.
    """
    from pipeline_platform.testing.carrying_out import looker_of
    from pipeline_platform.testing.reading import not_given
    from pipeline_platform.testing.seen import Look

    looked_at = _step(test.pipeline, step)
    # A validation looks at what its input makes.
    made_by = test.pipeline.steps[looked_at.inputs[0].step] if looked_at.type == "validate" else looked_at
    if problems := list(not_given(test, [made_by])):
        raise refused(problems)
    with looker_of(test, partition) as looker:
        (seen,) = looker.look([Look(looker.pipeline.steps[made_by.index], collects=True)])
    if isinstance(seen, PipelineException):
        raise seen
    assert seen.schema is not None
    return _shown_rows(step, seen.schema, [row for batch in seen.batches for row in batch], limit)


def _shown_rows(step: str, columns: StructType, rows: Sequence[Mapping[str, Any]], limit: int) -> StepRows:
    names = [field.name for field in columns.fields]
    kinds = [field.dataType.simpleString() for field in columns.fields]
    shown = [tuple(row[name] for name in names) for row in rows[:limit]]
    return StepRows(step, names, kinds, shown, len(rows) > limit)


def plan_text(pipeline: PipelineConfig, step: str, partition: Partition | None) -> str:
    """Spark's plan of a step, as its `explain` formats it, without secrets.

    Args:
        pipeline: The pipeline.
        step: Name of the step.
        partition: What is loaded; of a pipeline with partitions.

    Raises:
        PipelineException: As `preview`.
    """
    with step_previewed(pipeline, step, partition) as looked_at, redirect_stdout(io.StringIO()) as told:
        with error_context(looked_at.step, pipeline):
            looked_at.frame.explain("formatted")
        return redact(told.getvalue())


@contextmanager
def step_previewed(pipeline: PipelineConfig, name: str, partition: Partition | None) -> Generator[StepPreview]:
    """The rows of a step, in a session of their own, for as long as the block lasts.

    Args:
        pipeline: The pipeline.
        name: Name of the step.
        partition: What is loaded; of a pipeline with partitions.

    Raises:
        PipelineException: As `preview`.
    """
    step = _step(pipeline, name)
    pipeline.require_ready(preview_steps(pipeline, step), partition)
    with (
        planning_session(pipeline) as spark,
        closing(RunCredentials.from_environment("preview", pipeline.location)) as credentials,
        previewed(pipeline, [step], spark, credentials, partition) as previews,
        previews.values_hidden(),
    ):
        yield previews.of(step, judges=False)


def _step(pipeline: PipelineConfig, name: str) -> Step:
    names = [step.name for step in pipeline.steps]
    if name not in names:
        raise PipelineConfigurationException(
            f"there is no step called {name}; the steps are {', '.join(names)}", location=pipeline.location
        )
    return pipeline.step(name)


def _columns(looked_at: StepPreview) -> list[Column]:
    from pyspark.sql import functions as F

    return [
        F.when(F.col(quoted(name)).isNotNull(), F.lit(MASK)).alias(name)
        if name in looked_at.hidden
        else F.col(quoted(name))
        for name in looked_at.frame.columns
    ]
