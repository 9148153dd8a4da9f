"""Which rows of a frame, and of the sink it goes to, are those of the partition that a run loads."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from pipeline_platform.config.partitions import NULL_FOLDER, Partition
from pipeline_platform.config.sql import sql_text
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.columns import own_column, quoted

if TYPE_CHECKING:
    from pyspark.sql.types import DataType, StructType

Value = date | datetime | int | str
_LITERALS = {"timestamp": "TIMESTAMP", "timestamp_ntz": "TIMESTAMP_NTZ", "date": "DATE"}


@dataclass(frozen=True)
class PartitionRows:
    """The rows of a partition, by the values of one column.

    Args:
        column: The column, as the frame spells it.
        kind: What its values are: `date`, `timestamp`, `timestamp_ntz`, `integer` or `string`.
        lower: By time: the smallest value. A timestamp is in UTC, and does not say so.
        upper: By time: the smallest value that is no longer among them.
        values: Otherwise: the values.
    """

    column: str
    kind: str
    lower: Value | None = None
    upper: Value | None = None
    values: tuple[Value, ...] = ()

    def spark_sql(self) -> str:
        """A condition of Spark SQL that holds for these rows; Delta Lake takes it as `replaceWhere`."""
        name = quoted(self.column)
        if self.lower is not None and self.upper is not None:
            return f"{name} >= {self._literal(self.lower)} AND {name} < {self._literal(self.upper)}"
        return f"{name} IN ({', '.join(map(self._literal, self.values))})"

    def not_elsewhere_sql(self) -> str:
        """A condition of Spark SQL that holds for these rows and for those that belong to no partition."""
        return f"(({self.spark_sql()}) OR {quoted(self.column)} IS NULL)"

    def database_sql(self, name: str, exact_text: str | None = None) -> tuple[str, list[Value]]:
        """A condition of a database's SQL, and its parameters.

        Args:
            name: The column, as SQL.
            exact_text: What makes of a column that holds text one that is compared by character; None for any other.
        """
        if exact_text is not None:
            values: list[Value] = [str(value) for value in self.values]
            return f"{exact_text} IN ({', '.join('%s' for _ in values)})", values
        if self.lower is not None and self.upper is not None:
            return f"{name} >= %s AND {name} < %s", [self.lower, self.upper]
        return f"{name} IN ({', '.join('%s' for _ in self.values)})", list(self.values)

    def shows_values(self, path: str) -> bool:
        """Whether a file lies in a folder of the column, as Spark names such folders."""
        return self._value_in(path) is not None

    def holds_path(self, path: str) -> bool:
        """Whether a file lies in the folder of one of these rows' values, as Spark names such folders."""
        text = self._value_in(path)
        return text is not None and text != NULL_FOLDER and self._holds(unquote(text))

    def _value_in(self, path: str) -> str | None:
        """What a folder of the path has for the column, as it is written there; None if there is no such folder."""
        for folder in path.split("/")[:-1]:
            name, is_value, text = folder.partition("=")
            if is_value and unquote(name).lower() == self.column.lower():
                return text
        return None

    def _holds(self, text: str) -> bool:
        try:
            value: Any = _PARSED[self.kind](text)
        except ValueError:
            return False
        if self.lower is not None and self.upper is not None:
            return bool(self.lower <= value < self.upper)
        return value in self.values

    def _literal(self, value: Value) -> str:
        if isinstance(value, int):
            return str(value)
        text = sql_text(str(value))
        zone = "+00:00" if self.kind == "timestamp" else ""
        return f"{_LITERALS[self.kind]}'{value}{zone}'" if self.kind in _LITERALS else text


def _integer(text: str) -> int:
    if not re.fullmatch(r"-?(0|[1-9][0-9]*)", text):
        raise ValueError(text)
    return int(text)


def _date(text: str) -> date:
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        raise ValueError(text)
    return date.fromisoformat(text)


_PARSED: dict[str, Callable[[str], Value]] = {
    "date": _date,
    "timestamp": datetime.fromisoformat,
    "timestamp_ntz": datetime.fromisoformat,
    "integer": _integer,
    "string": str,
}


def partition_rows(partition: Partition, schema: StructType) -> PartitionRows:
    """The rows of a partition in a frame.

    Args:
        partition: The partition.
        schema: Of the frame.

    Raises:
        PipelineExecutionException: The frame has no such column, or one of a type that is not compared with keys or
            times.
    """
    name = own_column(schema.names, partition.column)
    kind = _kind(schema, name)
    if partition.start is not None and partition.end is not None:
        lower, upper = (_bound(moment, kind, name) for moment in (partition.start, partition.end))
        return PartitionRows(name, kind, lower, upper)
    values = tuple(_key(key, kind, name) for key in partition.keys)
    for value in values:
        if isinstance(value, int) and not fits(value, schema[name].dataType):
            raise _no_value(str(value), schema[name].dataType.simpleString(), name)
    return PartitionRows(name, kind, values=values)


def fits(value: int, data_type: DataType) -> bool:
    """Whether a type of integers holds a value.

    Args:
        value: The value.
        data_type: The type.
    """
    from pyspark.sql import types as T

    bits = {T.ByteType().typeName(): 8, T.ShortType().typeName(): 16, T.IntegerType().typeName(): 32}
    limit = 2 ** (bits.get(data_type.typeName(), 64) - 1)
    return -limit <= value < limit


def _kind(schema: StructType, name: str) -> str:
    from pyspark.sql import types as T

    data_type = schema[name].dataType
    if isinstance(data_type, T.IntegralType):
        return "integer"
    return data_type.typeName()


def _bound(moment: datetime, kind: str, name: str) -> Value:
    if kind == "timestamp":
        return moment.astimezone(UTC).replace(tzinfo=None)
    local = moment.replace(tzinfo=None)
    if kind == "timestamp_ntz":
        return local
    if kind == "date" and local.time() == datetime.min.time():
        return local.date()
    needed = "a timestamp" if kind == "date" else "a date or a timestamp"
    raise PipelineExecutionException(
        f"the partitions are intervals of time, for which the column '{name}' has to be {needed}; it is {kind}",
        hint="cast it with enrichData, or name another column in 'partitions'",
    )


def _key(key: str, kind: str, name: str) -> Value:
    try:
        if kind in ("string", "integer", "date"):
            return _PARSED[kind](key)
    except ValueError:
        pass
    raise _no_value(key, kind, name)


def _no_value(key: str, kind: str, name: str) -> PipelineExecutionException:
    return PipelineExecutionException(
        f"the partition '{key}' can't be a value of the column '{name}', which is {kind}",
        hint="cast the column to string with enrichData, or name another column in 'partitions'",
    )
