"""What a step says, in one spelling: so that two ways to write the same are no change."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Set
from typing import Annotated, Any, cast, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from pipeline_platform.config.format_model import FormatModel
from pipeline_platform.config.step import Step, StepConfig
from pipeline_platform.config.values import SqlText
from pipeline_platform.planning.normal_sql import Names, normal_sql

_NONE: Names = {}


def fingerprint(*parts: object) -> str:
    """A short text that is the same for the same parts alone."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def neutral_fields(config: StepConfig) -> Set[str]:
    """The fields that say how a step works and not what comes of it.

    Args:
        config: Of the step.
    """
    return _declared(type(config), "neutral_keys")


def column_fields(config: StepConfig) -> Set[str]:
    """The fields of which each part is about one column alone.

    Args:
        config: Of a step.
    """
    return _declared(type(config), "column_keys")


def _declared(kind: type[StepConfig], attribute: str) -> frozenset[str]:
    found: list[frozenset[str]] = [vars(base).get(attribute, frozenset[str]()) for base in kind.__mro__]
    return frozenset[str]().union(*found)


def step_form(step: Step, columns: Names | None = None, without: Set[str] = frozenset()) -> Any:
    """A step in one spelling: method and keys, of which those without effect on what comes of it are left out.

    Args:
        step: The step.
        columns: What stands for the names of columns; None to say also which steps it works on.
        without: Fields that are left out, too.
    """
    config = step.config.as_written
    frames = {edge.name.lower(): f"input {place}" for place, edge in enumerate(step.inputs) if edge.name is not None}
    edges = [(edge.step, edge.name is None) for edge in step.inputs] if columns is None else len(step.inputs)
    return [config.method, edges, config_form(config, frames, columns or {}, without), config.read_beside()]


def config_form(
    config: StepConfig, frames: Names = _NONE, columns: Names = _NONE, without: Set[str] = frozenset()
) -> dict[str, Any]:
    """The keys of a step in one spelling, defaults included.

    Args:
        config: Of the step.
        frames: What stands for the names of registered frames.
        columns: What stands for the names of columns.
        without: Fields that are left out, beside the neutral ones.
    """
    left_out = neutral_fields(config) | without
    by_frame = {key for key, _ in config.referenced_frames()}
    found: dict[str, Any] = {}
    for name, field in type(config).model_fields.items():
        if name not in left_out:
            names = frames if (field.alias or name) in by_frame else columns
            found[field.alias or name] = _normal(getattr(config, name), _is_sql(field), names, frames, columns)
    return found


def _normal(value: Any, is_sql: bool, names: Names, frames: Names, columns: Names) -> Any:
    match value:
        case SecretStr():
            return fingerprint(value.get_secret_value())
        case FormatModel():
            return {
                field.alias or key: _normal(getattr(value, key), _is_sql(field), names, frames, columns)
                for key, field in type(value).model_fields.items()
            }
        case Mapping():
            items = cast("Mapping[Any, Any]", value).items()
            return {
                _normal(key, False, names, frames, columns): _normal(item, is_sql, names, frames, columns)
                for key, item in items
            }
        case list() | tuple() | set() | frozenset():
            listed = cast("list[Any]", list(value))  # pyright: ignore[reportUnknownArgumentType]
            return [_normal(item, is_sql, names, frames, columns) for item in listed]
        case str():
            return normal_sql(value, frames, columns) if is_sql else names.get(value.lower(), value)
        case bool() | int() | float() | None:
            return value
        case _:
            return str(value)


def _is_sql(field: FieldInfo) -> bool:
    return any(isinstance(one, SqlText) for one in field.metadata) or _holds_sql(field.annotation)


def _holds_sql(annotation: Any) -> bool:
    if get_origin(annotation) is Annotated and any(isinstance(one, SqlText) for one in annotation.__metadata__):
        return True
    return any(_holds_sql(inner) for inner in get_args(annotation))
