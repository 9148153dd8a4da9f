"""The streaming queries of a run: found by name, watched, and stopped together."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyspark.sql.streaming.query import StreamingQuery

STOP_SECONDS = 60.0
"""How long a micro-batch may take to come to its end when its query is stopped."""
_LOOK_SECONDS = 0.1


class Queries:
    """The queries of a run, by name. One that has ended stays, so that what it ended by can be asked for."""

    def __init__(self) -> None:
        self._queries: dict[str, StreamingQuery] = {}

    def register(self, name: str, query: StreamingQuery) -> None:
        """Add a query.

        Args:
            name: Its name; free again once the query that had it has ended.
            query: A query that was started.

        Raises:
            ValueError: A query that is active has that name.
        """
        if name in self._queries and self._queries[name].isActive:
            raise ValueError(f"a query called '{name}' is already active")
        self._queries[name] = query

    def named(self, name: str) -> StreamingQuery | None:
        """The query of that name; None if there is none."""
        return self._queries.get(name)

    @property
    def names(self) -> list[str]:
        """The names of all queries, in the order in which they were registered."""
        return list(self._queries)

    def has_active(self) -> bool:
        """Whether any query runs."""
        return any(True for _ in self._active())

    def stop_all(self, patience_seconds: float = STOP_SECONDS) -> None:
        """Bring the micro-batches that run to their end, then stop the queries; the newest is stopped first.

        Args:
            patience_seconds: How long to wait for the micro-batches; what runs then is interrupted.
        """
        deadline = time.monotonic() + patience_seconds
        for query in reversed(list(self._active())):
            batch = _finished_batch(query)
            while query.isActive and query.status["isTriggerActive"] and time.monotonic() < deadline:
                if _finished_batch(query) != batch:
                    break
                time.sleep(_LOOK_SECONDS)
            query.stop()

    def await_termination(self, timeout_seconds: float) -> bool:
        """Wait until no query runs.

        Args:
            timeout_seconds: How long to wait.

        Returns:
            Whether none runs any more.

        Raises:
            StreamingQueryException: pyspark's: a query has failed.
        """
        deadline = time.monotonic() + timeout_seconds
        for query in self._queries.values():
            # Its type says whole seconds, and it takes parts of one.
            query.awaitTermination(max(deadline - time.monotonic(), _LOOK_SECONDS))  # pyright: ignore[reportArgumentType]
        return not self.has_active()

    def _active(self) -> Iterator[StreamingQuery]:
        return (query for query in self._queries.values() if query.isActive)


def new_progress(query: StreamingQuery, told_at: datetime | None) -> Mapping[str, Any] | None:
    """The last progress of a query, as Spark writes it in JSON, if it is another one than was told.

    A query is looked at many times for each micro-batch. To ask for the time of its progress first takes a third of
    what it takes to have Spark write all of it.

    Args:
        query: The query.
        told_at: The time of the progress that was told last; None if none was.

    Returns:
        None if there is no progress, or no new one.
    """
    in_jvm: Any = getattr(query, "_jsq", None)
    if in_jvm is None:
        latest = query.lastProgress
        return json.loads(latest.json) if latest is not None and not _is_at(latest.timestamp, told_at) else None
    last = in_jvm.lastProgress()
    return json.loads(last.json()) if last is not None and not _is_at(last.timestamp(), told_at) else None


def _is_at(timestamp: str, at: datetime | None) -> bool:
    return at is not None and datetime.fromisoformat(timestamp) == at


def _finished_batch(query: StreamingQuery) -> int | None:
    latest = query.lastProgress
    return latest.batchId if latest is not None else None
