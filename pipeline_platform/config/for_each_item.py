"""One of several pipelines of a file: what `forEach` gives it, and how it is told from the others."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline_platform.config.variables import VariableValue, text_of, with_values

KEYS = ("name", "description", "metadata", "schedule", "scheduleTimezone", "schedule_timezone")
"""Keys of a file, beside its steps and `sparkConf`, in which variables of `forEach` may stand."""


@dataclass(frozen=True)
class Item:
    """An item of `forEach`, as one pipeline has it.

    Args:
        name: Of the pipeline.
        given: What the item says, by variable.
        values: The same for all variables that any item names, defaults included; no run changes them.
        choice: Those of the values that no other item has together.
        names: Of all pipelines of the file.
        source: The file that lists the items, if it is one of its own.
    """

    name: str
    given: Mapping[str, VariableValue]
    values: Mapping[str, VariableValue]
    choice: Mapping[str, VariableValue]
    names: tuple[str, ...]
    source: Path | None = None

    def in_keys(self, value: Mapping[str, Any]) -> dict[str, Any]:
        """The keys of a file with the item's variables in them replaced, by text.

        Args:
            value: The keys as they are written.
        """
        return {key: with_texts(part, self.values) if key in KEYS else part for key, part in value.items()}

    @property
    def options(self) -> str:
        """What chooses the pipeline on the command line, such as `--var table=orders`."""
        return options_for(self.choice)


def with_texts(value: Any, values: Mapping[str, VariableValue]) -> Any:
    """A JSON-like value with its variables replaced by text, whatever their types.

    Args:
        value: The value.
        values: What the variables stand for.
    """
    return with_values(value, {name: text_of(one) for name, one in values.items()})


def options_for(values: Mapping[str, VariableValue]) -> str:
    """Values of variables as the command line takes them.

    Args:
        values: By variable.
    """
    return " ".join(f"--var {shlex.quote(f'{name}={text_of(value)}')}" for name, value in values.items())
