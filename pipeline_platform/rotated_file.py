"""A file of lines that several processes add to, and that is begun anew when it is full."""

from __future__ import annotations

import logging
from functools import cache
from pathlib import Path

from concurrent_log_handler import ConcurrentRotatingFileHandler

MAX_BYTES = 10_000_000
"""Size at which a new file is begun."""
KEPT = 20
"""Full files that are kept beside the one that is written."""
_ONLY_MINE = 0o077


def add_line(path: Path, line: str, *, private: bool = False) -> None:
    """Add a line.

    Args:
        path: The file; its folder is made if there is none.
        line: Without its end.
        private: Whether nobody else may read a file that is made now.

    Raises:
        OSError: It can't be written.
    """
    _file(path.absolute(), private).emit(logging.makeLogRecord({"msg": line, "levelno": logging.INFO}))


class _File(ConcurrentRotatingFileHandler):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        raise


@cache
def _file(path: Path, private: bool) -> _File:
    path.parent.mkdir(parents=True, exist_ok=True)
    umask = _ONLY_MINE if private else None
    return _File(str(path), "a", maxBytes=MAX_BYTES, backupCount=KEPT, encoding="utf-8", umask=umask)
