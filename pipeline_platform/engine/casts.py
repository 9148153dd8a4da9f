"""Finds the casts that a value may not have fitted into: Spark says the types, but neither column nor expression."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlglot import exp, parse_one
from sqlglot.errors import SqlglotError

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step


def casts_to(target: str, steps: Sequence[Step]) -> list[str]:
    """The casts to a type in the expressions of these steps, each with its step.

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
    """A step and all that it works on."""
    indices = pipeline.upstream_of({step.index}) | {step.index}
    return [pipeline.steps[index] for index in sorted(indices)]


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
