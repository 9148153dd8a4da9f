"""`fromPostgres`: a table or a query of a PostgreSQL database."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pipeline_platform.config.values import Text, query_in
from pipeline_platform.connectors.jdbc.config import PostgresOptions
from pipeline_platform.connectors.jdbc.source import ReadsDatabase
from pipeline_platform.connectors.jdbc.source_columns import MOST_DIGITS, SourceColumn, What, complaint, too_wide

if TYPE_CHECKING:
    from pyspark.sql.types import DataType, DecimalType

    from pipeline_platform.connectors.jdbc.database import Database

# Object ids of types and of their arrays, which are fixed (pg_type.dat).
_ELEMENTS = {1231: 1700, 1182: 1082, 1115: 1114, 1185: 1184, 1183: 1083, 1270: 1266, 1561: 1560}
_NUMERIC = 1700
_BITS = 1560
# Those that compare as their texts do, and find them by an index: "char", name, text, bpchar, varchar and uuid.
_TEXTS = frozenset({18, 19, 25, 1042, 1043, 2950})
_LAST = "9999-12-31 23:59:59.999999"
# Without the days that the driver's calendar, which is Julian before them, does not have.
_RANGES = {
    1082: "{0} BETWEEN '0001-01-01' AND '9999-12-31' AND ({0} < '1582-10-05' OR {0} >= '1582-10-15')",
    1114: f"{{0}} BETWEEN '0001-01-01' AND '{_LAST}' AND ({{0}} < '1582-10-05' OR {{0}} >= '1582-10-15')",
    1184: f"{{0}} BETWEEN '0001-01-01 00:00:00+00' AND '{_LAST}+00' "
    "AND ({0} < '1582-10-05 00:00:00+00' OR {0} >= '1582-10-15 00:00:00+00')",
}
# As a time, the driver would cut it to milliseconds.
_AS_TIMESTAMP = "(date '1970-01-01' + {0})"
_TIMES = {
    1083: "{0} < '24:00'",
    1266: f"{_AS_TIMESTAMP} >= '1970-01-01 00:00:00+00' AND {_AS_TIMESTAMP} < '1970-01-02 00:00:00+00'",
}


class FromPostgres(ReadsDatabase, PostgresOptions):
    """Reads a table or a query from a PostgreSQL database.

    A `timestamp`, which has no time zone, is read as UTC, so that it shows the same value. A `numeric` with more digits
    than a frame can hold, or a date outside its range, is an error that names the column. Bit strings are read as text,
    and a `time` as a timestamp of the day 1970-01-01 in UTC.

    The server carries out a filter that follows. It orders text by the column's collation, and Spark by characters: for
    `<` or `>` on text, give the column `COLLATE "C"` in `query`.
    """

    method: ClassVar[str] = "fromPostgres"
    example = {"table": "public.orders", "credentialPath": "secret/data/postgres"}

    query: Annotated[Text, query_in("postgres")] | None = None
    """A query in PostgreSQL's SQL; either this or `table`."""

    def source_column(self, database: Database, described: Any, data_type: DataType) -> SourceColumn:
        from pyspark.sql.types import ArrayType, BinaryType, DecimalType, StringType

        name, column = described.name, database.quoted(described.name)
        of = _ELEMENTS.get(described.type_code, described.type_code)
        is_array = isinstance(data_type, ArrayType)
        single = data_type.elementType if isinstance(data_type, ArrayType) else data_type
        if of == _BITS and isinstance(single, BinaryType):
            # As bytes they would be the characters 0 and 1.
            return SourceColumn(name, f"{column}::text{'[]' if is_array else ''}")
        if isinstance(data_type, StringType) and described.type_code not in _TEXTS:
            # An enum, an inet or a jsonb is a text for Spark, and the server would compare it by its own rules.
            return SourceColumn(name, database.exact_text(column))
        if of == _NUMERIC and isinstance(single, DecimalType):
            if described.precision is not None and described.precision > MOST_DIGITS:
                written = f"numeric({described.precision},{described.scale})"
                raise too_wide(name, written, f"numeric(38,{min(described.scale, 18)})", "text")
            if (described.precision, described.scale) == (single.precision, single.scale):
                return SourceColumn(name)
            condition = _all(column, name, "number", is_array, lambda value: _is_held(value, single))
            return SourceColumn(name, condition=condition, held=None if is_array else _is_held(column, single))
        if of in _TIMES:
            return self._checked(name, column, _AS_TIMESTAMP, "time", is_array, _TIMES[of])
        if of in _RANGES:
            return self._checked(name, column, None, "date", is_array, _RANGES[of])
        return SourceColumn(name)

    def _checked(
        self, name: str, column: str, read_as: str | None, what: What, is_array: bool, holds: str
    ) -> SourceColumn:
        """A column of dates or times, whose values have to be held or become NULL.

        Args:
            name: The column.
            column: The same, as PostgreSQL's SQL.
            read_as: What is read in place of a value, with `{0}` for it.
            what: What its values are.
            is_array: Whether it holds arrays of them.
            holds: True of the values that are held, with `{0}` for one.
        """
        held = None if is_array else holds.format(column)
        if self.invalid_dates == "null":
            each = f"CASE WHEN {holds} THEN {read_as or '{0}'} END"
            return SourceColumn(
                name, _each(column, is_array, each), _flat(column, name) if is_array else None, held=held
            )
        condition = _all(column, name, what, is_array, holds.format)
        if read_as is None:
            return SourceColumn(name, condition=condition, held=held)
        if is_array:
            condition = f"{condition} AND {_flat(column, name)}"
        return SourceColumn(name, _each(column, is_array, read_as), condition, held=held)


def _is_held(value: str, data_type: DecimalType) -> str:
    # NaN is above all numbers.
    most = 10 ** (data_type.precision - data_type.scale)
    return f"{value} = trunc({value}, {data_type.scale}) AND abs({value}) < {most}"


def _all(column: str, name: str, what: What, is_array: bool, held: Callable[[str], str]) -> str:
    """A condition that raises an error unless the value, or each element of the array, is held."""
    if not is_array:
        is_held = f"{column} IS NULL OR ({held(column)})"
    else:
        is_held = f"NOT EXISTS (SELECT 1 FROM unnest({column}) AS element WHERE NOT ({held('element')}))"
    return _raising(column, name, what, is_held)


def _flat(column: str, name: str) -> str:
    """A condition that raises an error for an array of arrays, which `_each` would make one of all their elements."""
    return _raising(column, name, "nested array", f"coalesce(array_ndims({column}), 1) = 1")


def _raising(column: str, name: str, what: What, is_held: str) -> str:
    said = complaint(name, what).replace("'", "''")
    # Not a constant, which would be cast before any row is looked at.
    return f"CASE WHEN {is_held} THEN true ELSE (left({column}::text, 0) || '{said}')::boolean END"


def _each(column: str, is_array: bool, read_as: str) -> str:
    """What is read in place of the column, or of each element of its arrays."""
    if not is_array:
        return read_as.format(column)
    elements = f"SELECT {read_as.format('element')} FROM unnest({column}) WITH ORDINALITY"
    return f"CASE WHEN {column} IS NOT NULL THEN ARRAY({elements} AS elements (element, place) ORDER BY place) END"
