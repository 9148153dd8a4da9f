"""What is said of a table beside its rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class TableFacts:
    """What is known of a table that a pipeline loads, for people who look at the table.

    Args:
        pipeline: The pipeline.
        step: Its load.
        comment: What the table is about.
        owner: Who owns it.
        tags: Words that it is found by.
        columns: What its columns are about, by their names.
    """

    pipeline: str = ""
    step: str = ""
    comment: str | None = None
    owner: str | None = None
    tags: tuple[str, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict[str, str])
