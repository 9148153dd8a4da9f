"""What to do about a failure, by the class, condition or SQL state of what began it.

To tell another error apart, add a row. Text is looked at only within a class that has nothing else to tell its errors
apart by, and never in a class whose text repeats values of the data.
"""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass

from pipeline_platform.connectors.delta.sink import REPEATED_KEYS
from pipeline_platform.connectors.files.exact_text import LOST_TEXT
from pipeline_platform.connectors.jdbc.source_columns import UNHELD_VALUE
from pipeline_platform.engine.streaming.checkpoint import DAMAGED_CHECKPOINT
from pipeline_platform.frames.causes import Cause, Failure
from pipeline_platform.steps.malformed import MALFORMED_RECORD


@dataclass(frozen=True)
class Rule:
    """What a cause means, if it is any of these.

    Args:
        hint: What to do next.
        transient: Whether the same run may succeed when tried again unchanged.
        conditions: Error conditions of Spark and Delta, with their subclasses.
        states: SQL states, or how they begin.
        classes: Classes by their full names, with those that extend them.
        codes: Of those, only causes with one of these codes.
        says: Of those, only causes whose message matches this; a regular expression.
    """

    hint: str
    transient: bool = False
    conditions: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    codes: frozenset[int | str] | None = None
    says: str | None = None
    quotes: bool = False
    """Whether what `says` matches is all that is told: the platform's own words, in what the system made of them."""

    def told(self, cause: Cause) -> str | None:
        """What is told of the cause; None for its message."""
        found = re.search(self.says, cause.message) if self.quotes and self.says is not None else None
        return found[0] if found is not None else None

    def fits(self, cause: Cause) -> bool:
        """Whether the rule is about this cause."""
        if not (cause.has_condition(*self.conditions) or cause.has_state(*self.states) or cause.is_a(*self.classes)):
            return False
        if self.codes is not None and cause.code not in self.codes:
            return False
        return self.says is None or re.search(self.says, cause.message) is not None


def rule_for(failure: Failure) -> tuple[Rule, Cause] | None:
    """The rule that tells most about a failure, and the cause it is about; None if there is none.

    What began it all is looked at first: what is around it says less.

    Args:
        failure: The failure.
    """
    for cause in failure.innermost_first():
        for rule in RULES:
            if rule.fits(cause):
                return rule, cause
    return None


UNREACHABLE = "check that the other system is up and can be reached"
_DAMAGED = "the file is damaged or cut off: restore it, or take it out of the folder"
_DISK_FULL = "free some disk space and run again: nothing was committed"
_NOT_WRITABLE = "check that the folder can be written to"
_OTHER_WRITER = "another writer changed the same table at that moment; run again"
_MAKE_FIRST = "check the path; if another pipeline makes it, run that one first"
_ACCESS_KEY = "check the access key and its rights to the bucket"
_MORE_MEMORY = "set 'spark.driver.memory' higher in sparkConf, or repartition the data"
_NO_CONNECTION = (
    "java.net.ConnectException",
    "java.net.NoRouteToHostException",
    "java.net.SocketException",
    "java.net.http.HttpTimeoutException",
    "org.apache.hadoop.net.ConnectTimeoutException",
    "org.apache.http.conn.ConnectTimeoutException",
    "org.apache.http.NoHttpResponseException",
    "ConnectionError",
    "TimeoutError",
    "requests.exceptions.ConnectionError",
    "requests.exceptions.Timeout",
    "botocore.exceptions.EndpointConnectionError",
    "botocore.exceptions.ConnectionClosedError",
    "botocore.exceptions.ConnectTimeoutError",
)
_NO_ANSWER = (
    "java.net.SocketTimeoutException",
    "botocore.exceptions.ReadTimeoutError",
    "software.amazon.awssdk.core.exception.ApiCallTimeoutException",
    "software.amazon.awssdk.core.exception.ApiCallAttemptTimeoutException",
    "org.apache.hadoop.fs.s3a.AWSApiCallTimeoutException",
)
_STORE_ANSWERS = (
    "software.amazon.awssdk.core.exception.SdkServiceException",
    "org.apache.hadoop.fs.s3a.AWSServiceIOException",
    "botocore.exceptions.ClientError",
)
_KAFKA = "org.apache.kafka.common.errors."
_DELTA_RS = ("_internal.DeltaError", "OSError")

# Delta's own in Python extend nothing in common.
_CONFLICTS = (
    "DeltaConcurrentModificationException",
    "ConcurrentWriteException",
    "MetadataChangedException",
    "ProtocolChangedException",
    "ConcurrentAppendException",
    "ConcurrentDeleteReadException",
    "ConcurrentDeleteDeleteException",
    "ConcurrentTransactionException",
)


def _raised(words: str, hint: str) -> Rule:
    """The rule for what an expression of the platform's raises in these words."""
    return Rule(hint, conditions=("USER_RAISED_EXCEPTION",), says=rf"^(\[\w+\] )?{re.escape(words)}")


RULES: tuple[Rule, ...] = (
    # What the platform's own expressions raise.
    _raised(
        MALFORMED_RECORD, "mend the record or the schema it is read with, or set 'onMalformed' to quarantine or null"
    ),
    _raised(REPEATED_KEYS, "make the rows unique first, for example with deduplicate"),
    Rule(
        "take the value out, or cast the column to what a frame can hold, in 'query'; of a date or time 'invalidDates' "
        "can make null",
        classes=("java.sql.SQLException",),
        says=UNHELD_VALUE,
        quotes=True,
    ),
    _raised(LOST_TEXT, "change the key that the error names, or the value first, for example with enrichData"),
    Rule(
        "write a quote within a quoted value twice, or after 'escape'; the file can't be read beyond it",
        classes=("com.univocity.parsers.common.TextParsingException",),
        says="Unescaped quote character",
    ),
    Rule(
        "give the file the columns that 'schema' has, in its order; a batch finds them by name",
        classes=("java.lang.IllegalArgumentException",),
        says=r"^(CSV header does not conform to the schema|Number of column in CSV header is not equal)",
    ),
    Rule(
        "cast the column to the type that the table has, for example with enrichData",
        conditions=("DELTA_FAILED_TO_MERGE_FIELDS", "DELTA_MERGE_INCOMPATIBLE_DATATYPE"),
    ),
    Rule("mend the rows that the expression raises this for, or filter them", conditions=("USER_RAISED_EXCEPTION",)),
    # Values.
    Rule(
        "use try_cast or the like in the expression, or filter the values that can't be converted",
        conditions=(
            "CAST_INVALID_INPUT",
            "CAST_OVERFLOW",
            "CAST_OVERFLOW_IN_TABLE_INSERT",
            "CANNOT_PARSE_TIMESTAMP",
            "CANNOT_PARSE_TIME",
            "NUMERIC_VALUE_OUT_OF_RANGE",
        ),
    ),
    Rule("cast to a wider type first", conditions=("ARITHMETIC_OVERFLOW", "BINARY_ARITHMETIC_OVERFLOW")),
    Rule(
        "use try_divide, or filter the zeros",
        conditions=("DIVIDE_BY_ZERO", "INTERVAL_DIVIDED_BY_ZERO", "REMAINDER_BY_ZERO"),
    ),
    # Names and types.
    Rule(
        "check the path; if another pipeline makes the table, run that one first",
        conditions=(
            "DELTA_TABLE_NOT_FOUND",
            "DELTA_MISSING_DELTA_TABLE",
            "DELTA_PATH_DOES_NOT_EXIST",
            "DELTA_TABLE_ONLY_OPERATION",
            "TABLE_OR_VIEW_NOT_FOUND",
        ),
        classes=("_internal.TableNotFoundError",),
    ),
    Rule(_MAKE_FIRST, conditions=("PATH_NOT_FOUND", "FAILED_READ_FILE.FILE_NOT_EXIST")),
    Rule(
        _MAKE_FIRST,
        classes=("java.io.FileNotFoundException", "java.nio.file.NoSuchFileException", "FileNotFoundError"),
        # Java says "Permission denied" and "Not a directory" by them, too.
        says=r"(?i)does not exist|no such file|not found",
    ),
    Rule(
        "read one of the versions that the table still has",
        conditions=(
            "DELTA_VERSION_NOT_FOUND",
            "DELTA_VERSIONS_NOT_CONTIGUOUS",
            "DELTA_TIMESTAMP_GREATER_THAN_COMMIT",
            "DELTA_TIMESTAMP_EARLIER_THAN_COMMIT_RETENTION",
            "DELTA_TIMESTAMP_INVALID",
        ),
    ),
    Rule(
        "there are no files in the folder: check the path, or say the columns with 'schema'",
        conditions=("UNABLE_TO_INFER_SCHEMA",),
    ),
    Rule(
        "use one of the columns that are there", conditions=("UNRESOLVED_COLUMN", "FIELD_NOT_FOUND"), states=("42703",)
    ),
    Rule("check the spelling of the function", conditions=("UNRESOLVED_ROUTINE",)),
    Rule("cast the operands to types that go together", conditions=("DATATYPE_MISMATCH",)),
    Rule(
        "give 'schema' the types that the file has, or leave it out",
        conditions=("FAILED_READ_FILE.PARQUET_COLUMN_DATA_TYPE_MISMATCH",),
        classes=("org.apache.spark.sql.execution.datasources.SchemaColumnConvertNotSupportedException",),
    ),
    Rule(
        "give 'schema' the types that the file has, or leave it out",
        classes=("java.lang.ClassCastException",),
        says="is not a group",
    ),
    Rule(
        "have the file written with microseconds, or set 'spark.sql.legacy.parquet.nanosAsLong' in sparkConf, which "
        "reads nanoseconds as a number",
        conditions=("PARQUET_TYPE_ILLEGAL",),
    ),
    Rule(
        "use a path or URI that Spark can read",
        conditions=("UNSUPPORTED_FILE_SYSTEM",),
        classes=("org.apache.hadoop.fs.UnsupportedFileSystemException",),
    ),
    Rule("correct the setting in sparkConf", conditions=("INVALID_CONF_VALUE", "CANNOT_MODIFY_CONFIG")),
    # Streams.
    Rule(
        "a stream of a Delta table reads what is added; after another change begin anew, with reset-checkpoint",
        conditions=(
            "DELTA_SOURCE_IGNORE_DELETE",
            "DELTA_SOURCE_TABLE_IGNORE_CHANGES",
            "DELTA_SCHEMA_CHANGED",
            "DELTA_SCHEMA_CHANGED_WITH_VERSION",
            "DELTA_SCHEMA_CHANGED_WITH_STARTING_OPTIONS",
        ),
    ),
    Rule(
        "if the topic was made anew, its offsets are others: begin anew, with 'startingOffsets' earliest and "
        "reset-checkpoint; to go on and lose what is gone, set 'failOnDataLoss' to false for one start",
        conditions=(
            "KAFKA_DATA_LOSS.PARTITIONS_DELETED",
            "KAFKA_DATA_LOSS.PARTITIONS_DELETED_AND_GROUP_ID_CONFIG_PRESENT",
            "KAFKA_DATA_LOSS.PARTITION_OFFSET_CHANGED",
            "KAFKA_START_OFFSET_DOES_NOT_MATCH_ASSIGNED",
            "MISMATCHED_TOPIC_PARTITIONS_BETWEEN_START_OFFSET_AND_END_OFFSET",
        ),
    ),
    Rule(
        "messages that were still to be read are gone from the topic: find out which, then go on without them, with "
        "'failOnDataLoss' false for one start",
        conditions=("KAFKA_DATA_LOSS",),
        classes=("org.apache.kafka.clients.consumer.OffsetOutOfRangeException",),
    ),
    Rule(
        DAMAGED_CHECKPOINT,
        classes=(
            "java.lang.IllegalStateException",
            "java.lang.AssertionError",
            "java.io.IOException",
            "org.apache.spark.SparkException",
        ),
        says=r"^(assertion failed: )?(Log file was malformed|Failed to read log file|Incomplete log file)",
    ),
    # Other systems that are away for a while, or busy.
    Rule(
        f"{UNREACHABLE}; 'timeoutSeconds' says how long it may take to answer",
        transient=True,
        classes=_NO_ANSWER,
    ),
    Rule(UNREACHABLE, transient=True, classes=_NO_CONNECTION),
    Rule(
        "check the host name, and that this machine can resolve it",
        classes=("java.net.UnknownHostException", "java.nio.channels.UnresolvedAddressException", "socket.gaierror"),
    ),
    Rule(
        _OTHER_WRITER,
        transient=True,
        states=("2D521", "40000"),
        classes=(
            "io.delta.exceptions.DeltaConcurrentModificationException",
            "org.apache.spark.sql.delta.DeltaConcurrentModificationException",
            "_internal.CommitFailedError",
            *(f"delta.exceptions.base.{name}" for name in _CONFLICTS),
        ),
    ),
    Rule(
        "check 'topic'; if there is no such topic yet, make it first",
        classes=(
            f"{_KAFKA}UnknownTopicOrPartitionException",
            f"{_KAFKA}InvalidTopicException",
            "org.apache.kafka.clients.consumer.NoOffsetForPartitionException",
        ),
    ),
    Rule(
        "check the user, the password and the rights that the credentials for Kafka give",
        classes=(f"{_KAFKA}AuthenticationException", f"{_KAFKA}AuthorizationException"),
    ),
    Rule(UNREACHABLE, transient=True, classes=(f"{_KAFKA}RetriableException",)),
    Rule(UNREACHABLE, transient=True, classes=_STORE_ANSWERS, codes=frozenset({429, 500, 502, 503, 504})),
    Rule(_ACCESS_KEY, classes=_STORE_ANSWERS, codes=frozenset({401, 403})),
    Rule(
        "check the bucket, the endpoint and the region",
        classes=_STORE_ANSWERS,
        codes=frozenset({404}),
        says="(?i)bucket",
    ),
    Rule(_MAKE_FIRST, classes=_STORE_ANSWERS, codes=frozenset({404})),
    Rule(
        _ACCESS_KEY,
        classes=(
            "org.apache.hadoop.fs.s3a.auth.NoAuthWithAWSException",
            "org.apache.hadoop.fs.s3a.auth.NoAwsCredentialsException",
            "botocore.exceptions.NoCredentialsError",
        ),
    ),
    Rule(
        UNREACHABLE,
        transient=True,
        # A connection that is lost or refused, a server that starts or stops, one that has no room for another user.
        states=("08000", "08001", "08003", "08006", "08007", "08S01", "57P01", "57P02", "57P03", "53300"),
        classes=(
            "java.sql.SQLTransientConnectionException",
            "java.sql.SQLRecoverableException",
        ),
    ),
    Rule(
        "another session was at the same rows or tables; run again",
        transient=True,
        # Not 40002, an integrity constraint that is looked at at the end.
        states=("40001", "40P01", "40003", "55P03"),
        classes=("java.sql.SQLTransactionRollbackException",),
    ),
    Rule(
        UNREACHABLE,
        transient=True,
        classes=("pymysql.err.MySQLError",),
        codes=frozenset({1040, 1053, 2002, 2003, 2006, 2013}),
    ),
    Rule(
        "another session was at the same rows or tables; run again",
        transient=True,
        classes=("pymysql.err.MySQLError", "java.sql.SQLException"),
        codes=frozenset({1205, 1213}),
    ),
    Rule(
        "check that the Spark Connect server is up and can be reached",
        transient=True,
        classes=("pyspark.errors.exceptions.connect.SparkConnectException",),
        codes=frozenset({"UNAVAILABLE"}),
    ),
    # delta-rs has words only.
    Rule(
        _ACCESS_KEY,
        classes=_DELTA_RS,
        says=r"^Generic S3 error: .*(401 Unauthorized|403 Forbidden)|^The operation lacked the necessary privileges",
    ),
    Rule(
        UNREACHABLE,
        transient=True,
        classes=_DELTA_RS,
        says=r"^Generic S3 error: .*(error sending request|connection error|HTTP error|\b(429|50[0234])\b)",
    ),
    # This machine.
    Rule(
        _DISK_FULL,
        classes=("java.io.IOException", "org.apache.hadoop.fs.FSError", "_internal.DeltaError"),
        says=r"(No space left on device|Disk quota exceeded)( \(os error \d+\))?$",
    ),
    Rule(_DISK_FULL, classes=("OSError",), codes=frozenset({errno.ENOSPC, errno.EDQUOT})),
    Rule(
        _NOT_WRITABLE,
        conditions=("DELTA_CANNOT_CREATE_LOG_PATH",),
        classes=(
            "java.nio.file.AccessDeniedException",
            "java.nio.file.ReadOnlyFileSystemException",
            "org.apache.hadoop.security.AccessControlException",
        ),
    ),
    Rule(
        _NOT_WRITABLE,
        classes=("java.io.IOException",),
        says=r"^Mkdirs failed|\(?(Permission denied|Read-only file system|Not a directory)\)?$",
    ),
    Rule(_NOT_WRITABLE, classes=("OSError",), codes=frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR})),
    Rule(_MORE_MEMORY, classes=("java.lang.OutOfMemoryError",), conditions=("UNABLE_TO_ACQUIRE_MEMORY",)),
    Rule(
        "set 'spark.executor.memory' or 'spark.executor.memoryOverhead' higher in sparkConf, or look into the "
        "executor's log",
        classes=("ExecutorLostFailure",),
    ),
    Rule(
        "split the pipeline: load what is there halfway, and go on from that; or set -Xss higher in "
        "'spark.driver.extraJavaOptions'",
        classes=("java.lang.StackOverflowError",),
    ),
    Rule(
        "install the package where Spark's workers find it: in the Python that PYSPARK_PYTHON names on their machines",
        classes=("pyspark.errors.exceptions.base.PythonException", "org.apache.spark.api.python.PythonException"),
        says="(?m)^ModuleNotFoundError: No module named 'pipeline_platform'",
    ),
    # What could not be read, if it is nothing of the above.
    Rule(
        _DAMAGED,
        conditions=("FAILED_READ_FILE", "CANNOT_READ_FILE_FOOTER", "CANNOT_READ_FOOTER", "MALFORMED_AVRO_MESSAGE"),
        classes=("org.apache.avro.InvalidAvroMagicException", "org.apache.orc.FileFormatException"),
    ),
)
