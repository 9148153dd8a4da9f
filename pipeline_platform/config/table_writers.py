"""Steps that write a table, and whether one of them takes away what another has written."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import unquote

from pipeline_platform.config.partition_overlap import may_have_key, share_keys, share_rows
from pipeline_platform.config.partitions import Partitions
from pipeline_platform.config.placeholders import with_partition
from pipeline_platform.config.replacement import UNKNOWN, Replacement, hold_together, holds_for_keys
from pipeline_platform.config.step import Step
from pipeline_platform.config.uris import normalized_uri
from pipeline_platform.redaction import redact_urls

# They stand for a key and a time that are not known yet: no system quotes them, or changes their case.
_ANY_KEY, _ANY_TIME = "partition0key", "partition0time"
_STAND_INS = {"key": _ANY_KEY, "start": _ANY_TIME, "end": _ANY_TIME}
_ANY = re.compile(f"{_ANY_KEY}|{_ANY_TIME}")


@dataclass(frozen=True)
class Writer:
    """A step that writes a table.

    Args:
        step: The step.
        partitions: Those of its pipeline.
        place: The table; with `_ANY_KEY` and `_ANY_TIME` for the key and the times of the partition, if they are a part
            of it.
        replaces: What it takes away; None if nothing.
        is_quarantine: Whether the table is the quarantine of the step.
    """

    step: Step
    partitions: Partitions | None
    place: str
    replaces: Replacement | None = None
    is_quarantine: bool = False

    @cached_property
    def is_in_several(self) -> bool:
        """Whether it may write several tables, which are known once a partition is."""
        return _ANY.search(self.place) is not None

    @cached_property
    def is_by_key(self) -> bool:
        """Whether each partition has a table of its own."""
        return _ANY_KEY in self.place

    @property
    def does(self) -> str:
        """What it takes away, for messages."""
        if self.replaces is None:
            return "takes nothing away"
        if self.partitions is None or not self.replaces.is_all:
            return self.replaces.does
        return f"{self.replaces.does} of {'the table of ' if self.is_by_key else ''}a partition"

    @cached_property
    def _beginning(self) -> str:
        """What the table's place begins with, whatever the key."""
        return _ANY.split(self.place, maxsplit=1)[0]

    def may_share_table(self, other: Writer) -> bool:
        """Whether the places begin alike, so that it is worth asking `shares_table`.

        Args:
            other: As there.
        """
        return self._beginning.startswith(other._beginning) or other._beginning.startswith(self._beginning)

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        # A key with '/' can't be a part of a place.
        text = re.escape(self.place).replace(_ANY_TIME, "[^/]+").replace(_ANY_KEY, "(?P<key>[^/]+)", 1)
        return re.compile(text.replace(_ANY_KEY, "(?P=key)"))

    def shares_table(self, other: Writer) -> bool:
        """Whether both may write one table.

        Args:
            other: Another step that writes a table, or this one in a run of another pipeline.
        """
        if self.place == other.place:
            if not self.is_by_key or self.partitions is None or other.partitions is None:
                return True
            return self.partitions is other.partitions or share_keys(self.partitions, other.partitions)
        return any(map(self._may_be, other._spelled_out)) or any(map(other._may_be, self._spelled_out))

    def _may_be(self, place: str) -> bool:
        """Whether a place is the table of one of the partitions."""
        if self.partitions is None or not self.is_in_several:
            return False
        found = self._pattern.fullmatch(place)
        return found is not None and (not self.is_by_key or may_have_key(self.partitions, found["key"]))

    @cached_property
    def _spelled_out(self) -> Sequence[str]:
        """The tables, as far as it is known which there are."""
        keys = self.partitions.keys if self.partitions is not None and self.is_by_key else None
        return [self.place.replace(_ANY_KEY, key) for key in keys] if keys is not None else [self.place]

    def takes_from(self, other: Writer) -> bool:
        """Whether it takes away rows that another one may have written.

        Args:
            other: Another step of the same pipeline, or of one beside it.
        """
        if self.replaces is None or not self.shares_table(other):
            return False
        condition = self.replaces.condition
        if condition is not None and other.replaces is not None and other.replaces.condition is not None:
            return hold_together(condition, other.replaces.condition)
        # Of one pipeline, a run of which loads one partition by all of its steps.
        if self.partitions is other.partitions or self.is_by_key or other.is_by_key or other.is_quarantine:
            return True
        return self._takes_rows_of(other)

    def _takes_rows_of(self, other: Writer) -> bool:
        """The same of two pipelines, whose partitions are told apart by columns of one table."""
        assert self.replaces is not None
        mine, theirs = self.partitions, other.partitions
        if mine is not None and not self.replaces.is_within_partition:
            return True
        if mine is not None and theirs is not None:
            return share_rows(mine, theirs)
        divided, free = (mine, other.replaces) if mine is not None else (theirs, self.replaces)
        if divided is None or divided.keys is None or free is None or free.condition is None:
            return True
        return holds_for_keys(free.condition, divided.column, divided.keys)


def unknown_hint(*writers: Writer) -> str:
    """What goes behind a hint where a method has not said what it takes away; otherwise nothing.

    Args:
        writers: Whom the hint is about.
    """
    unsaid = sorted({f"'{writer.step.config.method}'" for writer in writers if writer.replaces is UNKNOWN})
    return f"; {' and '.join(unsaid)} can say in 'replaces' that rows of others stay" if unsaid else ""


def table_writers(steps: Sequence[Step], partitions: Partitions | None) -> list[Writer]:
    """What the steps of a pipeline write: each load its table, and each step with a quarantine that.

    Args:
        steps: The steps.
        partitions: Of the pipeline.
    """
    found: list[Writer] = []
    beside = quarantine_beside_sink(steps)
    for step in steps:
        place = step.config.written_place(_STAND_INS)
        if place is not None:
            found.append(Writer(step, partitions, _unquoted(place), step.config.replaces()))
        path = (step.config.quarantine() or beside) if step.config.fills_quarantine() else None
        if path is not None:
            kept = redact_urls(normalized_uri(with_partition(path, _STAND_INS)))
            found.append(Writer(step, partitions, _unquoted(kept), is_quarantine=True))
    return found


def place_read(step: Step) -> str | None:
    """What a step reads, as places of writers are written; None if it reads nothing that has a place.

    Args:
        step: The step.
    """
    place = step.config.read_place(_STAND_INS)
    return _unquoted(place) if place is not None else None


def _unquoted(place: str) -> str:
    """A place with the keys in it as they are: in the URI of a local path they are escaped."""
    return unquote(place) if place.startswith("file:") else place


def quarantine_beside_sink(steps: Sequence[Step]) -> str | None:
    """Where rows are kept that a step takes out, if it does not say; None if no sink is a folder.

    Args:
        steps: All steps of the pipeline.
    """
    folders = (step.config.folder() for step in steps)
    return next((f"{folder.rstrip('/')}_quarantine" for folder in folders if folder is not None), None)
