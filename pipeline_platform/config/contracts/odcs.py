"""The Open Data Contract Standard, v3: what of a contract is looked at, and which keys the rest has.

https://bitol-io.github.io/open-data-contract-standard. What the platform makes no use of is taken as it is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from pipeline_platform.config.contracts.options import LogicalType, option_mistakes
from pipeline_platform.config.contracts.values import Number
from pipeline_platform.config.documents.document import SourcePosition
from pipeline_platform.config.format_model import FormatModel
from pipeline_platform.config.values import Text

_DIMENSIONS = Literal["accuracy", "completeness", "conformity", "consistency", "coverage", "timeliness", "uniqueness"]


class ContractModel(FormatModel):
    """Base of all in a contract: keys only as the standard spells them, and no text in place of a flag or a number."""

    model_config = ConfigDict(strict=True, populate_by_name=False)


class Quality(ContractModel):
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
    must_be_greater_than: Number | None = None
    must_be_greater_or_equal_to: Number | None = None
    must_be_less_than: Number | None = None
    must_be_less_or_equal_to: Number | None = None
    must_be_between: list[Number] | None = None
    must_not_be_between: list[Number] | None = None
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

    @model_validator(mode="after")
    def _counts_numbers(self) -> Self:
        for key, value in (("mustBe", self.must_be), ("mustNotBe", self.must_not_be)):
            is_number = isinstance(value, (int, Decimal)) and not isinstance(value, bool)
            if self.type == "library" and value is not None and not is_number:
                raise PydanticCustomError("number", "expected a number", {"key": key})
        return self


class _Element(ContractModel):
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


class AllowedValue(ContractModel):
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
        if self.logical_type is not None:
            for key, wrong in option_mistakes(self.logical_type, self.logical_type_options):
                context = {"message": wrong, "keys": ("logicalTypeOptions", key)}
                raise PydanticCustomError("option", "{message}", context)
        return self

    def inside(self, place: SourcePosition) -> Sequence[tuple[Item, SourcePosition]]:
        """What an array or a map has in it, each with its place.

        Args:
            place: Of this.
        """
        parts = self.map or MapDefinition()
        found = (
            (self.items, place / "items"), (parts.key, place / "map" / "key"), (parts.value, place / "map" / "value")
        )  # fmt: skip
        return [(inner, at) for inner, at in found if inner is not None]


class Property(Item):
    """A column, or a field within one."""

    name: Text  # pyright: ignore[reportGeneralTypeIssues, reportIncompatibleVariableOverride]

    @property
    def column(self) -> str:
        """What the column is called."""
        return self.physical_name or self.name


class MapDefinition(ContractModel):
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


class DataContract(ContractModel):
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


Item.model_rebuild()
Property.model_rebuild()
