"""Debezium's change events in Avro, as Kafka Connect's converter writes them, made into those in JSON with a schema."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Callable, Mapping
from typing import Any, cast

from pipeline_platform.connectors.kafka.debezium_events import UnusableError

Json = dict[str, Any]
_HEADER_BYTES = 5
# As `JsonConverter` names them.
_CONNECT = {"int": "int32", "long": "int64", "enum": "string", "fixed": "bytes"}


def json_of_avro(writers: Mapping[int, str]) -> Callable[[bytes], bytes]:
    """What makes of a framed Avro value the JSON that Kafka Connect's `JsonConverter` writes of it, with its schema.

    Args:
        writers: The schemas that values were written with, by the ids that stand before them.

    Returns:
        A function that raises `UnusableError` for what is no value of its schema.
    """
    known: dict[int, tuple[Any, bytes]] = {}

    def convert(data: bytes) -> bytes:
        import fastavro

        schema_id = int.from_bytes(data[1:_HEADER_BYTES], "big")
        if schema_id not in writers:
            raise UnusableError("written with a schema that can't be used")
        if schema_id not in known:
            known[schema_id] = _prepared(writers[schema_id])
        parsed, start = known[schema_id]
        # Its types are partly unknown.
        avro: Any = fastavro
        rest = io.BytesIO(data[_HEADER_BYTES:])
        try:
            value = avro.schemaless_reader(rest, parsed, None)
        except Exception:  # noqa: BLE001 - whatever bytes that mean nothing come to.
            raise UnusableError("not Avro of the schema, or cut off") from None
        if rest.read(1):
            raise UnusableError("bytes follow the Avro record")
        return start + json.dumps(_plain(value), separators=(",", ":")).encode() + b"}"

    return convert


def _prepared(schema: str) -> tuple[Any, bytes]:
    """The schema that values are decoded with, and what stands before each in JSON."""
    from fastavro import parse_schema

    bare = _without_logical_types(json.loads(schema))
    named: dict[str, Any] = {}
    parsed: Any = parse_schema(bare, named)
    connect = _connect_type(parsed, named)
    return parsed, b'{"schema":' + json.dumps(connect, separators=(",", ":")).encode() + b',"payload":'


def _without_logical_types(schema: Any) -> Any:
    """The schema whose values are numbers and bytes, as in JSON: what they stand for, Connect notes beside it."""
    match schema:
        case dict():
            parts = cast("Json", schema)
            return {
                key: value if key in ("default", "connect.parameters") else _without_logical_types(value)
                for key, value in parts.items()
                if key != "logicalType"
            }
        case list():
            return [_without_logical_types(part) for part in cast("list[Any]", schema)]
        case _:
            return schema


def _connect_type(avro: Any, named: Mapping[str, Any], field: str | None = None) -> Json:
    """Kafka Connect's schema of an Avro schema, as far as it is looked at."""
    name = {"field": field} if field is not None else {}
    if isinstance(avro, list):
        branches = [branch for branch in cast("list[Any]", avro) if branch != "null"]
        return _connect_type(branches[0], named, field) if len(branches) == 1 else {"type": "", **name}
    if isinstance(avro, str):
        return _connect_type(named[avro], named, field) if avro in named else {"type": _CONNECT.get(avro, avro), **name}
    schema = cast("Json", avro)
    kind = schema["type"]
    if not isinstance(kind, str):
        return _connect_type(kind, named, field)
    found: Json = {"type": schema.get("connect.type", _CONNECT.get(kind, kind)), **name}
    if "connect.name" in schema:
        found["name"] = schema["connect.name"]
    if "connect.parameters" in schema:
        found["parameters"] = schema["connect.parameters"]
    if kind == "record":
        found["type"] = "struct"
        found["fields"] = [_connect_type(part["type"], named, part["name"]) for part in schema["fields"]]
    if kind == "array":
        found["items"] = _connect_type(schema["items"], named)
    return found


def _plain(value: Any) -> Any:
    """A value as `JsonConverter` writes it."""
    match value:
        case bytes():
            return base64.b64encode(value).decode()
        case float() if not math.isfinite(value):
            return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        case dict():
            return {name: _plain(part) for name, part in cast("Json", value).items()}
        case list():
            return [_plain(part) for part in cast("list[Any]", value)]
        case _:
            return value
