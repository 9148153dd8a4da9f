"""A failure is told by the class, the condition or the SQL state of what began it, never by words of the data."""

from __future__ import annotations

import errno
from types import SimpleNamespace
from typing import Any

import pytest
from pyspark.errors import PythonException
from pyspark.sql import SparkSession
from pyspark.sql.connect.proto import FetchErrorDetailsResponse

from devtools.pipelines import extract, pipeline_of, transform
from pipeline_platform.config.step import Step
from pipeline_platform.connectors.delta.errors import REPEATED_KEYS
from pipeline_platform.engine.failure_rules import rule_for, rules
from pipeline_platform.engine.failures import explained, is_transient
from pipeline_platform.engine.spark.jvm_death import JvmDeath
from pipeline_platform.frames.causes import Cause, Failure, failure_of, keep_error_details
from pipeline_platform.frames.failure_text import failure_message
from pipeline_platform.steps.malformed import MALFORMED_RECORD

DATA = (
    "customer wrote 'connection refused by the clerk'\njava.net.ConnectException: Connection refused\n\tat x\n"
    "Caused by: java.net.SocketTimeoutException: Read timed out, deadlock, 503 Service Unavailable, "
    "DELTA_CONCURRENT_APPEND, No space left on device, java.lang.OutOfMemoryError"
)
SPARK = ("org.apache.spark.SparkException", "java.lang.Exception")
JDBC = ("org.postgresql.util.PSQLException", "java.sql.SQLException", "java.lang.Exception")
WRITING = Cause(SPARK, "[TASK_WRITE_FAILED] Task failed while writing rows.", "TASK_WRITE_FAILED", "58030")


def hint_of(*causes: Cause) -> str | None:
    found = rule_for(Failure(causes))
    return found[0].hint if found else None


def passes(*causes: Cause) -> bool:
    found = rule_for(Failure((WRITING, *causes)))
    return found is not None and found[0].transient


@pytest.mark.parametrize(
    "cause",
    [
        Cause(("java.net.ConnectException", "java.net.SocketException", "java.io.IOException")),
        Cause(("java.net.SocketTimeoutException", "java.io.InterruptedIOException", "java.io.IOException")),
        Cause(JDBC, "FATAL: terminating connection due to administrator command", sql_state="57P01"),
        Cause(JDBC, "FATAL: sorry, too many clients already", sql_state="53300"),
        Cause(JDBC, "ERROR: deadlock detected", sql_state="40P01"),
        Cause(JDBC, "An I/O error occurred while sending to the backend.", sql_state="08006"),
        Cause(("com.mysql.cj.jdbc.exceptions.CommunicationsException", "java.sql.SQLRecoverableException")),
        Cause(("java.sql.SQLException",), "Lock wait timeout exceeded", sql_state="HY000", code=1205),
        Cause(("pymysql.err.OperationalError", "pymysql.err.MySQLError"), "gone away", code=2006),
        Cause(("psycopg.errors.SerializationFailure", "psycopg.Error"), sql_state="40001"),
        Cause(("org.apache.kafka.common.errors.NotLeaderOrFollowerException", *[
            f"org.apache.kafka.common.errors.{name}" for name in ("InvalidMetadataException", "RetriableException")
        ])),
        Cause(("software.amazon.awssdk.services.s3.model.S3Exception",
               "software.amazon.awssdk.core.exception.SdkServiceException"), "slow down", code=503),
        Cause(("botocore.exceptions.ClientError",), code=429),
        Cause(("io.delta.exceptions.ConcurrentAppendException",), "", "DELTA_CONCURRENT_APPEND", "2D521"),
        Cause(("io.delta.exceptions.ProtocolChangedException",), "", "DELTA_PROTOCOL_CHANGED", "2D521"),
        Cause(("delta.exceptions.captured.MetadataChangedException", "delta.exceptions.base.MetadataChangedException")),
        Cause(("_internal.DeltaError",), "Generic S3 error: Error performing GET x in 1s: error sending request"),
        Cause(("pyspark.errors.exceptions.connect.SparkConnectException",), code="UNAVAILABLE"),
        Cause(("TimeoutError", "OSError"), "timed out"),
    ],
    ids=lambda cause: cause.classes[0],
)  # fmt: skip
def test_another_system_that_is_away_or_busy_is_tried_again(cause: Cause) -> None:
    assert passes(cause)


@pytest.mark.parametrize(
    "cause",
    [
        Cause(("org.apache.spark.SparkRuntimeException",), DATA, "USER_RAISED_EXCEPTION", "P0001"),
        Cause(("org.apache.spark.SparkNumberFormatException",), DATA, "CAST_INVALID_INPUT", "22018"),
        Cause(JDBC, f'ERROR: invalid input syntax for type integer: "{DATA}"', sql_state="22P02"),
        Cause(JDBC, f"ERROR: {DATA}", sql_state="P0001"),
        Cause(JDBC, f"ERROR: duplicate key value: ({DATA})", sql_state="23505"),
        Cause(("com.mysql.cj.jdbc.exceptions.MysqlDataTruncation", "java.sql.SQLException"), DATA, sql_state="22001"),
        Cause(("org.apache.spark.sql.catalyst.parser.ParseException",), DATA, "PARSE_SYNTAX_ERROR", "42601"),
        Cause(("java.lang.RuntimeException",), DATA),
        Cause(("java.lang.IllegalArgumentException",), DATA),
        Cause(("org.apache.spark.api.python.PythonException",), f"Traceback (most recent call last):\n  x\n{DATA}"),
        Cause(("ValueError",), DATA),
        Cause(("py4j.protocol.Py4JError",), DATA),
        Cause(("java.net.UnknownHostException", "java.io.IOException"), "no.such.host"),
        Cause(("software.amazon.awssdk.services.s3.model.S3Exception",
               "software.amazon.awssdk.core.exception.SdkServiceException"), DATA, code=403),
        Cause(("org.apache.kafka.common.errors.UnknownTopicOrPartitionException",
               "org.apache.kafka.common.errors.RetriableException")),
        Cause(("org.apache.kafka.common.errors.SaslAuthenticationException",
               "org.apache.kafka.common.errors.AuthenticationException")),
        Cause(("java.lang.OutOfMemoryError",), "Java heap space"),
    ],
    ids=lambda cause: f"{cause.classes[0]} {cause.condition or cause.sql_state or cause.code}",
)  # fmt: skip
def test_what_the_data_says_is_never_a_reason_to_try_again(cause: Cause) -> None:
    assert not passes(cause)
    hint = hint_of(WRITING, cause) or ""
    assert "disk" not in hint
    assert "memory" not in hint or "OutOfMemory" in cause.classes[0]


@pytest.mark.parametrize(
    ("cause", "hint"),
    [
        (Cause(("X",), f"[USER_RAISED_EXCEPTION] {REPEATED_KEYS} id: 1", "USER_RAISED_EXCEPTION"), "deduplicate"),
        (Cause(("X",), f"{MALFORMED_RECORD}: topic x", "USER_RAISED_EXCEPTION"), "onMalformed"),
        (Cause(("X",), f"he wrote: {MALFORMED_RECORD}", "USER_RAISED_EXCEPTION"), "that the expression raises"),
        (Cause(("X",), condition="UNRESOLVED_COLUMN.WITH_SUGGESTION"), "columns that are there"),
        (Cause(("X",), condition="UNRESOLVED_COLUMNS"), None),
        (Cause(("X",), condition="PARQUET_TYPE_ILLEGAL"), "microseconds"),
        (Cause(("X",), "No FileSystem for scheme", condition="PATH_NOT_FOUND"), "check the path"),
        (Cause(("java.io.FileNotFoundException", "java.io.IOException"), "/x (Permission denied)"), "written to"),
        (Cause(("java.io.FileNotFoundException",), "/x (No such file or directory)"), "check the path"),
        (Cause(("java.io.IOException",), "No space left on device"), "free some disk space"),
        (Cause(("java.io.IOException",), "No space left on device, he wrote"), None),
        (Cause(("OSError",), code=errno.ENOSPC), "free some disk space"),
        (Cause(("OSError",), code=errno.EROFS), "can be written to"),
        (Cause(("ExecutorLostFailure",), "Container killed"), "spark.executor.memory"),
        (Cause(("software.amazon.awssdk.core.exception.SdkServiceException",), code=403), "access key"),
        (Cause(("software.amazon.awssdk.core.exception.SdkServiceException",), "no such bucket", code=404), "bucket,"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)  # fmt: skip
def test_the_hint_is_that_of_what_began_it(cause: Cause, hint: str | None) -> None:
    found = hint_of(WRITING, cause)
    assert found is None if hint is None else hint in (found or "")


def test_what_is_around_decides_only_where_the_innermost_says_nothing() -> None:
    unread = Cause(SPARK, "Encountered error while reading file /x.", "FAILED_READ_FILE.NO_HINT", "KD001")
    assert "damaged" in (hint_of(WRITING, unread, Cause(("java.lang.RuntimeException",), "not a Parquet file")) or "")
    assert passes(unread, Cause(("java.net.ConnectException",), "Connection refused"))


def test_no_rule_looks_at_text_without_a_class_or_a_condition() -> None:
    assert all(rule.conditions or rule.states or rule.classes for rule in rules())


def test_a_message_has_what_began_it_and_where() -> None:
    reading = Cause(
        SPARK, "[FAILED_READ_FILE.NO_HINT] Encountered error while reading file file:/x/a.parquet. SQLSTATE: KD001"
    )
    broken = Cause(("java.lang.RuntimeException",), "is not a Parquet file\n\tat org.x.Y(Y.java)")
    assert (
        failure_message(Failure((WRITING, reading, broken)))
        == "is not a Parquet file (while reading file:/x/a.parquet)"
    )
    cast = Cause(("X",), "[CAST_OVERFLOW] NaN is no INT. SQLSTATE: 22003\n== SQL ==\nx", fragments=("CAST(a AS INT)",))
    assert failure_message(Failure((cast,))) == "NaN is no INT. (in the expression CAST(a AS INT))"
    refused = Cause(("java.net.ConnectException",), "Connection refused")
    call = Cause(("java.net.ConnectException",), "Call to h:9 failed: java.net.ConnectException: Connection refused")
    assert failure_message(Failure((call, refused))) == call.message
    assert (
        failure_message(Failure((Cause(JDBC, "h:1 does not answer."), refused)))
        == "h:1 does not answer: Connection refused"
    )
    assert failure_message(Failure((Cause(("java.io.IOException",), "org.x.YException: is gone"),))) == "is gone"


def test_what_a_task_failed_at_is_read_from_the_begin_of_sparks_own_words() -> None:
    class Told(Exception):
        _desc = (
            "Job aborted due to stage failure: Task 0 in stage 1.0 failed 4 times, most recent failure: Lost task 0.3 "
            "in stage 1.0 (TID 7) (10.0.0.1 executor 1): java.net.ConnectException: Connection refused\n\tat x"
        )

    assert failure_of(Told()).causes[-1] == Cause(("java.net.ConnectException",), "Connection refused")
    Told._desc = f"he wrote: {Told._desc}"
    assert len(failure_of(Told()).causes) == 1


FRAMES = "".join(f'  File "/opt/spark/python/pyspark/worker.py", line {n}, in f\n    f()\n    ^^^\n' for n in range(20))
TRACEBACK = f"Traceback (most recent call last):\n{FRAMES}"
MISSING = f"{TRACEBACK}ModuleNotFoundError: No module named 'pyarrow'\n"
FOLLOWED = "\nThe above exception was the direct cause of the following exception:\n\n"
MET = "\nDuring handling of the above exception, another exception occurred:\n\n"
WORKER = "org.apache.spark.api.python.PythonException"


def on_server(name: str, message: str) -> Exception:
    """What pyspark raises for an exception of a Spark Connect server."""
    details = FetchErrorDetailsResponse(root_error_idx=0)
    details.errors.add(message=message, error_type_hierarchy=[name, "java.lang.Object"])
    client = SimpleNamespace(_fetch_enriched_error=lambda _: details)
    session: Any = SimpleNamespace(client=client)
    keep_error_details(session)
    client._fetch_enriched_error(None)
    return PythonException(message)


@pytest.mark.parametrize(
    ("text", "classes", "said"),
    [
        (MISSING, ["ModuleNotFoundError"], "No module named 'pyarrow'"),
        (f"{TRACEBACK}own.module.Odd: of two\nlines\n", ["own.module.Odd"], "of two lines"),
        (
            f"{MISSING}{FOLLOWED}{TRACEBACK}ValueError: odd\n",
            ["ValueError", "ModuleNotFoundError"],
            "odd: No module named 'pyarrow'",
        ),
        (f"{MISSING}{MET}{TRACEBACK}ValueError: odd\n", ["ValueError"], "odd"),
    ],
)  # fmt: skip
def test_of_a_python_workers_traceback_the_exception_is_told(text: str, classes: list[str], said: str) -> None:
    aborted = (
        "Job aborted due to stage failure: Task 0 in stage 1.0 failed 4 times, most recent failure: Lost task 0.3 in "
        f"stage 1.0 (TID 7) (10.0.0.1 executor 1): {WORKER}: {text}\n\tat org.apache.spark.X"
    )
    for error in (PythonException(text), on_server(WORKER, text), on_server(SPARK[0], aborted)):
        failure = failure_of(error)
        assert [cause.classes[0] for cause in failure.causes][-len(classes) :] == classes
        assert failure_message(failure) == said


def test_a_package_that_workers_lack_is_to_be_installed_in_their_python() -> None:
    assert "PYSPARK_PYTHON" in (hint_of(Cause((WORKER,), MISSING)) or "")


def test_pythons_errors_are_followed_to_what_they_were_raised_from() -> None:
    error = ValueError(DATA)
    error.__cause__ = ConnectionResetError(errno.ECONNRESET, "reset by peer")
    assert [cause.classes[0] for cause in failure_of(error).causes] == ["ValueError", "ConnectionResetError"]
    assert is_transient(error)
    error.__cause__, error.__context__ = None, error.__cause__
    assert not is_transient(error)


def test_a_fault_of_a_program_is_not_told_as_one_of_the_file() -> None:
    step = pipeline_of([extract("fromRate", rowsPerSecond=1)]).steps[0]
    told = explained(KeyError("nothing"), step)
    assert (
        told.hint
        == "this is a fault in the code of 'fromRate' (package pipeline_platform), not in the file: report it there"
    )
    assert explained(ValueError("12x"), step).hint == "fix the step or its data and run again"


@pytest.mark.parametrize(
    ("death", "said", "hint"),
    [
        (JvmDeath(-9), "was killed", "more memory"),
        (JvmDeath(137), "was killed", "more memory"),
        (JvmDeath(52), "ran out of memory", "raise 'spark.driver.memory'"),
        (JvmDeath(1, "x java.lang.OutOfMemoryError: Java heap space"), "ran out of memory", "raise"),
        (JvmDeath(-6, "# /tmp/hs_err_pid7.log #"), "crashed; see /tmp/hs_err_pid7.log", "another version"),
        (JvmDeath(-15), "ended by a signal", "run again"),
        (JvmDeath(3), "has ended, with exit code 3", "run again"),
    ],
)  # fmt: skip
def test_a_dead_jvm_is_told_with_what_it_died_of(death: JvmDeath, said: str, hint: str) -> None:
    message, next_step = death.message_and_hint()
    assert message.startswith("Spark's process (Java)")
    assert said in message
    assert hint in next_step
    assert death.error().retryable


def step_of(spark: SparkSession) -> Step:
    return pipeline_of([extract("fromRate", rowsPerSecond=1), transform("filterRows", condition="true")]).steps[1]


def raised(action: Any) -> Exception:
    try:
        action()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what is looked at.
        return error
    raise AssertionError("nothing was raised")


def test_sparks_exceptions_are_followed_into_the_jvm(spark: SparkSession) -> None:
    step = step_of(spark)

    def explain(sql: str) -> Any:
        return explained(
            raised(lambda: spark.sql(sql).repartition(2).write.format("noop").mode("overwrite").save()), step
        )

    clerk = explain("SELECT raise_error('connection refused by the clerk') AS x FROM range(3)")
    assert (clerk.message, clerk.retryable) == ("connection refused by the clerk", False)
    cast = explain("SELECT CAST(concat('connection reset', id) AS INT) AS n FROM range(3)")
    assert "in the expression CAST(concat('connection reset', id) AS INT)" in cast.message
    assert (cast.retryable, "try_cast" in cast.hint) == (False, True)
    refused = explained(raised(lambda: spark.read.text("hdfs://127.0.0.1:9/x")), step)
    assert refused.retryable
    assert "Connection refused" in refused.message
    for url, driver in (("postgresql", "org.postgresql.Driver"), ("mysql", "com.mysql.cj.jdbc.Driver")):
        options = {"url": f"jdbc:{url}://127.0.0.1:1/x", "dbtable": "x", "driver": driver}
        assert is_transient(raised(lambda given=options: spark.read.format("jdbc").options(**given).load()))


def test_a_streams_exception_is_followed_to_what_it_failed_at(spark: SparkSession) -> None:
    rows = spark.readStream.format("rate-micro-batch").option("rowsPerBatch", 1).load()
    failing = rows.selectExpr("raise_error('connection refused by the clerk') AS x")
    query = failing.writeStream.format("noop").trigger(availableNow=True).start()
    raised(query.awaitTermination)
    error = query.exception()
    assert error is not None
    assert failure_of(error).causes[-1].condition == "USER_RAISED_EXCEPTION"
    assert explained(error, step_of(spark)).message == "connection refused by the clerk"
    assert not is_transient(error)
