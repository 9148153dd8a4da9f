"""Avro's names of types, and those that Spark's types are written as."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})
"""The names of the types that no schema defines."""
PRIMITIVE_OF: Mapping[str, str] = {
    "boolean": "boolean",
    "tinyint": "int",
    "smallint": "int",
    "int": "int",
    "bigint": "long",
    "float": "float",
    "double": "double",
    "string": "string",
    "binary": "bytes",
}
"""The Avro primitive that stores a Spark type without a logical type."""
PLAIN_TYPE_OF: Mapping[str, Any] = {
    **PRIMITIVE_OF,
    "date": {"type": "int", "logicalType": "date"},
    "timestamp": {"type": "long", "logicalType": "timestamp-micros"},
    "timestamp_ntz": {"type": "long", "logicalType": "local-timestamp-micros"},
}
"""The Avro type of each Spark type that has no size and no other types in it."""
