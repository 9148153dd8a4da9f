"""Which rows and columns of a load's table an asset takes, told to each library that reads it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dagster import TimeWindow
from dagster._core.storage.db_io_manager import TablePartitionDimension, TableSlice
from deltalake import DeltaTable

from pipeline_platform.config.partitions import Partition
from pipeline_platform.frames.columns import own_column
from pipeline_platform.frames.partition_rows import PartitionRows, Value, partition_rows

if TYPE_CHECKING:
    import polars as pl

TABLE = "tbl"
"""What a query calls the table, as dagster-delta does."""


@dataclass(frozen=True)
class RowsAndColumns:
    """What an asset takes of a table.

    Args:
        columns: As the table spells them; None for all.
        rows: Those of the partitions of the run, for each column that divides the table; the same that a load replaces.
        predicate: A condition of the asset's own, as SQL; None without.
    """

    columns: tuple[str, ...] | None = None
    rows: tuple[PartitionRows, ...] = ()
    predicate: str | None = None

    def query(self) -> str:
        """As a query of delta-rs on `TABLE`."""
        columns = ", ".join(map(_quoted, self.columns)) if self.columns is not None else "*"
        conditions = [_condition(rows) for rows in self.rows]
        conditions += [f"({self.predicate})"] if self.predicate is not None else []
        return f"SELECT {columns} FROM {TABLE}" + (f" WHERE {' AND '.join(conditions)}" if conditions else "")

    def of_polars(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        """As a part of a frame of Polars.

        Args:
            frame: The whole table.
        """
        # A name that Polars takes for a pattern is one all the same.
        from polars.selectors import by_name

        for rows in self.rows:
            column = by_name(rows.column)
            if rows.lower is not None and rows.upper is not None:
                frame = frame.filter((column >= _instant(rows, rows.lower)) & (column < _instant(rows, rows.upper)))
            else:
                frame = frame.filter(column.is_in(list(rows.values)))
        if self.predicate is not None:
            frame = frame.sql(f"SELECT * FROM {TABLE} WHERE {self.predicate}", table_name=TABLE)
        return frame.select([by_name(name) for name in self.columns]) if self.columns is not None else frame


def rows_and_columns(table: DeltaTable, wanted: TableSlice, predicate: str | None = None) -> RowsAndColumns:
    """What an asset takes of a table.

    Args:
        table: The table.
        wanted: The columns that the input names, and the partitions that the run needs.
        predicate: A condition of the asset's own, as SQL; None without.

    Raises:
        PipelineExecutionException: The table has no such column; or it divides the table, and has a type that is not
            compared with times or keys.
    """
    from pyspark.sql.types import StructType

    # Delta Lake writes a schema as Spark does.
    schema = StructType.fromJson(json.loads(table.schema().to_json()))
    names: Sequence[str] = schema.names
    columns = tuple(own_column(names, str(name)) for name in wanted.columns) if wanted.columns is not None else None
    rows = tuple(partition_rows(_partition(one), schema) for one in wanted.partition_dimensions or ())
    return RowsAndColumns(columns, rows, predicate)


def _partition(dimension: TablePartitionDimension) -> Partition:
    found: Any = dimension.partitions
    if isinstance(found, TimeWindow):
        return Partition(dimension.partition_expr, (), found.start, found.end)
    return Partition(dimension.partition_expr, tuple(dict.fromkeys(map(str, found))))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _condition(rows: PartitionRows) -> str:
    name = _quoted(rows.column)
    if rows.lower is not None and rows.upper is not None:
        return f"{name} >= {_literal(rows, rows.lower)} AND {name} < {_literal(rows, rows.upper)}"
    return f"{name} IN ({', '.join(_literal(rows, value) for value in rows.values)})"


def _literal(rows: PartitionRows, value: Value) -> str:
    if isinstance(value, int):
        return str(value)
    text = "'" + str(value).replace("'", "''") + "'"
    # Without a zone, a time stands for one in UTC beside a column that has instants.
    return {"timestamp": "TIMESTAMP ", "timestamp_ntz": "TIMESTAMP ", "date": "DATE "}.get(rows.kind, "") + text


def _instant(rows: PartitionRows, value: Value) -> Value:
    """The value as the column has it in Polars: an instant says that it is in UTC."""
    return value.replace(tzinfo=UTC) if rows.kind == "timestamp" and isinstance(value, datetime) else value
