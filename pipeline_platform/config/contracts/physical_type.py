"""A `physicalType` of a data contract: the name of a type in some system's SQL."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
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
    **dict.fromkeys(
        (exp.DType.INT, exp.DType.MEDIUMINT, exp.DType.UMEDIUMINT, exp.DType.USMALLINT, exp.DType.SERIAL), "int"
    ),
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
_NESTED: tuple[Kind, ...] = ("array", "map", "struct")
_TEXTS = (exp.DType.CHAR, exp.DType.VARCHAR, exp.DType.NCHAR, exp.DType.NVARCHAR)
_BYTES = (exp.DType.BINARY, exp.DType.VARBINARY)
# Of the numbers that Spark has no type of this width for, those that there are.
_RANGES: dict[exp.DType, tuple[int, int]] = {
    exp.DType.UTINYINT: (0, 2**8 - 1),
    exp.DType.USMALLINT: (0, 2**16 - 1),
    exp.DType.MEDIUMINT: (-(2**23), 2**23 - 1),
    exp.DType.UMEDIUMINT: (0, 2**24 - 1),
    exp.DType.UINT: (0, 2**32 - 1),
}
# As PostgreSQL takes it.
_UUID = r"^\{?([0-9a-fA-F]{4}-?){7}[0-9a-fA-F]{4}\}?$"
# Digits of a fraction of a second in Spark; no value has more.
_MOST_FRACTION = 6
# MySQL has a number of bits here, from which on it takes eight bytes.
_BITS_OF_FLOAT = 24


@dataclass(frozen=True)
class PhysicalType:
    """What a physical type is to Spark.

    Args:
        kind: Which values it has.
        precision: Digits of a decimal; None if it is not said.
        scale: Those of them after the point.
        length: Most characters of a text; None for any number.
        bytes: Most bytes of a binary value; None for any number.
        range: The least and the greatest number, where the kind has others, too.
        pattern: What each text matches.
        has_zone: Whether times are points in time, rather than what a clock shows; None where either is taken.
        inner: What is in an array, a map or a struct, by its name; a type there is None if it is not known.
        unchecked: What of it is not checked, as the rest of a sentence.
    """

    kind: Kind
    precision: int | None = None
    scale: int = 0
    length: int | None = None
    bytes: int | None = None
    range: tuple[int, int] | None = None
    pattern: str | None = None
    has_zone: bool | None = None
    inner: tuple[tuple[str, PhysicalType | None], ...] = ()
    unchecked: tuple[str, ...] = ()

    @property
    def is_type_alone(self) -> bool:
        """Whether the type of a column tells that each of its values is one of these."""
        limits = (self.length, self.bytes, self.range, self.pattern)
        return not self.unchecked and all(limit is None for limit in limits)


def physical_type(name: str, system: str) -> PhysicalType | None:
    """What a physical type is to Spark; None if that is not known.

    Args:
        name: The type, such as `VARCHAR(18)`.
        system: Whose SQL it is, as a dataset names its system; Spark's for those that have none.
    """
    if (replaced := _as_parsed(name.strip(), system)) is None:
        return None
    try:
        found = exp.DataType.build(replaced, dialect=_DIALECTS.get(system, "spark"), udt=True)
    except SqlglotError:
        return None
    known = _read(found, system)
    if known is not None and known.kind in _NESTED and not known.inner and re.search(r"[<(\[]", replaced):
        # What sqlglot does not know within, it leaves out.
        return replace(known, unchecked=("what is within is not checked",))
    return known


def _as_parsed(name: str, system: str) -> str | None:
    """The name of a type as sqlglot has to have it, where it takes it for another; None if there is no such type."""
    word = name.lower()
    if re.match(r"bit\s+varying|bit\s*\(\s*(?!1\s*\))|(float|real)\b.*\bunsigned", word):
        return None
    if re.search(r"\bint8\b", word):
        # To some systems it has eight bits, to others eight bytes.
        return re.sub(r"\bint8\b", "bigint", word) if system in _DIALECTS else None
    if system == "mysql" and re.match(r"real\b", word):
        return "double"
    return name


def _read(found: exp.DataType, system: str) -> PhysicalType | None:
    kind = _KINDS.get(found.this) if isinstance(found.this, exp.DType) else None
    if kind is None:
        return None
    sizes = [
        int(size.name) for size in found.expressions if isinstance(size, exp.DataTypeParam) and size.name.isdigit()
    ]
    match kind:
        case "decimal":
            # What PostgreSQL does not limit has ten digits elsewhere.
            default = None if system == "postgres" else 10
            return PhysicalType(kind, sizes[0] if sizes else default, sizes[1] if len(sizes) > 1 else 0)
        case "float" if len(sizes) == 1:
            wide: Kind = "double" if sizes[0] > _BITS_OF_FLOAT else "float"
            return PhysicalType(wide) if system in _DIALECTS else None
        case "string" | "json":
            return _text(found.this, kind, sizes, system)
        case "timestamp" | "time":
            is_spark = system not in _DIALECTS
            zones = {exp.DType.TIMESTAMPNTZ: False, exp.DType.TIMESTAMPLTZ: True}
            zone = zones.get(found.this, True if is_spark and found.this is exp.DType.TIMESTAMPTZ else None)
            rounded = (
                (f"it is not checked that seconds have at most {sizes[0]} decimals",)
                if sizes and sizes[0] < _MOST_FRACTION
                else ()
            )
            return PhysicalType(kind, has_zone=zone, unchecked=rounded)
        case "array" | "map" | "struct":
            return _nested(found, kind, system)
        case _:
            limit = sizes[0] if found.this in _BYTES and len(sizes) == 1 else None
            return PhysicalType(kind, bytes=limit, range=_RANGES.get(found.this))


def _text(known: exp.DType, kind: Kind, sizes: Sequence[int], system: str) -> PhysicalType:
    length = sizes[0] if known in _TEXTS and len(sizes) == 1 else None
    if known in (exp.DType.CHAR, exp.DType.NCHAR) and not sizes and system in _DIALECTS:
        length = 1
    unchecked = {"json": ("it is not checked that a text is JSON",)} if kind == "json" else {}
    if known is exp.DType.XML:
        unchecked = {kind: ("it is not checked that a text is XML",)}
    pattern = _UUID if known is exp.DType.UUID else None
    return PhysicalType(kind, length=length, pattern=pattern, unchecked=unchecked.get(kind, ()))


def _nested(found: exp.DataType, kind: Kind, system: str) -> PhysicalType:
    inner: list[tuple[str, PhysicalType | None]] = []
    is_bound = False
    for part in found.expressions:
        of = part.args.get("kind") if isinstance(part, exp.ColumnDef) else part
        inner.append((part.name, _read(of, system) if isinstance(of, exp.DataType) else None))
        is_bound = is_bound or bool(part.args.get("constraints"))
    unchecked: list[str] = []
    if any(one is None for _, one in inner):
        unchecked.append("some of what is within is not checked")
    if is_bound or any(one is not None and not one.is_type_alone for _, one in inner):
        unchecked.append("only the types of what is within are checked")
    return PhysicalType(kind, inner=tuple(inner), unchecked=tuple(unchecked))
