"""Makes of whatever Spark throws an error that names the step and says what to do next."""

from __future__ import annotations

import re

from pipeline_platform.config.step import Step
from pipeline_platform.exceptions import PipelineException, PipelineExecutionException
from pipeline_platform.methods.load.delta_lake import REPEATED_KEYS

# What passes by itself: a second attempt may succeed though nothing was changed.
_TRANSIENT = re.compile(
    r"connection (refused|reset)|connection timed out|connect timed out|read timed out|SocketTimeoutException"
    r"|broker.*not available|LEADER_NOT_AVAILABLE|deadlock|Concurrent(Append|DeleteRead|DeleteDelete|Write"
    r"|Transaction)Exception|DELTA_CONCURRENT_|SlowDown|ServiceUnavailable|503 Service Unavailable",
    re.IGNORECASE,
)

_HINTS = (
    (r"PATH_NOT_FOUND|does not exist", "check the path; if another pipeline makes it, run that one first"),
    (
        r"DELTA_TABLE_NOT_FOUND|is not a Delta table|DELTA_MISSING_DELTA_TABLE|DELTA_PATH_DOES_NOT_EXIST",
        "check the path; if another pipeline makes the table, run that one first",
    ),
    (r"UNRESOLVED_COLUMN", "use one of the columns that Spark suggests"),
    (r"No space left on device", "free some disk space and run again: nothing was committed"),
    (
        r"is not a Parquet file|FAILED_READ_FILE|CANNOT_READ_FILE|Could not read footer",
        "the file is damaged or cut off: restore it, or take it out of the folder",
    ),
    (REPEATED_KEYS, "make the rows unique first, for example with deduplicate"),
    (r"DELTA_CONCURRENT|Concurrent\w+Exception", "another writer changed the same rows; run again"),
    (r"CAST_INVALID_INPUT", "use try_cast, or filter the values that can't be converted"),
    (r"DIVIDE_BY_ZERO", "use try_divide, or filter the zeros"),
)

_CLASS = re.compile(r"\[([A-Z0-9_.]+)\]")
_NOISE = re.compile(r"\s*SQLSTATE: \w+|;?\s*\n'?[A-Z]\w+.*", re.DOTALL)
_CAUSED_BY = re.compile(r"^Caused by: (?:[\w.$]+(?:Exception|Error): )?(?P<message>.+)$", re.MULTILINE)
_LONGEST = 600


def explained(error: BaseException, step: Step) -> PipelineException:
    """The error as one that names the step; causes are kept with `raise … from`.

    Args:
        error: What was thrown while the step was planned or run.
        step: That step.
    """
    if isinstance(error, PipelineException):
        return error.at(step.location, step.config.as_config())
    text = _full_text(error)
    return PipelineExecutionException(
        _message(error, text),
        location=step.location,
        config=step.config.as_config(),
        hint=next((hint for pattern, hint in _HINTS if re.search(pattern, text)), None),
        retryable=is_transient(error),
    )


def is_transient(error: BaseException) -> bool:
    """Whether the same run may succeed when tried again unchanged."""
    if isinstance(error, PipelineException):
        return error.retryable
    return isinstance(error, Exception) and _TRANSIENT.search(_full_text(error)) is not None


def _full_text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _message(error: BaseException, text: str) -> str:
    if re.search(re.escape(REPEATED_KEYS), text):
        found = re.search(re.escape(REPEATED_KEYS) + r"[^\n]*", text)
        return found[0].split(" SQLSTATE")[0] if found else REPEATED_KEYS
    causes = [match["message"] for match in _CAUSED_BY.finditer(text)]
    own = str(error)
    if _is_wrapper(own) and causes:
        # Spark's outer message only says that a job failed; the innermost cause says why.
        own = causes[-1]
    first = _NOISE.sub("", own.strip())
    return (first or type(error).__name__)[:_LONGEST]


def _is_wrapper(message: str) -> bool:
    found = _CLASS.search(message)
    wrappers = ("TASK_WRITE_FAILED", "FAILED_READ_FILE.NO_HINT", "WRITING_JOB_ABORTED")
    return (
        "An error occurred while calling" in message
        or "Job aborted" in message
        or (found is not None and found[1] in wrappers)
    )
