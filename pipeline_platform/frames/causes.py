"""What an exception of Spark, of a driver or of a store's client says in codes: classes, conditions, SQL states.

Its text may repeat values of the data, so that what is retried and what is advised is decided by these.
"""

from __future__ import annotations

import builtins
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyspark.sql.connect.session import SparkSession

_NO_CLASSES = frozenset({"object", "BaseException", "java.lang.Object", "java.lang.Throwable"})
# What a task failed at, where Spark could not send the exception itself; it begins with Spark's own words.
_TASK_FAILURE = re.compile(
    r"Job aborted due to stage failure: [^\n]*?Lost task [\d.]+ in stage [\d.]+ \(TID \d+\) \([^)\n]*\): "
    r"(?P<name>ExecutorLostFailure|[\w.$]+)(?:: |\s|$)(?P<message>.*?)(?:\n\tat |\Z)",
    re.DOTALL,
)
# What a Python worker of Spark's, or a function that Spark calls here, raised; its lines are indented but the last.
_TRACEBACK = re.compile(
    r"Traceback \(most recent call last\):\n(?:[ \t].*\n)*(?P<name>[\w.]+)(?:: (?P<message>(?:.|\n)*))?"
)
# Between the tracebacks of exceptions that followed one another; the last is the one that was raised.
_CHAINED = re.compile(
    r"\n+(?:The above exception was the (?P<cause>direct cause) of the following exception"
    r"|During handling of the above exception, another exception occurred):\n+"
)
_CALLS_PYTHON = (
    "pyspark.errors.exceptions.base.PythonException",
    "org.apache.spark.api.python.PythonException",
    "py4j.Py4JException",
)
_LONGEST_CHAIN = 30
# A message of Spark's: its condition before it, its SQL state and what comes after that behind it.
_CONDITION = re.compile(r"\[[A-Z][A-Z0-9_.]+\] ?")
_STATE = re.compile(r";?\s*SQLSTATE: \w{5}\b.*", re.DOTALL)
# A Java exception that says no more than which exception it wraps.
_NAMED = re.compile(r"^(?:[\w$]+\.)+[A-Z][\w$]*(?:Exception|Error)(?:: |$)")
# The parser of csv files tells its settings and the data too, and counts lines from 0.
_BROKEN_QUOTE = re.compile(r"^.*?(Unescaped quote character .*? CSV field)\..*?line=(\d+).*", re.DOTALL)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Cause:
    """One exception of a chain.

    Args:
        classes: Its class and those that it extends, by their full names; Python's own without a module.
        message: What it says, which may repeat the user's data.
        condition: Spark's or Delta's error condition, such as `CAST_INVALID_INPUT`.
        sql_state: The SQL state, of Spark, Delta or a database.
        code: What else tells it apart: the status of an HTTP answer, `errno`, the number of a MySQL error.
        parameters: What Spark put into the message of the condition.
        fragments: The pieces of SQL that Spark says it comes from.
    """

    classes: tuple[str, ...]
    message: str = ""
    condition: str | None = None
    sql_state: str | None = None
    code: int | str | None = None
    parameters: Mapping[str, str] = field(default_factory=dict[str, str])
    fragments: tuple[str, ...] = ()

    def is_a(self, *names: str) -> bool:
        """Whether it is of one of these classes, or extends one."""
        return any(name in self.classes for name in names)

    def has_condition(self, *names: str) -> bool:
        """Whether it has one of these conditions; a condition stands for its subclasses, too."""
        return self.condition is not None and any(f"{self.condition}.".startswith(f"{name}.") for name in names)

    @property
    def text(self) -> str:
        """The message in one line, for people: without condition, SQL state, stack and plan."""
        # A query's plan, in which everything stands that it might have failed with.
        said = self.message.split("\n=== Streaming Query ===", 1)[0].split("\n\tat ", 1)[0]
        said = _NAMED.sub("", _STATE.sub("", _CONDITION.sub("", said, count=1)))
        said = _BROKEN_QUOTE.sub(lambda found: f"{found[1]}, in line {int(found[2]) + 1}", said)
        return " ".join(_COLOUR.sub("", said).split())

    def has_state(self, *prefixes: str) -> bool:
        """Whether its SQL state begins with one of these."""
        return self.sql_state is not None and self.sql_state.startswith(prefixes)


@dataclass(frozen=True)
class Failure:
    """An exception with its causes.

    Args:
        causes: The exception itself comes first, what began it all last.
    """

    causes: tuple[Cause, ...]

    def innermost_first(self) -> Iterator[Cause]:
        """The causes, from what began it all to the exception itself."""
        return reversed(self.causes)


def failure_of(error: BaseException) -> Failure:
    """What an exception says in codes, with all its causes.

    Args:
        error: Any exception; those of pyspark and py4j are followed into the JVM, or to the Spark Connect server.
    """
    return Failure(tuple(_chain(error)))


def _chain(error: BaseException) -> Iterator[Cause]:
    current: BaseException | None = error
    seen: set[int] = set()
    while current is not None and id(current) not in seen and len(seen) < _LONGEST_CHAIN:
        seen.add(id(current))
        thrown = _thrown_in_jvm(current)
        if thrown is not None:
            yield from _java_chain(thrown) or [_python_cause(current)]
            return
        if told := _told_by_server(current):
            yield from told
            return
        cause = _python_cause(current)
        yield cause
        yield from _raised_in_python(cause)
        # pyspark keeps what a query failed at there.
        inner = getattr(current, "_cause", None)
        current = inner if isinstance(inner, BaseException) else current.__cause__
        if current is None and cause.condition is None:
            yield from _task_failure(cause.message)


def _thrown_in_jvm(error: BaseException) -> Any:
    for name in ("java_exception", "_origin"):
        thrown = getattr(error, name, None)
        if thrown is not None:
            return thrown
    return None


def _java_chain(thrown: Any) -> list[Cause]:
    from py4j.protocol import Py4JError

    causes: list[Cause] = []
    try:
        while thrown is not None and len(causes) < _LONGEST_CHAIN:
            causes += _java_causes(thrown)
            # JDBC drivers chain what a batch failed at beside its cause.
            following = thrown.getCause()
            if following is None and causes[-1].is_a("java.sql.SQLException"):
                following = thrown.getNextException()
            thrown = following
    except (Py4JError, OSError):
        # The JVM has gone meanwhile.
        return causes
    return causes


def _java_causes(thrown: Any) -> Iterator[Cause]:
    classes = tuple(_java_classes(thrown.getClass()))
    message = thrown.getMessage() or ""
    condition, state, parameters, fragments = _of_spark(thrown)
    code = None
    if "java.sql.SQLException" in classes:
        state, code = thrown.getSQLState(), thrown.getErrorCode() or None
    elif {"software.amazon.awssdk.core.exception.SdkServiceException", _HADOOP_S3} & set(classes):
        code = thrown.statusCode()
    cause = Cause(classes, message, condition, state, code, parameters, fragments)
    yield cause
    yield from _raised_in_python(cause)
    if condition is None and thrown.getCause() is None:
        yield from _task_failure(message)


_HADOOP_S3 = "org.apache.hadoop.fs.s3a.AWSServiceIOException"


def _java_classes(java_class: Any) -> Iterator[str]:
    while java_class is not None and (name := java_class.getName()) not in _NO_CLASSES:
        yield name
        java_class = java_class.getSuperclass()


def _of_spark(thrown: Any) -> tuple[str | None, str | None, Mapping[str, str], tuple[str, ...]]:
    from py4j.java_gateway import is_instance_of  # pyright: ignore[reportUnknownVariableType]
    from pyspark import SparkContext

    gateway: Any = SparkContext._gateway  # pyright: ignore[reportPrivateUsage]
    if gateway is None or not is_instance_of(gateway, thrown, "org.apache.spark.SparkThrowable"):
        return None, None, {}, ()
    told = gateway.jvm.PythonErrorUtils
    condition = told.getCondition(thrown)
    parameters = dict(told.getMessageParameters(thrown)) if condition else {}
    fragments = tuple(
        dict.fromkeys(
            context.fragment() for context in told.getQueryContext(thrown) if context.contextType().toString() == "SQL"
        )
    )
    return condition, told.getSqlState(thrown), parameters, fragments


def _task_failure(message: str) -> Iterator[Cause]:
    """What Spark says that a task failed at, of an exception that came without its cause."""
    if found := _TASK_FAILURE.match(message):
        cause = Cause((found["name"],), found["message"].strip())
        yield cause
        yield from _raised_in_python(cause)


def _raised_in_python(cause: Cause) -> Iterator[Cause]:
    """What Python raised, and what that came from, of an exception that has the tracebacks for its text."""
    if not cause.is_a(*_CALLS_PYTHON):
        return
    *earlier, last = _CHAINED.split(cause.message)
    texts = [last]
    while earlier and earlier.pop() is not None:
        texts.append(earlier.pop())
    for text in texts:
        if found := _TRACEBACK.search(text):
            yield _named_in_python(found["name"], (found["message"] or "").strip())


def _named_in_python(name: str, message: str) -> Cause:
    known = getattr(builtins, name, None)
    if isinstance(known, type) and issubclass(known, BaseException):
        return Cause(tuple(_python_classes(known)), message)
    return Cause((name,), message)


def _python_cause(error: BaseException) -> Cause:
    classes = tuple(_python_classes(type(error)))
    condition = _asked(error, "getCondition")
    return Cause(
        classes=classes,
        message=_said(error),
        condition=condition,
        sql_state=_asked(error, "getSqlState") or getattr(error, "sqlstate", None),
        code=_code(error),
        parameters=_asked(error, "getMessageParameters") or {},
        fragments=_fragments(error),
    )


def _python_classes(error: type[BaseException]) -> Iterator[str]:
    for python_class in error.__mro__:
        if python_class.__name__ not in _NO_CLASSES:
            module = python_class.__module__
            yield python_class.__qualname__ if module == "builtins" else f"{module}.{python_class.__qualname__}"


def _said(error: BaseException) -> str:
    from py4j.protocol import Py4JError

    described = getattr(error, "_desc", None) or getattr(error, "_message", None)
    if isinstance(described, str):
        return described
    try:
        return str(error)
    except (Py4JError, OSError):
        # The text of an exception in the JVM is asked for there, and the JVM has gone.
        return type(error).__name__


def _asked(error: BaseException, method: str) -> Any:
    """What pyspark says by one of its methods; None for an exception of another's."""
    from py4j.protocol import Py4JError

    ask = getattr(error, method, None)
    try:
        return ask() if callable(ask) else None
    except (Py4JError, OSError, AssertionError):
        return None


def _fragments(error: BaseException) -> tuple[str, ...]:
    contexts: Any = _asked(error, "getQueryContext") or ()
    found = (context.fragment() for context in contexts if context.contextType().name == "SQL")
    return tuple(dict.fromkeys(fragment for fragment in found if fragment))


def _code(error: BaseException) -> int | str | None:
    response = getattr(error, "response", None)
    if isinstance(response, Mapping):
        # botocore's; to a HEAD there is no body that would say it in words.
        return response.get("ResponseMetadata", {}).get("HTTPStatusCode")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    if (status := getattr(response, "status_code", None)) is not None:
        return status
    if (status := _asked(error, "getGrpcStatusCode")) is not None:
        return status.name
    if isinstance(error, OSError):
        return error.errno
    # PyMySQL's.
    first = error.args[0] if error.args else None
    return first if isinstance(first, int) else None


def keep_error_details(session: SparkSession) -> None:
    """Have what a Spark Connect server says of an error kept until it is asked for; pyspark drops all but the first.

    Args:
        session: A session on a server.
    """
    client: Any = session.client
    fetch = client._fetch_enriched_error

    def fetched(info: Any) -> Any:
        _of_thread.details = fetch(info)
        return _of_thread.details

    client._fetch_enriched_error = fetched


_of_thread = threading.local()


def _told_by_server(error: BaseException) -> list[Cause]:
    details: Any = getattr(_of_thread, "details", None)
    message = getattr(error, "_message", None)
    if details is None or not isinstance(message, str) or not details.HasField("root_error_idx"):
        return []
    errors, index = details.errors, details.root_error_idx
    if not message.endswith(errors[index].message):
        # Those of an earlier error.
        return []
    causes: list[Cause] = []
    while len(causes) < _LONGEST_CHAIN:
        causes += _server_cause(errors[index])
        if not errors[index].HasField("cause_idx"):
            break
        index = errors[index].cause_idx
    return causes


def _server_cause(told: Any) -> Iterator[Cause]:
    spark = told.spark_throwable if told.HasField("spark_throwable") else None
    condition = (spark.error_class or None) if spark is not None else None
    cause = Cause(
        classes=tuple(name for name in told.error_type_hierarchy if name not in _NO_CLASSES),
        message=told.message,
        condition=condition,
        sql_state=(spark.sql_state or None) if spark is not None else None,
        parameters=dict(spark.message_parameters) if spark is not None else {},
        fragments=tuple(dict.fromkeys(c.fragment for c in spark.query_contexts if c.fragment)) if spark else (),
    )
    yield cause
    yield from _raised_in_python(cause)
    if condition is None and not told.HasField("cause_idx"):
        yield from _task_failure(told.message)
