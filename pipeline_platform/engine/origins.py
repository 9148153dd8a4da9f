"""Finds the step whose expression failed: Spark runs many steps at once, and says of which piece of SQL an error is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlglot import exp, parse_one
from sqlglot.errors import SqlglotError

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step


def step_with(fragments: Sequence[str], steps: Sequence[Step]) -> Step | None:
    """The step that has one of these pieces of SQL in its config; None where that is none, or more than one.

    Args:
        fragments: The pieces, as they are written.
        steps: The steps it may be.
    """
    found = [
        step
        for step in steps
        if any(fragment in text for _, text in _texts(step.config.as_config(), "") for fragment in fragments)
    ]
    return found[0] if len(found) == 1 else None


def casts_to(target: str, steps: Sequence[Step]) -> list[str]:
    """The casts to a type in the expressions of these steps, each with its step: of some, Spark says the types alone.

    Args:
        target: The type as Spark names it, such as `INT`.
        steps: The steps.
    """
    found: dict[str, None] = {}
    for step in steps:
        for key, text in _texts(step.config.as_config(), ""):
            for cast in _casts(text):
                if cast.to.sql(dialect="spark").upper() == target.strip('"').upper():
                    found[f"{cast.sql(dialect='spark')} of '{key}' in step {step.number} ({step.config.method})"] = None
    return list(found)


def steps_above(pipeline: PipelineConfig, step: Step) -> list[Step]:
    """A step, all that it works on, and what validates that: a load may carry out a validation."""
    indices = pipeline.upstream_of({step.index})
    return [
        other
        for other in pipeline.up_to(step)
        if other.index in indices or (other.type == "validate" and other.inputs[0].step in indices)
    ]


def _texts(value: Any, key: str) -> Iterator[tuple[str, str]]:
    match value:
        case str():
            yield key, value
        case Mapping():
            for name, inner in value.items():  # pyright: ignore[reportUnknownVariableType]
                yield from _texts(inner, str(name))  # pyright: ignore[reportUnknownArgumentType]
        case list() | tuple():
            for inner in value:  # pyright: ignore[reportUnknownVariableType]
                yield from _texts(inner, key)
        case _:
            return


def _casts(text: str) -> Iterator[exp.Cast]:
    try:
        parsed = parse_one(text, dialect="spark")
    except (SqlglotError, RecursionError):
        return
    yield from (cast for cast in parsed.find_all(exp.Cast) if not isinstance(cast, exp.TryCast))
