"""What Avro's resolution of schemas lets pass, and what Spark then reads as something else.

Avro resolves the bytes and leaves the logical types alone, and a registry's rules of compatibility do so too: 12.34,
written as a decimal of scale 2, is 0.1234 to a reader whose decimal has scale 4. It needs no JVM.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from pipeline_platform.connectors.files.avro_types import PRIMITIVES

_PROMOTIONS: Mapping[str, Sequence[str]] = {
    "int": ("long", "float", "double"),
    "long": ("float", "double"),
    "float": ("double",),
    "string": ("bytes",),
    "bytes": ("string",),
}
_UNITS: Mapping[str, str] = {
    "date": "int",
    "time-millis": "int",
    **{f"{kind}-{unit}": "long" for kind in ("timestamp", "local-timestamp") for unit in ("millis", "micros", "nanos")},
    "time-micros": "long",
}
_MOST_DIGITS = 38
# What the reading of JSON that is no schema comes to.
_NO_SCHEMA = (ValueError, LookupError, TypeError, AttributeError, StopIteration, RecursionError)


@dataclass
class _Type:
    """A type; mutable, as a record may contain itself.

    Args:
        kind: A primitive's name, `record`, `enum`, `array`, `map`, `fixed` or `union`.
        name: The full name of a record, an enum or a fixed.
        aliases: The full names that it had before.
        logical: The logical type, if it is one of the type.
        digits: Precision and scale of a decimal.
        fields: Of a record.
        parts: The branches of a union, the items of an array, the values of a map.
    """

    kind: str
    name: str = ""
    aliases: tuple[str, ...] = ()
    logical: str | None = None
    digits: tuple[int, int] = (0, 0)
    fields: list[_Field] = field(default_factory=list["_Field"])
    parts: list[_Type] = field(default_factory=list["_Type"])

    def __str__(self) -> str:
        if self.logical == "decimal":
            return f"decimal({self.digits[0]},{self.digits[1]})"
        return self.logical or self.kind


@dataclass
class _Field:
    name: str
    aliases: tuple[str, ...]
    type: _Type


def logical_difference(reader: str, writer: str) -> str | None:
    """Where values would be taken for others as the logical types differ; None where they would not.

    A decimal may have more digits than it was written with, of which as many are behind the point.

    Args:
        reader: The schema that values are read as, in Avro's JSON.
        writer: The schema that they were written with.
    """
    try:
        read, written = _parsed(reader), _parsed(writer)
    except _NO_SCHEMA:
        # Who uses it says what is wrong with it.
        return None
    return "; ".join(dict.fromkeys(_differences(read, written, "", set()))) or None


def column_mistake(schema: str) -> str | None:
    """Why Spark has no columns for a record of this schema; None where it has.

    Args:
        schema: In Avro's JSON.
    """
    try:
        return next(_without_columns(_parsed(schema), "", ()), None)
    except _NO_SCHEMA:
        return None


def _differences(reader: _Type, writer: _Type, path: str, seen: set[tuple[int, int]]) -> Iterator[str]:
    if writer.kind == "union":
        for branch in writer.parts:
            yield from _differences(reader, branch, path, seen)
        return
    if reader.kind == "union":
        for branch in _branches_for(reader, writer):
            yield from _differences(branch, writer, path, seen)
        return
    if reader.kind == writer.kind == "record":
        if (id(reader), id(writer)) not in seen:
            seen.add((id(reader), id(writer)))
            yield from _differences_of_fields(reader, writer, path, seen)
    elif reader.kind == writer.kind and reader.kind in ("array", "map"):
        yield from _differences(reader.parts[0], writer.parts[0], f"{path}[]", seen)
    elif not _has_meaning_of(reader, writer):
        yield f"{_named(path)} was written as {writer}, and is wanted as {reader}"


def _differences_of_fields(reader: _Type, writer: _Type, path: str, seen: set[tuple[int, int]]) -> Iterator[str]:
    written = {each.name: each.type for each in writer.fields}
    for each in reader.fields:
        found = next((written[name] for name in (each.name, *each.aliases) if name in written), None)
        if found is not None:
            yield from _differences(each.type, found, _within(path, each.name), seen)


def _has_meaning_of(reader: _Type, writer: _Type) -> bool:
    if reader.logical != writer.logical:
        return False
    [(digits, scale), (written_digits, written_scale)] = reader.digits, writer.digits
    return scale == written_scale and digits >= written_digits


def _branches_for(union: _Type, writer: _Type) -> Sequence[_Type]:
    """The branches of a reader's union that a value may become."""
    same = [branch for branch in union.parts if branch.kind == writer.kind]
    if writer.name:
        # Which one Avro takes by its fields, or by its name without the namespace, is not told here.
        return [branch for branch in same if writer.name in (branch.name, *branch.aliases)] or same
    promoted = (branch for branch in union.parts if branch.kind in _PROMOTIONS.get(writer.kind, ()))
    return same or [branch for branch in (next(promoted, None),) if branch is not None]


def _without_columns(schema: _Type, path: str, inside: tuple[str, ...]) -> Iterator[str]:
    if schema.name in inside:
        yield f"{_named(path)} is the record {schema.name}, which contains itself, and no column does"
    elif schema.logical == "decimal" and schema.digits[0] > _MOST_DIGITS:
        yield f"{_named(path)} is {schema}, and no column has more than {_MOST_DIGITS} digits"
    else:
        inside = (*inside, schema.name) if schema.kind == "record" else inside
        if not path:
            yield from _same_but_for_case([each.name for each in schema.fields])
        for each in schema.fields:
            yield from _without_columns(each.type, _within(path, each.name), inside)
        for part in schema.parts:
            yield from _without_columns(part, path if schema.kind == "union" else f"{path}[]", inside)


def _same_but_for_case(names: Sequence[str]) -> Iterator[str]:
    known: dict[str, str] = {}
    for name in names:
        first = known.setdefault(name.lower(), name)
        if first != name:
            yield f"the fields '{first}' and '{name}' differ only in case, which is ignored in the names of columns"


def _within(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _named(path: str) -> str:
    return f"'{path}'" if path else "the value"


def _parsed(schema: str) -> _Type:
    return _read(json.loads(schema), "", {})


def _read(value: Any, namespace: str, named: dict[str, _Type]) -> _Type:
    match value:
        case str():
            if value in PRIMITIVES:
                return _Type(value)
            # Otherwise one that was defined in no namespace, or in one that stands around the part of a schema.
            names = (_full(value, namespace), value, value.rpartition(".")[2])
            return next(named[name] for name in names if name in named)
        case list():
            branches = cast("list[Any]", value)
            return _Type("union", parts=[_read(branch, namespace, named) for branch in branches])
        case dict():
            return _read_object(cast("dict[str, Any]", value), namespace, named)
        case _:
            raise ValueError("no Avro type")


def _read_object(value: Mapping[str, Any], namespace: str, named: dict[str, _Type]) -> _Type:
    match value["type"]:
        case "record" | "error" | "enum" | "fixed" as kind:
            return _read_named("record" if kind == "error" else kind, value, namespace, named)
        case "array":
            return _Type("array", parts=[_read(value["items"], namespace, named)])
        case "map":
            return _Type("map", parts=[_read(value["values"], namespace, named)])
        case str() as kind if kind in PRIMITIVES:
            return _with_logical(_Type(kind), value)
        case other:
            return _read(other, namespace, named)


def _read_named(kind: str, value: Mapping[str, Any], namespace: str, named: dict[str, _Type]) -> _Type:
    name = str(value["name"])
    full = _full(name, str(value.get("namespace", namespace) or ""))
    own = full.rpartition(".")[0]
    read = _Type(kind, full, tuple(_full(str(alias), own) for alias in value.get("aliases") or ()))
    named[full] = read
    if kind == "fixed":
        return _with_logical(read, value)
    for each in value["fields"] if kind == "record" else ():
        aliases = tuple(map(str, each.get("aliases") or ()))
        read.fields.append(_Field(str(each["name"]), aliases, _read(each["type"], own, named)))
    return read


def _with_logical(read: _Type, value: Mapping[str, Any]) -> _Type:
    """The type with its logical type; one that is not right is ignored, as Avro does it."""
    logical = str(value.get("logicalType"))
    if _UNITS.get(logical) == read.kind:
        read.logical = logical
    if logical == "decimal" and read.kind in ("bytes", "fixed"):
        precision, scale = value.get("precision"), value.get("scale", 0)
        if isinstance(precision, int) and isinstance(scale, int) and 0 <= scale <= precision and precision > 0:
            most = len(str(2 ** (8 * int(value["size"]) - 1) - 1)) - 1 if read.kind == "fixed" else precision
            if precision <= most:
                read.logical, read.digits = "decimal", (precision, scale)
    return read


def _full(name: str, namespace: str) -> str:
    return name if "." in name or not namespace else f"{namespace}.{name}"
