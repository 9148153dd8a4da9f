"""Rows as JSON, which `values` reads as exactly the same values."""

from __future__ import annotations

import base64
import json
import math
import struct
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

from pipeline_platform.frames.columns import in_sql

if TYPE_CHECKING:
    from pyspark.sql.types import DataType, StructType

Row = Mapping[str, Any]


def written_row(row: Row, columns: StructType) -> str:
    """A row as a JSON object in one line.

    Args:
        row: As pyarrow hands it to Python.
        columns: Those that are written.
    """
    return _object((one.name, written_value(row[one.name], one.dataType)) for one in columns.fields)


def written_value(value: Any, kind: DataType) -> str:
    """A value as JSON.

    Args:
        value: As pyarrow hands it to Python.
        kind: Its type.
    """
    from pyspark.sql import types as T

    match kind:
        case _ if value is None:
            return "null"
        case T.StructType():
            return written_row(value, kind)
        case T.ArrayType():
            return f"[{', '.join(written_value(one, kind.elementType) for one in value)}]"
        case T.MapType():
            pairs = cast("Sequence[tuple[str, Any]]", value)
            return _object((key, written_value(one, kind.valueType)) for key, one in pairs)
        case T.FloatType() | T.DoubleType():
            return _number(value, is_single=isinstance(kind, T.FloatType))
        case _:
            return _single(value)


def _object(members: Any) -> str:
    return f"{{{', '.join(f'{_text(name)}: {value}' for name, value in members)}}}"


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _single(value: Any) -> str:
    match value:
        case Decimal():
            return f"{value:f}"
        case datetime() if value.tzinfo is not None:
            return _text(value.astimezone(UTC).isoformat().replace("+00:00", "Z"))
        case date():
            return _text(value.isoformat())
        case bytes():
            return _text(base64.b64encode(value).decode())
        case str():
            return _text(value)
        case _:
            return json.dumps(value)


def _number(value: float, *, is_single: bool) -> str:
    if not math.isfinite(value):
        return '"NaN"' if math.isnan(value) else '"Infinity"' if value > 0 else '"-Infinity"'
    if is_single:
        # The shortest text that is the same in four bytes.
        for digits in range(6, 10):
            near = float(f"{value:.{digits}g}")
            if struct.pack("f", near) == struct.pack("f", value):
                return repr(near)
    return repr(value)


def written_schema(columns: StructType) -> str:
    """Columns and types as in SQL.

    Args:
        columns: The columns.
    """
    return ", ".join(f"{in_sql(one.name)} {_type(one.dataType)}" for one in columns.fields)


def _type(kind: DataType) -> str:
    from pyspark.sql import types as T

    match kind:
        case T.StructType():
            return f"STRUCT<{', '.join(f'{in_sql(one.name)}: {_type(one.dataType)}' for one in kind.fields)}>"
        case T.ArrayType():
            return f"ARRAY<{_type(kind.elementType)}>"
        case T.MapType():
            return f"MAP<{_type(kind.keyType)}, {_type(kind.valueType)}>"
        case _:
            return kind.simpleString().upper()


def in_order(rows: Sequence[Row], columns: Sequence[str]) -> list[Row]:
    """Rows in an order of their own, which is the same each time.

    Args:
        rows: The rows.
        columns: Those by which they are sorted, in turn.
    """
    return sorted(rows, key=lambda row: [_place(row[name]) for name in columns])


def _place(value: Any) -> tuple[int, Any]:
    if value is None:
        return 0, ""
    if isinstance(value, float) and math.isnan(value):
        return 2, ""
    if isinstance(value, (str, bool, int, float, Decimal, date, bytes)):
        return 1, value
    return 1, str(value)
