"""Logs: for people by default, or one JSON object a line, each with the run, the step and the micro-batch it is about.

`PIPELINE_PLATFORM_LOG=json` asks for JSON; Spark's own lines are then JSON too, and bear the same ids.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, TextIO

from pipeline_platform.redaction import redact, redact_strings

LOG_VARIABLE = "PIPELINE_PLATFORM_LOG"
LOG_LEVEL_VARIABLE = "PIPELINE_PLATFORM_LOG_LEVEL"
_PACKAGE = "pipeline_platform"
# What a person has asked for is to be seen, whatever the level.
_ASKED_FOR = f"{_PACKAGE}.metrics.log"
_TEXT = "%(asctime)s %(levelname)s %(message)s"
_context: ContextVar[dict[str, Any] | None] = ContextVar("log_context", default=None)
_of_runs: list[dict[str, Any]] = []


def is_json() -> bool:
    """Whether logs are JSON."""
    return os.environ.get(LOG_VARIABLE) == "json"


@contextmanager
def run_log_context(pipeline: str, run_id: str) -> Generator[None]:
    """Say in every line that is logged in the block which run it is about.

    As long as the process has no other one, that is said in the lines of all threads.

    Args:
        pipeline: Name of the pipeline.
        run_id: Names the run.
    """
    about = {"pipeline": pipeline, "run_id": run_id}
    _of_runs.append(about)
    try:
        with log_context(**about):
            yield
    finally:
        _of_runs.remove(about)


@contextmanager
def log_context(**fields: Any) -> Generator[None]:
    """Say in every line that is logged in the block what else it is about.

    Args:
        fields: Such as `step`, `query` or `batch`.
    """
    token = _context.set({**(_context.get() or {}), **fields})
    try:
        yield
    finally:
        _context.reset(token)


def fields_now() -> dict[str, Any]:
    """What a line that is logged here and now is about."""
    only = _of_runs[0] if len(_of_runs) == 1 else {}
    return {**only, **(_context.get() or {})}


def jvm_line(line: str) -> str:
    """A line that Spark has logged, as this process's own lines are, without secrets.

    Args:
        line: As the JVM wrote it.
    """
    if not is_json():
        return redact(line)
    try:
        told: dict[str, Any] = json.loads(line)
    except ValueError:
        told = {"time": _now(), "level": "INFO", "logger": "jvm", "message": line.rstrip()}
    return json.dumps(redact_strings({**told, **fields_now()}), ensure_ascii=False) + "\n"


def configure_logs(level: str | None = None) -> None:
    """Write what the platform logs to standard error; done once in a process.

    Args:
        level: From which level on; by default from warnings on as text, or from INFO on as JSON.
    """
    logger = logging.getLogger(_PACKAGE)
    if any(isinstance(handler, _Handler) for handler in logger.handlers):
        return
    handler = _Handler()
    handler.setFormatter(_json_formatter() if is_json() else _TextFormatter(_TEXT))
    logger.addHandler(handler)
    logger.setLevel(level.upper() if level is not None else logging.INFO if is_json() else logging.WARNING)
    logging.getLogger(_ASKED_FOR).setLevel(logging.INFO)
    if is_json():
        logging.captureWarnings(capture=True)
        logging.getLogger("py.warnings").addHandler(handler)


class _Handler(logging.StreamHandler[TextIO]):
    """Writes to what is standard error at that moment, where a live table may have put itself in between."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        for name, value in fields_now().items():
            setattr(record, name, value)
        super().emit(record)


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def _json_formatter() -> logging.Formatter:
    from pythonjsonlogger.json import JsonFormatter

    class Redacting(JsonFormatter):
        def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
            return redact_strings({"time": _now(), **log_data})

    names = {"levelname": "level", "name": "logger", "exc_info": "error"}
    return Redacting("%(levelname)s %(name)s %(message)s", rename_fields=names, json_ensure_ascii=False)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
