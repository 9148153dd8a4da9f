"""`fromMySQL`: a table or a query of a MySQL database."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pipeline_platform.config.values import Text, query_in
from pipeline_platform.connectors.jdbc.config import MySQLOptions
from pipeline_platform.connectors.jdbc.source import ReadsDatabase
from pipeline_platform.connectors.jdbc.source_columns import MOST_DIGITS, SourceColumn, What, complaint, too_wide

if TYPE_CHECKING:
    from pyspark.sql.types import DataType

    from pipeline_platform.connectors.jdbc.database import Database

# https://dev.mysql.com/doc/dev/mysql-server/latest/field__types_8h.html
_FLOAT, _TIMESTAMP, _DATE, _TIME, _DATETIME, _YEAR, _BIT, _DECIMAL = 4, 7, 10, 11, 12, 13, 16, 246
_HAS_NO_ZERO = "year({0}) > 0 AND month({0}) > 0 AND dayofmonth({0}) > 0"
# The days that the driver's calendar, which is Julian before them, does not have.
_IS_A_DAY = "({0} < '1582-10-05' OR {0} >= '1582-10-15')"
_IN_A_DAY = "{0} >= '00:00:00' AND {0} < '24:00:00'"


class FromMySQL(ReadsDatabase, MySQLOptions):
    """Reads a table or a query from a MySQL or MariaDB database.

    Rows are streamed, whatever `fetchSize` is, so a partition need not fit into memory; with `fetchSize` 0 they arrive
    all at once, and with `useCursorFetch` in `properties` in chunks of that size, from a copy that the server makes.

    A `DATETIME`, which has no time zone, is read as UTC, so that it shows the same value; a `TIMESTAMP` stays the same
    instant. A `tinyint(1)` is a boolean: 0 is false and any other number true; with `tinyInt1isBit` `false` in
    `properties` it is the number. A `BIT` of more than one bit is binary. A `TIME` is a timestamp of the day 1970-01-01
    in UTC. A `decimal` of more than 38 digits, a zero date, or a `TIME` below 0 or beyond a day is an error that names
    the column.

    `CHAR`, `ENUM`, `SET`, `INET6` and `UUID` are text, as the server gives it, without blanks behind it. The server
    carries out a filter on text that follows, by its characters, as Spark does, and not by the column's collation. No
    index serves that; for one, put the filter into `query`.
    """

    method: ClassVar[str] = "fromMySQL"
    example = {"query": "SELECT * FROM orders WHERE quantity > 0", "credentialPath": "secret/data/mysql"}

    query: Annotated[Text, query_in("mysql")] | None = None
    """A query in MySQL's SQL; either this or `table`."""

    def source_column(self, database: Database, described: Any, data_type: DataType) -> SourceColumn:
        from pyspark.sql.types import BinaryType, DateType, DecimalType, FloatType, StringType

        name, kind, _, _, length, scale, _ = described
        column = database.quoted(name)
        if isinstance(data_type, StringType):
            # Spark would pad a CHAR, which ENUM, SET, INET6 and UUID are for it, too; and the server would carry out
            # its filters by the column's collation, for which texts that differ are equal.
            return SourceColumn(name, database.exact_text(column), taken_for=StringType())
        if kind == _BIT and isinstance(data_type, BinaryType):
            # Spark would take each byte for the digits it is written with.
            return SourceColumn(name, f"CAST({column} AS BINARY)")
        if kind == _FLOAT and isinstance(data_type, FloatType):
            # MySQL writes a FLOAT with six digits, and a DOUBLE with all.
            return SourceColumn(name, f"({column} + 0e0)", data_type=data_type)
        if kind == _DECIMAL and isinstance(data_type, DecimalType):
            # The length counts sign and point.
            digits = length - 1 - (scale > 0)
            if digits > MOST_DIGITS and self.table is not None:
                raise too_wide(name, f"decimal({digits},{scale})", f"decimal(38,{min(scale, 18)})", "char")
            if digits <= MOST_DIGITS and scale == data_type.scale:
                return SourceColumn(name)
            most = 10 ** (data_type.precision - data_type.scale)
            held = f"{column} = truncate({column}, {data_type.scale}) AND abs({column}) < {most}"
            return SourceColumn(name, condition=_held(column, name, "number", held), held=held)
        if kind == _TIME:
            # As a time, the driver would cut it to milliseconds.
            return self._checked(name, column, f"timestamp('1970-01-01', {column})", "time", _IN_A_DAY)
        if kind == _YEAR and isinstance(data_type, DateType):
            # The driver takes the year 0000 for 2000.
            return self._checked(name, column, None, "date", "{0} > 0")
        if kind not in (_DATE, _DATETIME, _TIMESTAMP):
            return SourceColumn(name)
        if self._driver_takes_zero_dates(database):
            found = self._checked(name, column, None, "date", _IS_A_DAY)
            return replace(found, held=f"{_HAS_NO_ZERO} AND {_IS_A_DAY}".format(column))
        return self._checked(name, column, None, "date", f"{_HAS_NO_ZERO} AND {_IS_A_DAY}")

    def _checked(self, name: str, column: str, read_as: str | None, what: What, holds: str) -> SourceColumn:
        """A column of dates or times, whose values have to be held or become NULL.

        Args:
            name: The column.
            column: The same, as MySQL's SQL.
            read_as: What is read in its place.
            what: What its values are.
            holds: True of the values that are held, with `{0}` for the column.
        """
        held = holds.format(column)
        if self.invalid_dates == "null":
            return SourceColumn(name, f"CASE WHEN {held} THEN {read_as or column} END", held=held)
        return SourceColumn(name, read_as, condition=_held(column, name, what, held), held=held)

    def _driver_takes_zero_dates(self, database: Database) -> bool:
        behaviour = {key.lower(): value for key, value in database.properties.items()}.get("zerodatetimebehavior")
        return behaviour is not None and behaviour.upper() != "EXCEPTION"


def _held(column: str, name: str, what: What, held: str) -> str:
    """A condition that raises an error unless the value is held."""
    said = complaint(name, what).replace("\\", "\\\\").replace("'", "''")
    # In a query no statement signals an error; a number out of range is one, and its text is the expression.
    error = f"exp(1000 + char_length(concat('{said}', {column}))) > 0"
    return f"CASE WHEN {column} IS NULL OR ({held}) THEN true ELSE {error} END"
