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
_KINDS: dict[exp.DType, Kind] = {
    exp.DType.TINYINT: "tinyint",
    **dict.fromkeys((exp.DType.SMALLINT, exp.DType.UTINYINT, exp.DType.SMALLSERIAL), "smallint"),
    **dict.fromkeys((exp.DType.INT, exp.DType.MEDIUMINT, exp.DType.USMALLINT, exp.DType.SERIAL), "int"),
    **dict.fromkeys((exp.DType.BIGINT, exp.DType.UINT, exp.DType.BIGSERIAL), "bigint"),
    exp.DType.DECIMAL: "decimal",
    exp.DType.FLOAT: "float",
    exp.DType.DOUBLE: "double",
    **dict.fromkeys((exp.DType.BOOLEAN, exp.DType.BIT), "boolean"),
    **dict.fromkeys(
        (
            exp.DType.CHAR,
            exp.DType.VARCHAR,
            exp.DType.NCHAR,
            exp.DType.NVARCHAR,
            exp.DType.TEXT,
            exp.DType.TINYTEXT,
            exp.DType.MEDIUMTEXT,
        ),
        "string",
    ),
    **dict.fromkeys((exp.DType.LONGTEXT, exp.DType.UUID, exp.DType.NAME, exp.DType.XML), "string"),
    **dict.fromkeys((exp.DType.JSON, exp.DType.JSONB), "json"),
    **dict.fromkeys(
        (exp.DType.BINARY, exp.DType.VARBINARY, exp.DType.BLOB, exp.DType.MEDIUMBLOB, exp.DType.LONGBLOB), "binary"
    ),
    exp.DType.DATE: "date",
    **dict.fromkeys(
        (
            exp.DType.TIMESTAMP,
            exp.DType.TIMESTAMPTZ,
            exp.DType.TIMESTAMPLTZ,
            exp.DType.TIMESTAMPNTZ,
            exp.DType.DATETIME,
        ),
        "timestamp",
    ),
    **dict.fromkeys((exp.DType.TIME, exp.DType.TIMETZ), "time"),
    **dict.fromkeys((exp.DType.ARRAY, exp.DType.LIST), "array"),
    **dict.fromkeys((exp.DType.STRUCT, exp.DType.OBJECT), "struct"),
    exp.DType.MAP: "map",
}
_TEXTS = (exp.DType.CHAR, exp.DType.VARCHAR, exp.DType.NCHAR, exp.DType.NVARCHAR)


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
    kind = _KINDS.get(found.this) if isinstance(found.this, exp.DType) else None
    if kind is None:
        return None
    sizes = [
        int(size.name) for size in found.expressions if isinstance(size, exp.DataTypeParam) and size.name.isdigit()
    ]
    if kind == "decimal" and sizes:
        return PhysicalType(kind, sizes[0], sizes[1] if len(sizes) > 1 else 0)
    is_limited = found.this in _TEXTS and len(sizes) == 1
    return PhysicalType(kind, length=sizes[0] if is_limited else None)
