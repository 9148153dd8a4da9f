"""What a data contract says of the table of a load."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import Field, GetCoreSchemaHandler
from pydantic.annotated_handlers import GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from pipeline_platform.config.contracts.odcs import DataContract, Item, SchemaObject
from pipeline_platform.config.documents.document import SourcePosition
from pipeline_platform.config.format_model import FormatModel
from pipeline_platform.config.values import Location

# Whoever classifies a column, and not as this, does not want its values in a log.
_SHOWN = "public"


class ContractReference(FormatModel):
    """Which contract a load keeps."""

    file: Location
    """The contract, relative to the file that this stands in."""
    schema_: Location | None = Field(None, alias="schema")
    """Name of the object in its `schema` that is loaded; by default the only one, or that with the name of the
    table."""


class _FileOrObject:
    """The path of a file in place of the object that names nothing else."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(_named, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [{"type": "string", "minLength": 1}, handler(schema)]}


def _named(value: Any) -> Any:
    return {"file": value} if isinstance(value, str) else value


Contract = Annotated[ContractReference, _FileOrObject()]
"""A contract, as the path of its file or with the name of an object in it."""


@dataclass(frozen=True)
class KeptContract:
    """Which contract a load keeps, and what of the load it is compared with.

    Args:
        reference: The contract.
        names: What the table may be called in it, the likeliest first.
        partition_by: Columns by which the load divides the table.
        system: What the table is in; see `StepConfig.kind`.
    """

    reference: ContractReference
    names: tuple[str, ...]
    partition_by: tuple[str, ...]
    system: str


@dataclass(frozen=True)
class TableContract:
    """What a contract says of one table.

    Args:
        contract: The contract.
        table: The table.
        place: The table in the contract's file.
    """

    contract: DataContract
    table: SchemaObject
    place: SourcePosition

    @property
    def file(self) -> Path:
        """The contract's file, as messages have it."""
        return self.place.document.path

    def line(self, place: SourcePosition) -> int:
        """The line of something in the contract's file."""
        return place.document.position(place.pointer)[0]

    @property
    def sensitive_columns(self) -> list[str]:
        """The columns whose values are not for everyone, or in which such values are."""
        return [one.column for one in self.table.properties if _is_sensitive(one, self.place)]

    @property
    def team(self) -> str | None:
        """Who answers for it: the team, or its owner."""
        return _team(self.contract.team)


def _is_sensitive(one: Item, place: SourcePosition) -> bool:
    if one.classification is not None and one.classification.strip().lower() != _SHOWN:
        return True
    within = [*one.properties, *(inner for inner, _ in one.inside(place))]
    return any(_is_sensitive(inner, place) for inner in within)


def _team(team: Any) -> str | None:
    if isinstance(team, dict):
        named = cast("dict[str, Any]", team)
        return str(named["name"]) if named.get("name") else _team(named.get("members"))
    if isinstance(team, list):
        members = [cast("dict[str, Any]", member) for member in cast("list[Any]", team) if isinstance(member, dict)]
        owners = [member for member in members if str(member.get("role", "")).lower() in ("owner", "data owner")]
        names = [member.get("name") or member.get("username") for member in owners or members]
        return ", ".join(str(name) for name in names if name) or None
    return None
