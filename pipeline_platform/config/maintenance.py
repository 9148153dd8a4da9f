"""The key `maintenance`: how the tables that a pipeline writes are kept small and fast."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, Discriminator, Tag
from pydantic_core import PydanticCustomError

from pipeline_platform.config.format_model import FormatModel
from pipeline_platform.config.schedule import Cron, TimeZone
from pipeline_platform.config.values import Flag, Names, PositiveInteger, Text

SHORTEST_FILES = timedelta(days=7)
"""Delta's own limit: a run that reads, or one that writes, may take that long."""
SHORTEST_LOG = timedelta(days=1)
_UNITS = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(weeks=1)}
_LONGEST = 100_000


def span_of(text: str) -> timedelta:
    """A time such as `7 days`.

    Args:
        text: Number and unit.

    Raises:
        ValueError: It is none.
    """
    found = re.fullmatch(r"\s*([0-9]+)\s*(hour|day|week)s?\s*", text)
    if found is None or int(found[1]) > _LONGEST:
        raise ValueError(f"expected a number of hours, days or weeks, such as '7 days', not '{text}'")
    return int(found[1]) * _UNITS[found[2]]


def _at_least(text: str, shortest: timedelta, why: str) -> str:
    try:
        span = span_of(text)
    except ValueError as error:
        raise PydanticCustomError("span", "{message}", {"message": str(error)}) from None
    if span < shortest:
        message = f"'{text}' is shorter than {shortest.days} day{'s' if shortest.days > 1 else ''}: {why}"
        raise PydanticCustomError("span", "{message}", {"message": message})
    return text


def _files(text: str) -> str:
    return _at_least(text, SHORTEST_FILES, "a run that still reads or writes the table would lose its files")


def _log(text: str) -> str:
    return _at_least(text, SHORTEST_LOG, "the log also says what was loaded and what may be removed")


class Optimize(FormatModel):
    """How small files become large ones."""

    z_order_by: Names = []
    """Columns by which the rows of a load's table are laid close together, so that a filter on them reads less. Not of
    a table with `clusterBy`, which is clustered by its own columns."""
    target_megabytes: PositiveInteger = 128
    """How large the files are to become."""


class Maintenance(FormatModel):
    """How the Delta tables that a pipeline loads, and its quarantines, are kept."""

    schedule: Cron | None = None
    """When Dagster maintains them, a cron string; without it they are maintained when a person says so."""
    timezone: TimeZone = "UTC"
    """The time zone in which the schedule ticks."""
    optimize: Annotated[
        Annotated[Flag, Tag("flag")] | Annotated[Optimize, Tag("object")],
        Discriminator(lambda value: "object" if isinstance(value, (dict, Optimize)) else "flag"),
    ] = True
    """Whether small files are rewritten as large ones, or how, as an object: `targetMegabytes`, how large the files are
    to become, by default 128, and `zOrderBy`, columns of a load's table by which rows are laid close together."""
    keep_files: Annotated[Text, AfterValidator(_files)] = "7 days"
    """How long files stay that the newest version of the table does not need, for those who read an earlier version; at
    least 7 days."""
    keep_log: Annotated[Text, AfterValidator(_log)] | None = None
    """How long entries of the table's log stay, so that earlier versions can be read. By default Delta removes them
    itself after 30 days, or what the table's property `delta.logRetentionDuration` says."""

    @property
    def how(self) -> Optimize | None:
        """How files are rewritten; None if they are not."""
        if isinstance(self.optimize, Optimize):
            return self.optimize
        return Optimize() if self.optimize else None

    @property
    def files_for(self) -> timedelta:
        """`keepFiles` as a time."""
        return span_of(self.keep_files)

    @property
    def log_for(self) -> timedelta | None:
        """`keepLog` as a time."""
        return span_of(self.keep_log) if self.keep_log is not None else None
