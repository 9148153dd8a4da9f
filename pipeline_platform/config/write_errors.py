"""Loads of one pipeline that take away each other's rows of a table, as far as its file shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

from pipeline_platform.config.config_error import ConfigError
from pipeline_platform.config.graph import Draft
from pipeline_platform.config.partitions import Partitions
from pipeline_platform.config.step import Step
from pipeline_platform.config.table_writers import Writer, table_writers, unknown_hint

_HINT = "bring the rows together first, as unionDataFrames does, and load them once; or give each load another table"
_QUARANTINE_HINT = "give 'quarantinePath' a table that no load writes"


def write_errors(
    steps: Sequence[Step], partitions: Partitions | None, drafts: Sequence[Draft]
) -> Iterator[ConfigError]:
    """One for each load, or step with a quarantine, that can't write its table beside a step before it.

    Args:
        steps: The steps.
        partitions: Of the pipeline.
        drafts: The steps, as they stand in the file.
    """
    try:
        writers = table_writers(steps, partitions)
    # A method may come from another package; what it fails at the project tells of the pipeline as a whole.
    except Exception:  # noqa: BLE001
        return
    told: set[int] = set()
    for earlier, later in combinations(writers, 2):
        if later.step.index in told or (message := _message(earlier, later)) is None:
            continue
        told.add(later.step.index)
        if later.is_quarantine and not earlier.is_quarantine:
            yield drafts[later.step.index].key("quarantinePath").problem(message, hint=_QUARANTINE_HINT)
            continue
        hint = _QUARANTINE_HINT if earlier.is_quarantine else f"{_HINT}{unknown_hint(earlier, later)}"
        yield drafts[later.step.index].place.problem(message, hint=hint)


def _message(earlier: Writer, later: Writer) -> str | None:
    """Why two steps can't write one table; None if they can."""
    other = f"{'the quarantine of ' if earlier.is_quarantine else ''}step {earlier.step.number}"
    other = f"{other} ({earlier.step.config.method})"
    this = "the quarantine of this step" if later.is_quarantine else "this load"
    if later.takes_from(earlier):
        return f"{this} {later.does}, and with them those that {other} writes to the same table"
    if earlier.takes_from(later):
        return f"{other} {earlier.does}, and with them those that {this} writes to the same table"
    return None
