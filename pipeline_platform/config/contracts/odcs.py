"""The Open Data Contract Standard, v3: what of a contract is looked at, and which keys the rest has.

https://bitol-io.github.io/open-data-contract-standard. What the platform makes no use of is taken as it is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from pipeline_platform.config.format_model import FormatModel
from pipeline_platform.config.values import Text

LogicalType = Literal[
    "string", "date", "timestamp", "time", "number", "integer", "object", "array", "boolean", "map", "vector"
]

_BOUNDS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "format"})
_TIME = _BOUNDS | {"timezone", "defaultTimezone"}
OPTIONS: Mapping[str, frozenset[str]] = {
    "string": frozenset({"minLength", "maxLength", "pattern", "format"}),
    "date": _BOUNDS,
    "timestamp": _TIME,
    "time": _TIME,
    "integer": _BOUNDS | {"multipleOf"},
    "number": _BOUNDS | {"multipleOf"},
    "object": frozenset({"minProperties", "maxProperties", "required"}),
    "array": frozenset({"minItems", "maxItems", "uniqueItems"}),
    "vector": frozenset(
        {"dimensions", "elementType", "distanceMetric", "embeddingModel", "embeddingModelVersion", "normalized"}
    ),
}
"""The options of each logical type that has any."""
_LEAST = {
    "minLength": 0, "maxLength": 0, "minProperties": 0, "maxProperties": 0, "minItems": 0, "maxItems": 0
}  # fmt: skip
_DIMENSIONS = Literal["accuracy", "completeness", "conformity", "consistency", "coverage", "timeliness", "uniqueness"]


class Quality(FormatModel):
    """A rule about the quality of an object or a property."""

    id: Text | None = None
    name: str | None = None
    description: str | None = None
    type: Literal["text", "library", "sql", "custom"] = "library"
    metric: str | None = None
    rule: str | None = None
    """What v3.0 calls the metric."""
    arguments: dict[str, Any] | None = None
    valid_values: list[Any] | None = None
    """Where v3.0 has what is an argument later."""
    must_be: Any = None
    must_not_be: Any = None
    must_be_greater_than: float | None = None
    must_be_greater_or_equal_to: float | None = None
    must_be_less_than: float | None = None
    must_be_less_or_equal_to: float | None = None
    must_be_between: list[float] | None = None
    must_not_be_between: list[float] | None = None
    unit: str | None = None
    severity: str | None = None
    dimension: _DIMENSIONS | None = None
    query: str | None = None
    engine: str | None = None
    implementation: Any = None
    method: str | None = None
    business_impact: str | None = None
    scheduler: str | None = None
    schedule: str | None = None
    tags: list[str] | None = None
    custom_properties: Any = None
    authoritative_definitions: Any = None


class _Element(FormatModel):
    id: Text | None = None
    physical_name: Text | None = None
    physical_type: Text | None = None
    description: str | None = None
    business_name: str | None = None
    deprecated: bool = False
    synonyms: Any = None
    authoritative_definitions: Any = None
    tags: list[str] | None = None
    custom_properties: Any = None
    relationships: Any = None
    quality: list[Quality] = []


class AllowedValue(FormatModel):
    """One of the values that a property may have."""

    value: Any
    label: str | None = None
    id: Text | None = None
    description: str | None = None
    tags: list[str] | None = None
    custom_properties: Any = None
    authoritative_definitions: Any = None


class Item(_Element):
    """What is in an array, or in a map: a property that needs no name."""

    name: Text | None = None
    logical_type: LogicalType | None = None
    logical_type_options: dict[str, Any] = {}
    required: bool = False
    unique: bool = False
    primary_key: bool = False
    primary_key_position: int = -1
    partitioned: bool = False
    partition_key_position: int = -1
    semantic_type: Literal["column", "measure", "dimension"] = "column"
    classification: str | None = None
    encrypted_name: str | None = None
    transform_source_objects: list[str] | None = None
    transform_logic: str | None = None
    transform_description: str | None = None
    examples: list[Any] | None = None
    enum: list[AllowedValue] | None = Field(None, min_length=1)
    critical_data_element: bool = False
    properties: list[Property] = []
    items: Item | None = None
    map: MapDefinition | None = None

    @model_validator(mode="after")
    def _options_fit_type(self) -> Self:
        for key, value in self.logical_type_options.items():
            if self.logical_type is not None and (wrong := _wrong_option(self.logical_type, key, value)) is not None:
                context = {"message": wrong, "keys": ("logicalTypeOptions", key)}
                raise PydanticCustomError("option", "{message}", context)
        return self


class Property(Item):
    """A column, or a field within one."""

    name: Text  # pyright: ignore[reportGeneralTypeIssues, reportIncompatibleVariableOverride]

    @property
    def column(self) -> str:
        """What the column is called."""
        return self.physical_name or self.name


class MapDefinition(FormatModel):
    """The keys and values of a map."""

    key: Item | None = None
    value: Item | None = None


class SchemaObject(_Element):
    """A table, a topic or the like."""

    name: Text
    logical_type: Literal["object"] | None = None
    data_granularity_description: str | None = None
    properties: list[Property] = []
    context: Any = None


class DataContract(FormatModel):
    """A whole contract."""

    api_version: Literal["v3.0.0", "v3.0.1", "v3.0.2", "v3.1.0", "v3.2.0"]
    kind: Literal["DataContract"]
    id: Text
    version: Text
    status: str | None = None
    name: str | None = None
    tenant: str | None = None
    tags: list[str] | None = None
    domain: str | None = None
    data_product: str | None = None
    description: Any = None
    context: Any = None
    schema_: list[SchemaObject] = Field([], alias="schema")
    servers: Any = None
    support: Any = None
    price: Any = None
    team: Any = None
    roles: Any = None
    sla_default_element: str | None = None
    sla_properties: Any = None
    authoritative_definitions: Any = None
    custom_properties: Any = None
    contract_created_ts: str | None = None


def _wrong_option(kind: LogicalType, key: str, value: Any) -> str | None:
    """What is wrong with an option of a logical type; None if nothing is."""
    allowed = OPTIONS.get(kind, frozenset[str]())
    if key not in allowed:
        listed = f"; it has {', '.join(sorted(allowed))}" if allowed else ""
        return f"'{key}' is no option of the logical type {kind}{listed}"
    if key in _LEAST:
        is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 0
        return None if is_count else "expected an integer of 0 or more"
    if key in ("pattern", "format", "defaultTimezone"):
        return None if isinstance(value, str) else "expected a string"
    if key in ("uniqueItems", "timezone"):
        return None if isinstance(value, bool) else "expected true or false"
    # Up to v3.0.2 these say of 'minimum' and 'maximum' that they are not allowed themselves.
    if key.startswith("exclusive") and isinstance(value, bool):
        return None
    if key in _BOUNDS | {"multipleOf"}:
        return _wrong_bound(kind, value)
    return None


def _wrong_bound(kind: LogicalType, value: Any) -> str | None:
    if kind in ("integer", "number"):
        return None if isinstance(value, (int, float)) and not isinstance(value, bool) else "expected a number"
    return None if isinstance(value, str) else "expected a string"


Item.model_rebuild()
Property.model_rebuild()
