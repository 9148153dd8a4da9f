"""Which rows of a table a load replaces that loads a partition."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from pipeline_platform.connectors.jdbc.database import Database
from pipeline_platform.connectors.jdbc.target_table import TargetColumn
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.columns import find_column
from pipeline_platform.frames.partition_rows import PartitionRows, Value


def partition_column(rows: PartitionRows, columns: Sequence[TargetColumn]) -> TargetColumn:
    """The column of a table that says to which partition a row belongs.

    Args:
        rows: Of the partition.
        columns: Of the table, which takes the column of the frame.
    """
    by_name = {column.name: column for column in columns}
    return by_name[find_column(list(by_name), rows.column) or rows.column]


def condition_of(rows: PartitionRows, column: TargetColumn, database: Database) -> tuple[str, list[Value]]:
    """A condition that holds for the rows of the partition and for no others, and its parameters.

    Args:
        rows: Of the partition.
        column: The table's.
        database: Where the table is.
    """
    name = database.quoted(column.name)
    # A collation may take other texts for the same: in MySQL, by default, those in another case.
    return rows.database_sql(name, database.exact_text(name) if _is_text(column) else None)


def require_partition_column(
    rows: PartitionRows, columns: Sequence[TargetColumn], added: Collection[str], table: str
) -> None:
    """Raise if the table's column does not keep the rows of two partitions apart.

    Args:
        rows: Of the partition.
        columns: Of the table.
        added: Those that it gets, of the frame's types.
        table: The table, for the message.

    Raises:
        PipelineExecutionException: There is none, or it holds times as text.
    """
    if rows.column in added:
        return
    if find_column([column.name for column in columns], rows.column) is None:
        raise PipelineExecutionException(
            f"the table {table} has no column '{rows.column}', which says to which partition a row belongs",
            hint="add it to the table, or set 'newColumns' to add",
        )
    column = partition_column(rows, columns)
    if rows.lower is not None and _is_text(column):
        raise PipelineExecutionException(
            f"the column '{column.name}' of the table {table} can't say to which partition a row belongs: it is "
            f"{column.type}, in which times are text",
            hint="give the column another type, or name another one in 'partitions'",
        )


def _is_text(column: TargetColumn) -> bool:
    return "string" in column.holds
