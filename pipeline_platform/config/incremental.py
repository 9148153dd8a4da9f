"""`incremental`: what of a source is new, told by a column whose values grow."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from pipeline_platform.config.placeholders import has_placeholder
from pipeline_platform.config.step import FormatModel, Step
from pipeline_platform.config.values import Bound, Names, Text, one_of

_DURATION = re.compile(r"(\d{1,9}) (second|minute|hour|day)s?", re.ASCII)


def _lag(value: object) -> object:
    """A number as it is written; a text has to be a number or a duration."""
    if isinstance(value, bool):
        raise PydanticCustomError("lag", "expected a duration or a number, not a boolean")
    text = str(value).strip() if isinstance(value, (int, float, str)) else value
    if not isinstance(text, str) or has_placeholder(text):
        return text
    if not re.fullmatch(r"\d{1,18}(\.\d{1,18})?", text, re.ASCII) and not _DURATION.fullmatch(text):
        raise PydanticCustomError(
            "lag",
            "expected a duration, such as '10 minutes', or, where the column holds numbers, a number of 0 or more, "
            "not '{text}'",
            {"text": text},
        )
    return text


Lag = Annotated[
    Text,
    BeforeValidator(_lag),
    WithJsonSchema({"anyOf": [{"type": "string", "examples": ["10 minutes"]}, {"type": "number", "minimum": 0}]}),
]


def lag_of(text: str) -> Decimal | timedelta:
    """A lag as it is subtracted: a number, or a duration."""
    duration = _DURATION.fullmatch(text)
    return timedelta(**{f"{duration[2]}s": int(duration[1])}) if duration is not None else Decimal(text)


def _bound_is_one(value: int | float | str) -> int | float | str:
    if isinstance(value, str) and not value.strip():
        raise PydanticCustomError("bound", "must not be blank")
    return value


def fed_loads(steps: Sequence[Step], extract: Step) -> list[Step]:
    """The loads that rows of an extract get to.

    Args:
        steps: Of the pipeline.
        extract: One of them.
    """
    fed = {extract.index}
    for step in steps:
        if any(edge.step in fed for edge in step.inputs):
            fed.add(step.index)
    return [step for step in steps if step.index in fed and step.type == "load"]


class NewFiles(FormatModel):
    """Reads only files that no load of the pipeline has loaded, which the sink remembers by their paths."""

    changed_files: Annotated[Literal["fail", "ignore", "load"], one_of("fail", "ignore", "load")] = "fail"
    """What becomes of a file that has changed since it was loaded: it is an error, it stays as it was loaded, or the
    whole file is loaded again, which is for a load that merges rows by their key."""


CursorBound = Annotated[Bound, AfterValidator(_bound_is_one)]


class Incremental(FormatModel):
    """Reads only what is new since the last load of the pipeline, which the sink remembers."""

    cursor_column: Text
    """The column whose values grow with each new or changed row: a number, a date or a timestamp, such as `id` or
    `updated_at`. A row with NULL in it is an error, as nobody could say whether it is new."""
    initial_value: CursorBound | None = None
    """Where the first load begins, itself included; by default with the first row. Of text for dates and timestamps,
    which are in UTC without an offset."""
    end_value: CursorBound | None = None
    """Read no further than this, itself excluded."""
    lag: Lag | None = None
    """How far each load reads back behind where the last one ended, for rows that appear late: `10 minutes`, `1 day`,
    or a number where the column holds numbers. Should be longer than the longest transaction of those who write. Rows
    that were loaded are left out."""
    key: Names | None = None
    """The columns that, with `cursorColumn`, tell a row from others when it is looked at again; by default all."""
    boundary: Annotated[Literal["inclusive", "exclusive"], one_of("inclusive", "exclusive")] = "inclusive"
    """Whether rows with the very value at which the last load ended are looked at again, as more of them may have come:
    those that were loaded are left out. `exclusive` saves that work, where no two rows have the same value."""

    @model_validator(mode="after")
    def _lag_fits_boundary(self) -> Self:
        if self.lag is not None and self.boundary == "exclusive":
            message = "with 'lag' rows are looked at again, so that 'boundary' has to be inclusive"
            raise PydanticCustomError("incremental", message, {"key": "boundary"})
        if self.key is not None and self.boundary == "exclusive":
            message = "'key' is for rows that are looked at again, so that 'boundary' has to be inclusive"
            raise PydanticCustomError("incremental", message, {"key": "key"})
        return self
