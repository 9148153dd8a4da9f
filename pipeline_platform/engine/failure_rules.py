"""What to do about a failure, by the class, condition or SQL state of what began it.

To tell another error apart, add a row: here for what Spark or this machine says, and to the rules of its connector for
what a system says.
"""

from __future__ import annotations

import errno
from functools import cache

from pipeline_platform.frames.causes import Cause, Failure
from pipeline_platform.frames.rules import MAKE_FIRST, UNREACHABLE, Rule
from pipeline_platform.registry import connectors

DAMAGED_CHECKPOINT = (
    "restore the newest copy of the whole checkpoint (a copy older than what was loaded is refused), or start over "
    "with reset-checkpoint"
)
"""What to do about a checkpoint that can't be read."""


def rule_for(failure: Failure) -> tuple[Rule, Cause] | None:
    """The rule that tells most about a failure, and the cause it is about; None if there is none.

    What began it all is looked at first: what is around it says less.

    Args:
        failure: The failure.
    """
    for cause in failure.innermost_first():
        for rule in rules():
            if rule.fits(cause):
                return rule, cause
    return None


@cache
def rules() -> tuple[Rule, ...]:
    """All rules: those of the connectors first, as they say more."""
    return (*(rule for connector in connectors() for rule in connector.rules), *_RULES)


_DISK_FULL = "free some disk space and run again: nothing was committed"
_NOT_WRITABLE = "check that the folder can be written to"
_MORE_MEMORY = "raise 'spark.driver.memory' in sparkConf, or repartition the data"

_RULES: tuple[Rule, ...] = (
    Rule("fix the rows that the expression raises this for, or filter them out", conditions=("USER_RAISED_EXCEPTION",)),
    # Values.
    Rule(
        "use try_cast or the like in the expression, or filter out the values that can't be converted",
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
        "use try_divide, or filter out the zeros",
        conditions=("DIVIDE_BY_ZERO", "INTERVAL_DIVIDED_BY_ZERO", "REMAINDER_BY_ZERO"),
    ),
    # Names and types.
    Rule(
        "check the path; if another pipeline creates the table, run that one first",
        conditions=("TABLE_OR_VIEW_NOT_FOUND",),
    ),
    Rule(MAKE_FIRST, conditions=("PATH_NOT_FOUND", "FAILED_READ_FILE.FILE_NOT_EXIST")),
    Rule(
        MAKE_FIRST,
        classes=("java.io.FileNotFoundException", "java.nio.file.NoSuchFileException", "FileNotFoundError"),
        # Java says "Permission denied" and "Not a directory" by them, too.
        says=r"(?i)does not exist|no such file|not found",
    ),
    Rule("use one of the columns that are there", conditions=("UNRESOLVED_COLUMN", "FIELD_NOT_FOUND")),
    Rule("check the spelling of the function", conditions=("UNRESOLVED_ROUTINE",)),
    Rule("cast the operands to compatible types", conditions=("DATATYPE_MISMATCH",)),
    Rule(
        "use a path or URI that Spark can read",
        conditions=("UNSUPPORTED_FILE_SYSTEM",),
        classes=("org.apache.hadoop.fs.UnsupportedFileSystemException",),
    ),
    Rule("correct the setting in sparkConf", conditions=("INVALID_CONF_VALUE", "CANNOT_MODIFY_CONFIG")),
    # Streams.
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
    # Other systems that are away for a while.
    Rule(
        f"{UNREACHABLE}; 'timeoutSeconds' is how long it may take to answer",
        transient=True,
        classes=("java.net.SocketTimeoutException",),
    ),
    Rule(
        UNREACHABLE,
        transient=True,
        classes=(
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
        ),
    ),
    Rule(
        "check the host name, and that this machine can resolve it",
        classes=("java.net.UnknownHostException", "java.nio.channels.UnresolvedAddressException", "socket.gaierror"),
    ),
    Rule(
        "check that the Spark Connect server is up and can be reached",
        transient=True,
        classes=("pyspark.errors.exceptions.connect.SparkConnectException",),
        codes=frozenset({"UNAVAILABLE"}),
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
        "raise 'spark.executor.memory' or 'spark.executor.memoryOverhead' in sparkConf, or look at the executor's log",
        classes=("ExecutorLostFailure",),
    ),
    Rule(
        "split the pipeline: load an intermediate result, and continue from that; or raise -Xss in "
        "'spark.driver.extraJavaOptions'",
        classes=("java.lang.StackOverflowError",),
    ),
    Rule(
        "install the package where Spark's workers find it: in the Python that PYSPARK_PYTHON names on their machines",
        classes=("pyspark.errors.exceptions.base.PythonException", "org.apache.spark.api.python.PythonException"),
        says="(?m)^ModuleNotFoundError: No module named '",
    ),
    # What could not be read, if it is nothing of the above.
    Rule(
        "the file is damaged or truncated: restore it, or remove it from the folder",
        conditions=("FAILED_READ_FILE", "CANNOT_READ_FILE_FOOTER", "CANNOT_READ_FOOTER", "MALFORMED_AVRO_MESSAGE"),
        classes=("org.apache.avro.InvalidAvroMagicException", "org.apache.orc.FileFormatException"),
    ),
)
