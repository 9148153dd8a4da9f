"""`fromPostgres`: a table or a query of a PostgreSQL database."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pipeline_platform.config.values import Text, query_in
from pipeline_platform.connectors.jdbc.config import PostgresOptions
from pipeline_platform.connectors.jdbc.source import ReadsDatabase
from pipeline_platform.connectors.jdbc.source_columns import MOST_DIGITS, SourceColumn, complaint, too_wide

if TYPE_CHECKING:
    from pyspark.sql.types import DataType, DecimalType

    from pipeline_platform.connectors.jdbc.database import Database

# Object ids of types and of their arrays, which are fixed (pg_type.dat).
_ELEMENTS = {1231: 1700, 1182: 1082, 1115: 1114, 1185: 1184, 1183: 1083, 1561: 1560}
_NUMERIC = 1700
_BITS = 1560
_LAST = "9999-12-31 23:59:59.999999"
_RANGES = {
    1082: "{0} BETWEEN '0001-01-01' AND '9999-12-31'",
    1114: f"{{0}} BETWEEN '0001-01-01' AND '{_LAST}'",
    1184: f"{{0}} BETWEEN '0001-01-01 00:00:00+00' AND '{_LAST}+00'",
    1083: "{0} < '24:00'",
}


class FromPostgres(ReadsDatabase, PostgresOptions):
    """Reads a table or a query from a PostgreSQL database.

    A `timestamp`, which has no time zone, is read as UTC, so that it shows the same value. A `numeric` with more digits
    than a frame can hold, or a date outside its range, is an error that names the column. Bit strings are read as text.
    """

    method: ClassVar[str] = "fromPostgres"
    example = {"table": "public.orders", "credentialPath": "secret/data/postgres"}

    query: Annotated[Text, query_in("postgres")] | None = None
    """A query in PostgreSQL's SQL; either this or `table`."""

    def source_column(self, database: Database, described: Any, data_type: DataType) -> SourceColumn:
        from pyspark.sql.types import ArrayType, BinaryType, DecimalType

        name, column = described.name, database.quoted(described.name)
        of = _ELEMENTS.get(described.type_code, described.type_code)
        is_array = isinstance(data_type, ArrayType)
        single = data_type.elementType if isinstance(data_type, ArrayType) else data_type
        if of == _BITS and isinstance(single, BinaryType):
            # As bytes they would be the characters 0 and 1.
            return SourceColumn(name, f"{column}::text{'[]' if is_array else ''}")
        if of == _NUMERIC and isinstance(single, DecimalType):
            if described.precision is not None and described.precision > MOST_DIGITS:
                written = f"numeric({described.precision},{described.scale})"
                raise too_wide(name, written, f"numeric(38,{min(described.scale, 18)})", "text")
            if (described.precision, described.scale) == (single.precision, single.scale):
                return SourceColumn(name)
            condition = _all(column, name, is_array, lambda value: _is_held(value, single))
            return SourceColumn(name, condition=condition, held=None if is_array else _is_held(column, single))
        if of not in _RANGES:
            return SourceColumn(name)
        held = None if is_array else _RANGES[of].format(column)
        if self.invalid_dates == "null":
            return SourceColumn(name, _or_null(column, is_array, _RANGES[of]), held=held)
        return SourceColumn(name, condition=_all(column, name, is_array, _RANGES[of].format), held=held)


def _is_held(value: str, data_type: DecimalType) -> str:
    # NaN is above all numbers.
    most = 10 ** (data_type.precision - data_type.scale)
    return f"{value} = trunc({value}, {data_type.scale}) AND abs({value}) < {most}"


def _all(column: str, name: str, is_array: bool, held: Callable[[str], str]) -> str:
    """A condition that raises an error unless the value, or each element of the array, is held."""
    if not is_array:
        is_held = f"{column} IS NULL OR ({held(column)})"
    else:
        is_held = f"NOT EXISTS (SELECT 1 FROM unnest({column}) AS element WHERE NOT ({held('element')}))"
    said = complaint(name).replace("'", "''")
    # Not a constant, which would be cast before any row is looked at.
    return f"CASE WHEN {is_held} THEN true ELSE (left({column}::text, 0) || '{said}')::boolean END"


def _or_null(column: str, is_array: bool, held: str) -> str:
    if not is_array:
        return f"CASE WHEN {held.format(column)} THEN {column} END"
    elements = f"SELECT CASE WHEN {held.format('element')} THEN element END FROM unnest({column}) WITH ORDINALITY"
    return f"CASE WHEN {column} IS NOT NULL THEN ARRAY({elements} AS elements (element, place) ORDER BY place) END"
