"""What Spark's tasks do to fill a staging table: lines of text go to the server as they are, many in one piece.

Each partition and a row that says so, in the table of partitions, are one transaction. A task that Spark runs twice,
because it was slow or its result was lost, therefore leaves its rows once. This module runs in Python processes of
Spark's: it imports nothing of the platform's that is heavy.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline_platform.connectors.jdbc.silence import SilentServerError, silence_limited

if TYPE_CHECKING:
    import psycopg
    import pymysql

# pyarrow comes without types.
RecordBatch = Any
FillsStaging = Callable[[Iterable[RecordBatch]], Iterable[RecordBatch]]
"""For `mapInArrow`: takes the lines, gives one row with their number for each partition."""

FILLED = "rows BIGINT"
"""The columns of what comes back."""

_MARK = "pipeline_platform database error "
_MARKED = re.compile(re.escape(_MARK) + r"(\{.*\})")
_PIECE_BYTES = 1 << 20


@dataclass(frozen=True)
class Staging:
    """The tables of one attempt at a load.

    Args:
        into: The statement that takes the lines.
        done: Statement that notes a partition as done, with its number and its rows as parameters; it touches no row
            where the partition is noted already.
        noted: Query for the rows of a partition that is noted, with its number as parameter.
    """

    into: str
    done: str
    noted: str


def copies_lines(entry: dict[str, Any], settings: str, staging: Staging, silence_seconds: float) -> FillsStaging:
    """Fill a staging table of PostgreSQL with COPY.

    Args:
        entry: Arguments to psycopg's connect.
        settings: Statement that the connection begins with.
        staging: Where to.
        silence_seconds: How long the server may be silent.
    """

    def fill(batches: Iterable[RecordBatch]) -> Iterable[RecordBatch]:
        import psycopg

        others = iter(batches)
        first = next(others, None)
        if first is None:
            return
        with (
            _telling((psycopg.Error, SilentServerError), _code_and_words),
            psycopg.connect(**entry) as connection,
            connection.cursor() as cursor,
            silence_limited(connection.fileno(), silence_seconds) as paused,
        ):
            sent = 0
            cursor.execute(settings.encode())
            with cursor.copy(staging.into.encode()) as copy:
                for batch in _and_then(first, others, paused):
                    text, starts = _lines(batch)
                    copy.write(text[starts[0] : starts[-1]])
                    sent += batch.num_rows
            yield _noted(connection, cursor, staging, sent, cursor.rowcount)

    return fill


def inserts_lines(entry: dict[str, Any], settings: str, staging: Staging, rows: int) -> FillsStaging:
    """Fill a staging table of MySQL with INSERTs of many rows each.

    Args:
        entry: Arguments to PyMySQL's connect.
        settings: Statement that the connection begins with.
        staging: Where to.
        rows: The most rows of one INSERT.
    """

    def fill(batches: Iterable[RecordBatch]) -> Iterable[RecordBatch]:
        import pymysql

        others = iter(batches)
        first = next(others, None)
        if first is None:
            return
        into = f"{staging.into} VALUES ".encode()
        with (
            _telling(pymysql.err.Error, lambda error: (str((*error.args, "")[0]), str((*error.args, "", error)[1]))),
            pymysql.connect(**entry, init_command=settings) as connection,
            connection.cursor() as cursor,
        ):
            client: Any = connection
            sent = taken = 0
            for batch in _and_then(first, others, nullcontext):
                text, starts = _lines(batch)
                for begin, end in _pieces(starts, rows):
                    # Each line ends with the comma that stands between two of them.
                    taken += client.query(into + text[starts[begin] : starts[end] - 1])
                sent += batch.num_rows
            yield _noted(connection, cursor, staging, sent, taken)

    return fill


def database_error_in(text: str) -> tuple[str | None, str] | None:
    """Code and words of a server's error in what Spark says of a failed task; None if it was none.

    Args:
        text: Spark's words.
    """
    found = _MARKED.search(text)
    if found is None:
        return None
    told = json.JSONDecoder().raw_decode(found[1])[0]
    return told["code"], told["said"]


def _noted(
    connection: psycopg.Connection[Any] | pymysql.Connection[Any],
    cursor: Any,
    staging: Staging,
    sent: int,
    taken: int,
) -> RecordBatch:
    """Commit the partition, unless it is there already."""
    import pyarrow
    from pyspark import TaskContext

    if taken != sent:
        raise RuntimeError(f"the database took {taken} of {sent} rows: this is a bug in the platform")
    context = TaskContext.get()
    assert context is not None
    cursor.execute(staging.done, (context.partitionId(), sent))
    if cursor.rowcount == 1:
        connection.commit()
    else:
        # Spark ran the task twice; what is staged is what the other one sent.
        connection.rollback()
        cursor.execute(staging.noted, (context.partitionId(),))
        [[sent]] = cursor.fetchall()
    arrow: Any = pyarrow
    return arrow.RecordBatch.from_pydict({"rows": [sent]})


def _lines(batch: RecordBatch) -> tuple[memoryview, Any]:
    """The text of a batch's one column, and where in it each line starts; the end comes last."""
    import numpy as np
    import pyarrow

    types: Any = pyarrow.types
    column = batch.column(0)
    _, offsets, text = column.buffers()
    kind = np.int64 if types.is_large_string(column.type) else np.int32
    starts = np.frombuffer(offsets, kind)[column.offset : column.offset + len(column) + 1]
    return memoryview(text) if text is not None else memoryview(b""), starts


def _pieces(starts: Any, rows: int) -> Iterator[tuple[int, int]]:
    """Runs of lines of at most so many rows, and of no more bytes than a server takes, a longer line excepted."""
    count = len(starts) - 1
    begin = 0
    while begin < count:
        fitting = int(starts.searchsorted(starts[begin] + _PIECE_BYTES, "right")) - 1
        end = min(begin + rows, max(fitting, begin + 1), count)
        yield begin, end
        begin = end


def _and_then(
    first: RecordBatch, others: Iterator[RecordBatch], waiting: Callable[[], AbstractContextManager[None]]
) -> Iterator[RecordBatch]:
    batch = first
    while batch is not None:
        yield batch
        with waiting():
            batch = next(others, None)


def _code_and_words(error: Any) -> tuple[str | None, str]:
    if isinstance(error, SilentServerError):
        return None, str(error)
    said = error.diag.message_primary or str(error)
    column = re.search(r"column \S+", error.diag.context or "")
    return error.sqlstate, f"{said} ({column[0].rstrip(':,')})" if column else said


@contextmanager
def _telling(
    kind: type[Exception] | tuple[type[Exception], ...], code_and_words: Callable[[Any], tuple[str | None, str]]
) -> Generator[None]:
    """Tell a server's error so that it can be found in what Spark makes of it."""
    try:
        yield
    except kind as error:
        code, said = code_and_words(error)
        raise RuntimeError(_MARK + json.dumps({"code": code, "said": said})) from None
