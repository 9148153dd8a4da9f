"""Rows that are made once: whatever reads them again reads the same."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pipeline_platform.frames.remote import is_remote

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


@contextmanager
def rows_made_once(frame: DataFrame, *, at_once: bool) -> Generator[DataFrame]:
    """The frame, cut off from what it was made of, while the block lasts.

    Spark forgets what it keeps by `persist` as soon as a Delta table is written that it was made of. Rows that an
    executor loses with these are an error, and not made anew from what may be others.

    Args:
        frame: The frame.
        at_once: Whether its rows are made now; by default with the first action on it.
    """
    kept = frame.localCheckpoint(eager=at_once)
    try:
        yield kept
    finally:
        if not is_remote(kept.sparkSession):
            in_java: Any = kept._jdf  # pyright: ignore[reportPrivateUsage]
            in_java.queryExecution().logical().rdd().unpersist(False)
