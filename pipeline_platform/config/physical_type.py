"""A `physicalType` of a data contract: the name of a type in some system's SQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sqlglot import exp
from sqlglot.errors import SqlglotError

Kind = Literal[
    "tinyint", "smallint", "int", "bigint", "decimal", "float", "double", "boolean", "string", "json", "binary", "date",
    "timestamp", "time", "array", "struct", "map",
]  # fmt: skip

_DIALECTS = {"postgres": "postgres", "mysql": "mysql"}
_TYPE = exp.DataType.Type
_KINDS: dict[exp.DataType.Type, Kind] = {
    _TYPE.TINYINT: "tinyint",
    **dict.fromkeys((_TYPE.SMALLINT, _TYPE.UTINYINT, _TYPE.SMALLSERIAL), "smallint"),
    **dict.fromkeys((_TYPE.INT, _TYPE.MEDIUMINT, _TYPE.USMALLINT, _TYPE.SERIAL), "int"),
    **dict.fromkeys((_TYPE.BIGINT, _TYPE.UINT, _TYPE.BIGSERIAL), "bigint"),
    _TYPE.DECIMAL: "decimal",
    _TYPE.FLOAT: "float",
    _TYPE.DOUBLE: "double",
    **dict.fromkeys((_TYPE.BOOLEAN, _TYPE.BIT), "boolean"),
    **dict.fromkeys(
        (_TYPE.CHAR, _TYPE.VARCHAR, _TYPE.NCHAR, _TYPE.NVARCHAR, _TYPE.TEXT, _TYPE.TINYTEXT, _TYPE.MEDIUMTEXT), "string"
    ),
    **dict.fromkeys((_TYPE.LONGTEXT, _TYPE.UUID, _TYPE.NAME, _TYPE.XML), "string"),
    **dict.fromkeys((_TYPE.JSON, _TYPE.JSONB), "json"),
    **dict.fromkeys((_TYPE.BINARY, _TYPE.VARBINARY, _TYPE.BLOB, _TYPE.MEDIUMBLOB, _TYPE.LONGBLOB), "binary"),
    _TYPE.DATE: "date",
    **dict.fromkeys(
        (_TYPE.TIMESTAMP, _TYPE.TIMESTAMPTZ, _TYPE.TIMESTAMPLTZ, _TYPE.TIMESTAMPNTZ, _TYPE.DATETIME), "timestamp"
    ),
    **dict.fromkeys((_TYPE.TIME, _TYPE.TIMETZ), "time"),
    **dict.fromkeys((_TYPE.ARRAY, _TYPE.LIST), "array"),
    **dict.fromkeys((_TYPE.STRUCT, _TYPE.OBJECT), "struct"),
    _TYPE.MAP: "map",
}
_TEXTS = (_TYPE.CHAR, _TYPE.VARCHAR, _TYPE.NCHAR, _TYPE.NVARCHAR)


@dataclass(frozen=True)
class PhysicalType:
    """What a physical type is to Spark.

    Args:
        kind: Which values it has.
        precision: Digits of a decimal; None if it is not said.
        scale: Those of them after the point.
        length: Most characters of a text; None for any number.
    """

    kind: Kind
    precision: int | None = None
    scale: int = 0
    length: int | None = None


def physical_type(name: str, system: str) -> PhysicalType | None:
    """What a physical type is to Spark; None if that is not known.

    Args:
        name: The type, such as `VARCHAR(18)`.
        system: Whose SQL it is, as a dataset names its system; Spark's for those that have none.
    """
    try:
        found = exp.DataType.build(name, dialect=_DIALECTS.get(system, "spark"), udt=True)
    except SqlglotError:
        return None
    kind = _KINDS.get(found.this) if isinstance(found.this, exp.DataType.Type) else None
    if kind is None:
        return None
    sizes = [
        int(size.name) for size in found.expressions if isinstance(size, exp.DataTypeParam) and size.name.isdigit()
    ]
    if kind == "decimal" and sizes:
        return PhysicalType(kind, sizes[0], sizes[1] if len(sizes) > 1 else 0)
    is_limited = found.this in _TEXTS and len(sizes) == 1
    return PhysicalType(kind, length=sizes[0] if is_limited else None)
