"""The records of runs as lines of JSON in a file."""

from __future__ import annotations

import logging
from functools import cache
from pathlib import Path

from concurrent_log_handler import ConcurrentRotatingFileHandler

from pipeline_platform.metrics.run import RunMetrics

MAX_BYTES = 10_000_000
"""Size at which a new file is begun."""
KEPT = 20
"""Full files that are kept beside the one that is written."""


class JsonLinesExporter:
    """Adds a line for the begin and one for the end of each run; several processes may share the file.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def export(self, run: RunMetrics) -> None:
        """Add a line.

        Raises:
            OSError: The file can't be written.
        """
        record = logging.makeLogRecord({"msg": run.model_dump_json(), "levelno": logging.INFO})
        _file(self.path.absolute()).emit(record)


class _LinesFile(ConcurrentRotatingFileHandler):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        raise


@cache
def _file(path: Path) -> _LinesFile:
    path.parent.mkdir(parents=True, exist_ok=True)
    return _LinesFile(str(path), "a", maxBytes=MAX_BYTES, backupCount=KEPT, encoding="utf-8")
