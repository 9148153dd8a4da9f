"""What a frame should hold, computed by another engine: rows of Spark and of DuckDB in one comparable form."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import duckdb

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import StructType

# Sums of doubles depend on the order of the rows; beyond this many digits they may differ.
DIGITS = 12

Rows = list[tuple[Any, ...]]


@dataclass(frozen=True)
class Table:
    """The same rows for both engines.

    Args:
        columns: A column list that both engines read, such as `id BIGINT, name STRING, at TIMESTAMP`.
        rows: The rows; a naive datetime in a `TIMESTAMP` column is UTC.
    """

    columns: str
    rows: Sequence[Sequence[Any]]

    def frame(self, spark: SparkSession) -> DataFrame:
        """The rows as a Spark frame."""
        from pyspark.sql.types import StructType, TimestampType

        schema = cast(StructType, StructType.fromDDL(self.columns))
        instants = {place for place, field in enumerate(schema) if isinstance(field.dataType, TimestampType)}
        return frame_of(spark, [_in_utc(row, instants) for row in self.rows], schema)


def frame_of(spark: SparkSession, rows: Sequence[Sequence[Any]], schema: StructType | str) -> DataFrame:
    """Rows as a Spark frame, handed over as Arrow: what `createDataFrame` does with a list goes through Python workers.

    Args:
        spark: The session.
        rows: The rows.
        schema: Its columns.
    """
    from pyspark.sql.conversion import LocalDataToArrowConversion
    from pyspark.sql.types import StructType

    struct = cast(StructType, StructType.fromDDL(schema)) if isinstance(schema, str) else schema
    if not rows:
        # Of an empty Arrow table Spark knows that it is empty, and takes steps out of the plan.
        return spark.createDataFrame([], struct)
    return spark.createDataFrame(
        LocalDataToArrowConversion.convert(list(rows), struct, use_large_var_types=False), struct
    )


Source = Table | Path | str
"""A table, or the path of parquet or csv files, or anything else that DuckDB registers, such as a pandas frame."""


def rows_of(frame: DataFrame) -> Rows:
    """All rows of a Spark frame, sorted, in the form `duckdb_rows` has too."""
    from pyspark.sql.types import TimestampType

    instants = {place for place, field in enumerate(frame.schema) if isinstance(field.dataType, TimestampType)}
    return comparable(_from_local_time(row, instants) for row in frame.collect())


def duckdb_rows(sql: str, **tables: Source | pd.DataFrame) -> Rows:
    """All rows of a DuckDB query, sorted, in the form `rows_of` has too.

    Args:
        sql: The query.
        tables: What it reads, by name.
    """
    return _query(sql, tables)[1]


def assert_same_rows(frame: DataFrame, sql: str, **tables: Source | pd.DataFrame) -> None:
    """Fail unless the frame has exactly the columns, by name and order, and the rows of a DuckDB query."""
    names, rows = _query(sql, tables)
    assert frame.columns == names
    assert rows_of(frame) == rows


def comparable(rows: Any) -> Rows:
    """Sort rows and bring their values into the common form."""
    plain = [tuple(_plain(value) for value in row) for row in rows]
    return sorted(plain, key=lambda row: [_sort_key(value) for value in row])


def _query(sql: str, tables: Mapping[str, Any]) -> tuple[list[str], Rows]:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for name, table in tables.items():
            _add(connection, name, table)
        result = connection.execute(sql)
        names = [column[0] for column in result.description or []]
        return names, comparable(result.fetchall())


def _add(connection: duckdb.DuckDBPyConnection, name: str, table: Any) -> None:
    quoted = '"' + name.replace('"', '""') + '"'
    if isinstance(table, Table):
        connection.execute(f"CREATE TABLE {quoted} ({table.columns.replace('`', chr(34))})")
        if table.rows:
            places = ", ".join("?" for _ in table.rows[0])
            connection.executemany(f"INSERT INTO {quoted} VALUES ({places})", [list(row) for row in table.rows])
    elif isinstance(table, str | Path):
        path = Path(table)
        reader = "read_csv" if path.suffix == ".csv" else "read_parquet"
        pattern = str(path / "**" / "*.parquet") if path.is_dir() else str(path)
        literal = "'" + pattern.replace("'", "''") + "'"
        connection.execute(f"CREATE VIEW {quoted} AS SELECT * FROM {reader}({literal})")
    else:
        connection.register(name, table)


def _in_utc(row: Sequence[Any], instants: set[int]) -> tuple[Any, ...]:
    return tuple(
        value.replace(tzinfo=UTC)
        if place in instants and isinstance(value, datetime) and value.tzinfo is None
        else value
        for place, value in enumerate(row)
    )


def _from_local_time(row: Sequence[Any], instants: set[int]) -> tuple[Any, ...]:
    # pyspark hands an instant over as a naive datetime in this process's zone.
    return tuple(
        value.astimezone(UTC) if place in instants and isinstance(value, datetime) else value
        for place, value in enumerate(row)
    )


def _plain(value: Any) -> Any:
    as_dict = getattr(value, "asDict", None)
    if as_dict is not None:
        return _plain(as_dict())
    match value:
        case float():
            return "NaN" if math.isnan(value) else float(f"{value:.{DIGITS}g}")
        case Decimal():
            return value.normalize() + 0
        case bytearray():
            return bytes(value)
        case datetime():
            return value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo is not None else value
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case _:
            return value


def _sort_key(value: Any) -> tuple[int, Any, str]:
    if value is None:
        return 0, 0, ""
    if isinstance(value, bool):
        return 1, int(value), ""
    if isinstance(value, int | float | Decimal):
        return 2, float(value), ""
    return 3, 0, str(value)
