"""The base of everything in the format."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class FormatModel(BaseModel):
    """Base of everything in the format: camelCase keys, no unknown ones, never changed once read."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",
        frozen=True,
        populate_by_name=True,
        defer_build=True,
        hide_input_in_errors=True,
    )
