"""`fromMySQL`: a table or a query of a MySQL database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pipeline_platform.config.values import Text, query_in
from pipeline_platform.connectors.jdbc.config import MySQLOptions
from pipeline_platform.connectors.jdbc.source import ReadsDatabase
from pipeline_platform.connectors.jdbc.source_columns import MOST_DIGITS, SourceColumn, complaint, too_wide

if TYPE_CHECKING:
    from pyspark.sql.types import DataType

    from pipeline_platform.connectors.jdbc.database import Database

# https://dev.mysql.com/doc/dev/mysql-server/latest/field__types_8h.html
_FLOAT, _TIMESTAMP, _DATE, _TIME, _DATETIME, _BIT, _DECIMAL = 4, 7, 10, 11, 12, 16, 246
_HAS_NO_ZERO = "year({0}) > 0 AND month({0}) > 0 AND dayofmonth({0}) > 0"
_RANGES = {
    _DATE: _HAS_NO_ZERO,
    _DATETIME: _HAS_NO_ZERO,
    _TIMESTAMP: _HAS_NO_ZERO,
    _TIME: "{0} >= '00:00:00' AND {0} < '24:00:00'",
}


class FromMySQL(ReadsDatabase, MySQLOptions):
    """Reads a table or a query from a MySQL or MariaDB database.

    Rows are streamed, whatever `fetchSize` is, so a partition need not fit into memory; with `fetchSize` 0 they arrive
    all at once, and with `useCursorFetch` in `properties` in chunks of that size, from a copy that the server makes.

    A `DATETIME`, which has no time zone, is read as UTC, so that it shows the same value; a `TIMESTAMP` stays the same
    instant. A `tinyint(1)` is a boolean: 0 is false and any other number true; with `tinyInt1isBit` `false` in
    `properties` it is the number. A `BIT` of more than one bit is binary. A `decimal` of more than 38 digits, or a zero
    date, is an error that names the column.
    """

    method: ClassVar[str] = "fromMySQL"
    example = {"query": "SELECT * FROM orders WHERE quantity > 0", "credentialPath": "secret/data/mysql"}

    query: Annotated[Text, query_in("mysql")] | None = None
    """A query in MySQL's SQL; either this or `table`."""

    def source_column(self, database: Database, described: Any, data_type: DataType) -> SourceColumn:
        from pyspark.sql.types import BinaryType, DecimalType, FloatType

        name, kind, _, _, length, scale, _ = described
        column = database.quoted(name)
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
            return SourceColumn(name, condition=_held(column, name, held), held=held)
        if kind not in _RANGES:
            return SourceColumn(name)
        held = _RANGES[kind].format(column)
        if self._driver_takes_zero_dates(database):
            return SourceColumn(name, held=held)
        if self.invalid_dates == "null":
            return SourceColumn(name, f"CASE WHEN {held} THEN {column} END", held=held)
        return SourceColumn(name, condition=_held(column, name, held), held=held)

    def _driver_takes_zero_dates(self, database: Database) -> bool:
        behaviour = {key.lower(): value for key, value in database.properties.items()}.get("zerodatetimebehavior")
        return behaviour is not None and behaviour.upper() != "EXCEPTION"


def _held(column: str, name: str, held: str) -> str:
    """A condition that raises an error unless the value is held."""
    said = complaint(name).replace("\\", "\\\\").replace("'", "''")
    # In a query no statement signals an error; a number out of range is one, and its text is the expression.
    error = f"exp(1000 + char_length(concat('{said}', {column}))) > 0"
    return f"CASE WHEN {column} IS NULL OR ({held}) THEN true ELSE {error} END"
