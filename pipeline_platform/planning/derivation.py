"""What the rows of a frame and the values of its columns are derived from, as fingerprints that can be compared.

Two versions have the same fingerprint of a column where its values are computed in the same way from the same columns,
whatever the steps and columns on the way are called.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.planning.frames import FrameColumns
from pipeline_platform.planning.normal_form import column_fields, fingerprint, step_form
from pipeline_platform.planning.normal_sql import normal_sql
from pipeline_platform.steps.dataset import Dataset
from pipeline_platform.steps.extract import Extract
from pipeline_platform.steps.load import Load
from pipeline_platform.steps.transform import Transform


@dataclass(frozen=True)
class Derived:
    """What a frame, or a table, is derived from.

    Args:
        rows: Which rows there are.
        columns: The values of each column, by its name in lower case.
    """

    rows: str
    columns: Mapping[str, str]


# How it is told what is new, and where bad rows are kept, are told apart.
_ASIDE = frozenset({"incremental", "quarantine_path"})

# What of a load decides on no row of what it writes.
_LAYOUT = frozenset({"partition_by", "cluster_by", "compression", "trigger", "batch_size", "timeout_seconds"})


def derived_frames(
    pipeline: PipelineConfig,
    frames: Mapping[int, FrameColumns],
    tables: Mapping[Dataset, Derived | None],
    formers: Mapping[int, Step],
) -> dict[int, Derived]:
    """What each frame is derived from, by step index; of a load what it writes.

    Args:
        pipeline: The pipeline.
        frames: Its columns, as planned.
        tables: What the tables that other pipelines load are derived from; None for one that is taken as it is.
        formers: By step index the step that an extract was before: that it reads from elsewhere is told of the rows.
    """
    found: dict[int, Derived] = {}
    for step in pipeline.in_turn:
        above = [found[edge.step] for edge in step.inputs]
        match step.config:
            case Extract():
                found[step.index] = _extract(
                    step, step.config, frames[step.index], tables, formers.get(step.index, step)
                )
            case Transform():
                found[step.index] = _transform(step, step.config, frames[step.index], found)
            case Load():
                found[step.index] = replace(above[0], rows=fingerprint(above[0].rows, _form(step, {}, _LAYOUT)))
            case _ if step.config.fills_quarantine():
                source = step.inputs[0].step
                columns = _known_columns(step, found)
                rows = fingerprint(*(one.rows for one in above), _form(step, columns))
                found[source] = replace(found[source], rows=rows)
            case _:
                pass
    return found


def decides_on_rows(before: Step | None, now: Step | None) -> bool:
    """Whether a step that is another may be why the rows below it are others.

    Args:
        before: The step before; None if there was none.
        now: The step now; None if there is none.
    """
    return _form_of_rows(before) != _form_of_rows(now)


def _form_of_rows(step: Step | None) -> Any:
    alone = step.config.as_written.rows_alone() if step is not None else None
    if step is None or alone is None:
        return None
    return _form(replace(step, config=alone), {}, frozenset(column_fields(alone)))


def _form(step: Step, columns: Mapping[str, str], without: frozenset[str] = frozenset()) -> Any:
    return step_form(step, columns, without | _ASIDE)


def _extract(
    step: Step,
    config: Extract,
    frame: FrameColumns,
    tables: Mapping[Dataset, Derived | None],
    former: Step,
) -> Derived:
    dataset = config.dataset()
    table = tables.get(dataset) if dataset is not None else None
    rows = fingerprint(_form_of_source(step), table.rows if table is not None else None)
    known: Mapping[str, str] = table.columns if table is not None else {}
    # Another type of such a column is told of the table.
    is_inside = dataset is not None and dataset in tables
    source = _form_of_source(former)
    columns: dict[str, str] = {}
    for place, field in enumerate(frame.schema):
        name, kind = field.name.lower(), None if is_inside else field.dataType.simpleString()
        read = place if config.reads_by_place() else name
        columns[name] = known.get(name) or fingerprint("source", source, read, kind)
    return Derived(rows, columns)


def _form_of_source(step: Step) -> Any:
    return _form(step, {}, frozenset(column_fields(step.config)))


def _known_columns(step: Step, found: Mapping[int, Derived]) -> dict[str, str]:
    """What stands for each name of a column of the inputs."""
    named: dict[str, list[str]] = {}
    for edge in step.inputs:
        for name, value in found[edge.step].columns.items():
            named.setdefault(name, []).append(value)
    return {name: f"_{fingerprint(*values)}" for name, values in named.items()}


def _transform(step: Step, config: Transform, frame: FrameColumns, found: Mapping[int, Derived]) -> Derived:
    known = _known_columns(step, found)
    written, hands_on = config.as_written, config.hands_on()
    rows_above = [found[edge.step].rows for edge in step.inputs]
    traits = step.traits
    alone = written.rows_alone()
    rest = _form(replace(step, config=alone or written), known, frozenset(column_fields(written)))
    rows = rows_above[0] if alone is None else fingerprint(rest, rows_above)
    names = {edge.name.lower(): f"input {place}" for place, edge in enumerate(step.inputs) if edge.name is not None}
    computed: dict[str, str] = {}
    # An expression may name the columns before it: by its own name only what no frame has, unless columns are added.
    made = {name.lower() for name in frame.expressions}
    for field in frame.schema if hands_on else ():
        sources = _sources(frame, field.name, found)
        if len(sources) == 1 and field.name.lower() not in made:
            known.setdefault(field.name.lower(), f"_{sources[0]}")
    for name, expression in frame.expressions.items():
        value = fingerprint("computed", normal_sql(expression, names, known), _sources(frame, name, found))
        computed[name.lower()] = value
        if traits.keeps_rows or name.lower() not in known:
            known[name.lower()] = f"_{value}"
    columns: dict[str, str] = {}
    for field in frame.schema:
        name, sources = field.name.lower(), _sources(frame, field.name, found)
        if name in computed:
            columns[name] = computed[name]
        elif len(sources) == 1 and hands_on:
            columns[name] = sources[0]
        elif sources:
            columns[name] = fingerprint("of", rest, sources)
        else:
            every = [sorted(found[edge.step].columns.values()) for edge in step.inputs]
            columns[name] = fingerprint("made", name, _form(step, known), every, rows_above)
    return Derived(rows, columns)


def _sources(frame: FrameColumns, name: str, found: Mapping[int, Derived]) -> list[str]:
    lineage = next((sources for column, sources in frame.lineage.items() if column.lower() == name.lower()), ())
    return sorted({found[index].columns[column.lower()] for index, column in lineage})
