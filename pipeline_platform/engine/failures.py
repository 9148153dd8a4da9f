"""Makes of whatever Spark throws an error that names the step and says what to do next."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager

from pipeline_platform.config.step import Step
from pipeline_platform.engine.checkpoint import DAMAGED_CHECKPOINT
from pipeline_platform.exceptions import PipelineException, PipelineExecutionException
from pipeline_platform.logs import about
from pipeline_platform.methods.extract.malformed import MALFORMED_RECORD
from pipeline_platform.methods.load.delta_lake import REPEATED_KEYS

# What passes by itself: a second attempt may succeed though nothing was changed.
_TRANSIENT = re.compile(
    r"connection (refused|reset)|connection timed out|connect timed out|read timed out|SocketTimeoutException"
    r"|Could not connect to the endpoint|I/O error occurred while sending to the backend"
    r"|terminating connection due to|the database system is (start|shut|in rec|not yet)"
    r"|Communications link failure|This connection has been closed|No operations allowed after connection closed"
    r"|kafka\.common\.errors\.(Timeout|Disconnect|Network|(Leader|Broker|Coordinator)NotAvailable|NotLeaderOrFollower"
    r"|NotEnoughReplicas\w*)Exception|Timed out waiting for a node assignment|not present in metadata after"
    r"|broker.*not available|deadlock|Concurrent(Append|DeleteRead|DeleteDelete|Write"
    r"|Transaction)Exception|DELTA_CONCURRENT_|SlowDown|ServiceUnavailable|503 Service Unavailable",
    re.IGNORECASE,
)
# Answers of a store over HTTP that is busy or not up yet; to a HEAD there is no body that would say so in words.
_BUSY_ANSWERS = {429, 500, 502, 503, 504}
# SQL's own classes of errors: values, syntax and names, what is not supported, and what a user's rule raised. They are
# no more right the second time, and the text may hold any words, as it repeats values of the data.
_LASTING_STATE = re.compile(r"SQLSTATE: (22|42|0A|P0|21|23)\w{3}")

_DAMAGED = "the file is damaged or cut off: restore it, or take it out of the folder"
_HINTS = (
    (
        MALFORMED_RECORD,
        "mend the record or the schema it is read with, or set 'onMalformed' to quarantine or null",
    ),
    (
        r"UnknownTopicOrPartition",
        "check 'topic'; if there is no such topic yet, make it first",
    ),
    (
        r"SaslAuthenticationException|TopicAuthorizationException|GroupAuthorizationException",
        "check the user, the password and the rights that the credentials for Kafka give",
    ),
    (
        r"InvalidAccessKeyId|SignatureDoesNotMatch|AccessDenied|Status Code: 403|403 Forbidden",
        "check the access key and its rights to the bucket",
    ),
    (r"NoSuchBucket|specified bucket does not exist", "check the bucket, the endpoint and the region"),
    (
        r"No module named 'pipeline_platform'",
        "install the package where Spark's workers find it: in the Python that PYSPARK_PYTHON names on their machines",
    ),
    (REPEATED_KEYS, "make the rows unique first, for example with deduplicate"),
    (
        r"DELTA_TABLE_NOT_FOUND|is not a Delta table|DELTA_MISSING_DELTA_TABLE|DELTA_PATH_DOES_NOT_EXIST",
        "check the path; if another pipeline makes the table, run that one first",
    ),
    (r"PATH_NOT_FOUND|does not exist", "check the path; if another pipeline makes it, run that one first"),
    (r"DELTA_VERSION_NOT_FOUND|DELTA_TIMESTAMP_", "read one of the versions that the table still has"),
    (r"UNABLE_TO_INFER_SCHEMA", "there are no files in the folder: check the path, or say the columns with 'schema'"),
    (r"UNSUPPORTED_FILE_SYSTEM|No FileSystem for scheme", "use a path or URI that Spark can read"),
    (r"UNRESOLVED_COLUMN|FIELD_NOT_FOUND", "use one of the columns that are there"),
    (r"UNRESOLVED_ROUTINE", "check the spelling of the function"),
    (r"No space left on device|Disk quota exceeded", "free some disk space and run again: nothing was committed"),
    (
        r"Permission denied|Read-only file system|Mkdirs failed|DELTA_CANNOT_CREATE_LOG_PATH|Not a directory",
        "check that the folder can be written to",
    ),
    (r"is not a group|PARQUET_COLUMN_DATA_TYPE_MISMATCH", "give 'schema' the types that the file has, or leave it out"),
    (
        r"is not a Parquet file|Not an Avro data file|Malformed ORC|FAILED_TO_UNCOMPRESS|FAILED_READ_FILE"
        r"|CANNOT_READ_FILE|Could not read footer",
        _DAMAGED,
    ),
    (r"Log file was malformed|Failed to read log file", DAMAGED_CHECKPOINT),
    (
        r"DELTA_SOURCE_(TABLE_)?IGNORE_(CHANGES|DELETE)|DELTA_SCHEMA_CHANGED",
        "a stream of a Delta table reads what is added; after another change begin anew, with reset-checkpoint",
    ),
    (r"DELTA_CONCURRENT|Concurrent\w+Exception", "another writer changed the same rows; run again"),
    (
        r"CAST_INVALID_INPUT|CAST_OVERFLOW|CANNOT_PARSE_TIMESTAMP",
        "use try_cast or the like in the expression, or filter the values that can't be converted",
    ),
    (r"ARITHMETIC_OVERFLOW", "cast to a wider type first"),
    (r"DIVIDE_BY_ZERO", "use try_divide, or filter the zeros"),
    (r"DATATYPE_MISMATCH", "cast the operands to types that go together"),
    (r"OutOfMemoryError|Java heap space", "set 'spark.driver.memory' higher in sparkConf, or repartition the data"),
)
_HINT_TRANSIENT = "check that the other system is up and can be reached"
_HINT = "mend the step or its data and run again"

# What the platform's own expressions raise.
_RAISED = f"({re.escape(REPEATED_KEYS)}|{re.escape(MALFORMED_RECORD)})"
_CLASS = re.compile(r"\[[A-Z][A-Z0-9_.]+\] ?")
_STATE = re.compile(r";?\s*SQLSTATE: \w+.*", re.DOTALL)
_THROWN = re.compile(r"^(?:Caused by: |: )(?:[\w.$]+(?:Exception|Error)(?:: |$))?(?P<message>.*)$", re.MULTILINE)
# What a Python worker of Spark's raised; its lines are indented but the last.
_TRACEBACK = re.compile(r"Traceback \(most recent call last\):\n(?:[ \t].*\n)*(?P<raised>\S.*)")
_READING = re.compile(r"(?:while reading file|Could not read file:) (?P<file>\S+?)\.?\s")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_LONGEST = 600


@contextmanager
def explaining(step: Step) -> Generator[None]:
    """Make of whatever is thrown in the block an error that names the step."""
    try:
        with about(step=step.name):
            yield
    except PipelineException as error:
        raise error.at(step.location, step.config.as_config()) from error.__cause__
    except Exception as error:
        raise explained(error, step) from error


def explained(error: BaseException, step: Step) -> PipelineException:
    """The error as one that names the step; causes are kept with `raise … from`.

    Args:
        error: What was thrown while the step was planned or run.
        step: That step.
    """
    if isinstance(error, PipelineException):
        return error.at(step.location, step.config.as_config())
    text = _full_text(error)
    transient = is_transient(error)
    hints = (hint for pattern, hint in _HINTS if re.search(pattern, text))
    return PipelineExecutionException(
        _message(error, text),
        location=step.location,
        config=step.config.as_config(),
        hint=next(hints, _HINT_TRANSIENT if transient else _HINT),
        retryable=transient,
    )


def is_transient(error: BaseException) -> bool:
    """Whether the same run may succeed when tried again unchanged."""
    if isinstance(error, PipelineException):
        return error.retryable
    if not isinstance(error, Exception):
        return False
    if _answer_of_store(error) in _BUSY_ANSWERS:
        return True
    text = _full_text(error)
    return _LASTING_STATE.search(text) is None and _TRANSIENT.search(text) is not None


def _answer_of_store(error: BaseException) -> int | None:
    """The HTTP status of the answer that botocore made an error of, and s3fs an error of the operating system."""
    while not isinstance(response := getattr(error, "response", None), dict):
        if error.__cause__ is None:
            return None
        error = error.__cause__
    return response.get("ResponseMetadata", {}).get("HTTPStatusCode")


def _full_text(error: BaseException) -> str:
    causes = (f"Caused by: {cause}" for cause in _causes(error))
    return "\n".join([f"{type(error).__name__}: {_without_plan(str(error))}", *causes])


def _causes(error: BaseException) -> Iterator[str]:
    """What the causes say that pyspark keeps of a query's error beside its text."""
    cause = getattr(error, "_cause", None)
    while isinstance(cause, Exception):
        yield str(cause)
        cause = getattr(cause, "_cause", None)


def _without_plan(said: str) -> str:
    """What a query failed at, without its plan, in which every message stands that it might have failed with."""
    return said.split("\n=== Streaming Query ===", 1)[0]


def _message(error: BaseException, text: str) -> str:
    raised = re.search(_RAISED + r"[^\n]*", text)
    told = _tidy(raised[0] if raised else _innermost(_without_plan(str(error))))
    causes = () if raised else [_tidy(next(_messages(f"Caused by: {cause}"))) for cause in _causes(error)]
    if causes and causes[-1] not in told:
        told = f"{told.rstrip('.')}: {causes[-1]}"
    reading = _READING.search(text)
    if reading and reading["file"] not in told and not raised:
        told += f" (while reading {reading['file']})"
    return (told or type(error).__name__)[:_LONGEST]


def _tidy(said: str) -> str:
    return " ".join(_COLOUR.sub("", _CLASS.sub("", _STATE.sub("", said), count=1)).split())


def _innermost(said: str) -> str:
    """Of an error with its stack, of Python or the JVM, the message of the last cause; any other error as it is."""
    if raised := _TRACEBACK.findall(said):
        return raised[-1]
    if "\n\tat " not in said:
        return said
    messages = [message for message in _messages(said) if message.strip()]
    return messages[-1] if messages else said.splitlines()[0]


def _messages(said: str) -> Iterator[str]:
    for found in _THROWN.finditer(said):
        # A message may go on over some lines before its stack begins.
        rest = said[found.start("message") :].split("\n\tat ", 1)[0]
        yield rest.split("\n\n", 1)[0]
