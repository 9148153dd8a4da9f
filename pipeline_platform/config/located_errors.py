"""What pydantic finds wrong with a config, at its places in the file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel

from pipeline_platform.config.config_error import ConfigError, did_you_mean, nearest
from pipeline_platform.config.documents.document import SourcePosition, json_type
from pipeline_platform.config.format_errors import FormatError
from pipeline_platform.config.step import StepConfig
from pipeline_platform.config.variables import names_in


def located_errors(
    found: Iterable[FormatError],
    model: type[BaseModel],
    places: Mapping[str, SourcePosition],
    whole: SourcePosition,
    also_valid: Sequence[str] = (),
) -> Iterator[ConfigError]:
    """Each mistake at its place; the alternatives that were tried for one value are one mistake.

    Args:
        found: The mistakes.
        model: What read the config.
        places: Where each key of the config was written.
        whole: Where the config was written.
        also_valid: Keys that the config may have and the model does not know.
    """
    alternatives: dict[SourcePosition, list[FormatError]] = {}
    for mistake in found:
        place = whole
        if mistake.keys and str(mistake.keys[0]) in places:
            place = places[str(mistake.keys[0])]
            for part in mistake.keys[1:]:
                place /= part
        if mistake.kind == "unknown":
            valid = [*_keys_at(model, mistake.keys[:-1]), *(also_valid if len(mistake.keys) == 1 else ())]
            yield place.problem(mistake.message, on_key=True, hint=did_you_mean(str(mistake.keys[-1]), valid))
        elif mistake.kind in ("missing", "key"):
            yield place.problem(mistake.message, on_key=mistake.kind == "key")
        else:
            # What follows an existing value in pydantic's path names the alternatives that were tried.
            existing = SourcePosition(place.document, place.document.existing(place.pointer))
            alternatives.setdefault(existing, []).append(mistake)
    for place, tried in alternatives.items():
        yield _wrong_value(place, tried)


def _wrong_value(place: SourcePosition, tried: Sequence[FormatError]) -> ConfigError:
    value, found = place.value, json_type(place.value)
    messages = list(dict.fromkeys(mistake.message for mistake in tried))
    if len(messages) == 1 and tried[0].allowed and isinstance(value, str):
        return place.problem(f"{messages[0]}, not '{value}'", hint=nearest(value, tried[0].allowed))
    if not all(message.startswith("expected ") for message in messages):
        # In a text with variables it is that of another text.
        is_written = not (isinstance(value, str) and names_in(value))
        offset = tried[0].offset if len(tried) == 1 and is_written else None
        return place.problem("; ".join(messages), offset=offset)
    message = f"expected {' or '.join(message.removeprefix('expected ') for message in messages)}"
    if isinstance(value, str) and names_in(value):
        return place.problem(message, hint="a variable in this key needs a default of its type")
    wrong_type = all(mistake.kind == "type" for mistake in tried) and found not in message
    return place.problem(f"{message}, not {found}" if wrong_type else message)


def _keys_at(model: type[BaseModel], path: Sequence[str | int]) -> list[str]:
    """The keys that an object somewhere in a config may have."""
    models = [model]
    for part in path:
        inner = [
            field.annotation
            for outer in models
            for name, field in outer.model_fields.items()
            if (field.alias or name) == part
        ]
        # A part that is no key is an index, or a name in a map.
        models = [found for annotation in inner for found in _models_in(annotation)] or models
    keys = [field.alias or name for found in models for name, field in found.model_fields.items()]
    return [*keys, *(key for found in models if issubclass(found, StepConfig) for key in found.other_keys)]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for argument in get_args(annotation) for found in _models_in(argument)]
