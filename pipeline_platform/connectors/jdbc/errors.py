"""What the errors of databases mean, whichever database it is."""

from __future__ import annotations

from pipeline_platform.connectors.jdbc.source_columns import unheld
from pipeline_platform.frames.rules import UNREACHABLE, Rule

OTHER_SESSION = "another session was using the same rows or tables; run again"
"""What to do about a deadlock, or a lock that was waited for too long."""
_AS_TEXT = "CAST(... AS text), in MySQL CAST(... AS char)"

RULES = (
    Rule(
        "exclude the value with 'query', or read the column there as a decimal that a frame can hold, CAST(... AS "
        f"decimal(38,18)), or as text, {_AS_TEXT}",
        classes=("java.sql.SQLException",),
        says=unheld("number"),
        quotes=True,
    ),
    Rule(
        f"exclude the value with 'query', or read the column there as text, {_AS_TEXT}; with 'invalidDates' \"null\" "
        "it becomes NULL",
        classes=("java.sql.SQLException",),
        says=unheld("date"),
        quotes=True,
    ),
    Rule(
        f"a frame has a time as a timestamp of the day 1970-01-01 in UTC: read the column with 'query' as text, "
        f"{_AS_TEXT}; with 'invalidDates' \"null\" what is not of that day becomes NULL",
        classes=("java.sql.SQLException",),
        says=unheld("time"),
        quotes=True,
    ),
    Rule(
        f"read the column with 'query' as text, {_AS_TEXT}, or its elements alone",
        classes=("java.sql.SQLException",),
        says=unheld("nested array"),
        quotes=True,
    ),
    Rule("use one of the columns that are there", states=("42703",)),
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
        OTHER_SESSION,
        transient=True,
        # Not 40002, an integrity constraint that is looked at at the end.
        states=("40001", "40P01", "40003", "55P03"),
        classes=("java.sql.SQLTransactionRollbackException",),
    ),
    # The numbers of MySQL's errors.
    Rule(
        UNREACHABLE,
        transient=True,
        classes=("pymysql.err.MySQLError",),
        codes=frozenset({1040, 1053, 2002, 2003, 2006, 2013}),
    ),
    Rule(
        OTHER_SESSION,
        transient=True,
        classes=("pymysql.err.MySQLError", "java.sql.SQLException"),
        codes=frozenset({1205, 1213}),
    ),
)
