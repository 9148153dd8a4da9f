"""What there is to say of each method to people: what it does, and an example."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping
from typing import Any, cast

from pipeline_platform.config.method_registry import MethodRegistry
from pipeline_platform.config.step import STEP_TYPES, StepConfig, StepType

KINDS: Mapping[StepType, str] = {
    "extract": "Reads a dataset; its frame becomes the primary one.",
    "transform": "Derives a frame from one or more others; it becomes the primary one.",
    "validate": "Checks a frame against rules and leaves it unchanged.",
    "load": "Writes a frame to a sink and leaves it unchanged.",
}
"""What the steps of each type do."""

_WIDTH = 100


def methods_of(registry: MethodRegistry) -> Iterator[type[StepConfig]]:
    """Every method once, aliases left out, by step type."""
    for step_type in STEP_TYPES:
        yield from dict.fromkeys(registry[step_type].values())


def names_of(method: type[StepConfig], registry: MethodRegistry) -> list[str]:
    """The method's name, and its aliases."""
    return [name for name, model in registry[method.step_type].items() if model is method]


def description_of(method: type[StepConfig]) -> str:
    """All that its author says of a method, in Markdown; empty if that is nothing."""
    # Not that of a base class.
    return inspect.cleandoc(method.__doc__ or "")


def summary_of(method: type[StepConfig]) -> str:
    """The first paragraph of the description, in one line."""
    return " ".join(description_of(method).partition("\n\n")[0].split())


def example_of(method: type[StepConfig]) -> dict[str, Any] | None:
    """A step that shows the method in use; None for one whose package gives no example."""
    if method.example is None:
        return None
    return {"type": method.step_type, "method": method.method, "config": method.example}


def json_text(value: Any, indent: int = 0) -> str:
    """JSON as people write it: what fits into a line is in one line.

    Args:
        value: What to write.
        indent: How far the place where it goes is indented.
    """
    line = json.dumps(value, ensure_ascii=False)
    if indent + len(line) <= _WIDTH or not value:
        return line
    inner = indent + 2
    if isinstance(value, Mapping):
        items = [
            f"{json.dumps(key, ensure_ascii=False)}: {json_text(item, inner)}"
            for key, item in cast("Mapping[str, Any]", value).items()
        ]
        return _block("{", items, "}", indent)
    if isinstance(value, list):
        return _block("[", [json_text(item, inner) for item in cast("list[Any]", value)], "]", indent)
    return line


def _block(opening: str, items: list[str], closing: str, indent: int) -> str:
    lines = ",\n".join(f"{' ' * (indent + 2)}{item}" for item in items)
    return f"{opening}\n{lines}\n{' ' * indent}{closing}"
