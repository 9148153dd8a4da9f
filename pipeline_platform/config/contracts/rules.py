"""What a data contract promises of each row, and what of it the platform does not look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Literal, cast

from pipeline_platform.config.config_error import ConfigError
from pipeline_platform.config.contracts.odcs import Item, Property, Quality
from pipeline_platform.config.contracts.physical_type import physical_type
from pipeline_platform.config.contracts.table import TableContract
from pipeline_platform.config.documents.document import SourcePosition

RuleKind = Literal[
    "notNull", "unique", "minimum", "maximum", "above", "below", "multipleOf", "minLength", "maxLength", "pattern",
    "oneOf", "noneOf", "minItems", "maxItems", "uniqueItems",
]  # fmt: skip

_BOUNDS: dict[str, RuleKind] = {
    "minimum": "minimum", "maximum": "maximum", "exclusiveMinimum": "above", "exclusiveMaximum": "below"
}  # fmt: skip
_STRICT: dict[str, tuple[str, RuleKind]] = {
    "minimum": ("exclusiveMinimum", "above"), "maximum": ("exclusiveMaximum", "below")
}  # fmt: skip
_ROW_OPTIONS: dict[str, RuleKind] = {
    "minLength": "minLength", "maxLength": "maxLength", "pattern": "pattern", "multipleOf": "multipleOf",
    "minItems": "minItems", "maxItems": "maxItems",
}  # fmt: skip
# What says how values are written, which a column of its type has no part in.
_OF_TEXT = ("timezone", "defaultTimezone")
# As datacontract-cli has it: of these a breach is no failure.
_MILD = ("info", "warning", "warn", "low", "minor", "trivial")
_METRICS = {"nullCheck": "nullValues", "validValues": "invalidValues", "duplicateCount": "duplicateValues"}


@dataclass(frozen=True)
class PromisedRule:
    """A condition that each row keeps.

    Args:
        kind: What is asked.
        columns: Each a column, or a field in one by the names that lead to it; several only of `unique`.
        value: What the values are compared with.
        name: For people: the column, and the contract's own name for the rule.
        place: Where the contract says so.
    """

    kind: RuleKind
    columns: tuple[tuple[str, ...], ...]
    value: Any
    name: str
    place: SourcePosition


@dataclass(frozen=True)
class Promises:
    """What a contract promises of each row of a table.

    Args:
        contract: The contract.
        rules: What is checked.
        unchecked: What is not, and why, at its place in the contract.
        system: That of the load.
    """

    contract: TableContract
    rules: tuple[PromisedRule, ...]
    unchecked: tuple[ConfigError, ...]
    system: str


def promises(contract: TableContract, system: str) -> Promises:
    """What a contract promises of each row.

    Args:
        contract: The contract.
        system: That of the load, by whose SQL physical types are read.
    """
    found = _Search(system)
    found.table(contract)
    return Promises(contract, tuple(found.rules), tuple(found.unchecked), system)


@dataclass
class _Search:
    system: str
    rules: list[PromisedRule] = field(default_factory=list[PromisedRule])
    unchecked: list[ConfigError] = field(default_factory=list[ConfigError])

    def table(self, contract: TableContract) -> None:
        table, place = contract.table, contract.place
        keys = [(index, one) for index, one in enumerate(table.properties) if one.primary_key]
        keys.sort(key=lambda found: found[1].primary_key_position)
        for index, one in enumerate(table.properties):
            self._item(one, (one.column,), place / "properties" / index)
        if keys:
            first = place / "properties" / keys[0][0] / "primaryKey"
            columns = tuple((one.column,) for _, one in keys)
            self._add("unique", columns, None, "primaryKey", first)
        columns = {one.name: (one.column,) for one in table.properties}
        for index, rule in enumerate(table.quality):
            at = place / "quality" / index
            given = _texts((rule.arguments or {}).get("properties"))
            if (why := _unusable(rule)) is not None:
                self._leave(rule, at, why)
            elif _metric(rule) != "duplicateValues":
                self._leave(rule, at, "it is about the table, and a load sees its own rows; use validateRowCount")
            elif not given or any(name not in columns for name in given):
                self._leave(rule, at, "its 'arguments' name no 'properties' of this object")
            else:
                self._add("unique", tuple(columns[name] for name in given), None, _name(rule), at)

    def _item(self, one: Item, path: tuple[str, ...], place: SourcePosition) -> None:
        if one.semantic_type == "measure":
            self._tell(place / "semanticType", f"'{'.'.join(path)}' is a measure, which no column holds")
            return
        self._own_rules(one, path, place)
        for index, rule in enumerate(one.quality):
            self._quality(rule, path, place / "quality" / index)
        for index, inner in enumerate(one.properties):
            self._item(inner, (*path, inner.column), place / "properties" / index)
        inside = [("items", one.items, place / "items")]
        if one.map is not None:
            inside += [("map", one.map.key, place / "map" / "key"), ("map", one.map.value, place / "map" / "value")]
        for _, inner, at in inside:
            if inner is not None:
                self._within(inner, ".".join(path), at)

    def _own_rules(self, one: Item, path: tuple[str, ...], place: SourcePosition) -> None:
        if one.required or one.primary_key:
            said = "required" if one.required else "primaryKey"
            self._add("notNull", (path,), None, f"{said}, not null", place / said)
        if one.unique and not (one.primary_key and len(path) == 1 and one.primary_key_position < 0):
            self._add("unique", (path,), None, "unique", place / "unique")
        self._options(one, path, place)
        if one.enum is not None:
            self._add("oneOf", (path,), [allowed.value for allowed in one.enum], "enum", place / "enum")
        if one.physical_type is not None:
            known = physical_type(one.physical_type, self.system)
            if known is None:
                self._tell(
                    place / "physicalType", f"'{one.physical_type}' is no type that Spark's can be compared with"
                )
            elif known.length is not None and "maxLength" not in one.logical_type_options:
                at = place / "physicalType"
                self._add("maxLength", (path,), known.length, f"physicalType {one.physical_type}", at)

    def _options(self, one: Item, path: tuple[str, ...], place: SourcePosition) -> None:
        options, kind = one.logical_type_options, one.logical_type
        for key, value in options.items():
            at = place / "logicalTypeOptions" / key
            if kind is None:
                self._tell(at, f"'{key}' is not checked without a 'logicalType'")
            elif key in _BOUNDS:
                self._bound(key, value, one, path, at)
            elif key == "uniqueItems":
                if value:
                    self._add("uniqueItems", (path,), None, key, at)
            elif key == "required":
                fields = {inner.name: inner.column for inner in one.properties}
                for name in _texts(value):
                    self._add("notNull", ((*path, fields.get(name, name)),), None, "required", at)
            elif key == "multipleOf" and kind == "number":
                self._tell(at, "'multipleOf' is checked of the logical type integer alone")
            elif key in _ROW_OPTIONS:
                self._add(_ROW_OPTIONS[key], (path,), value, f"{key} {value}", at)
            elif key not in _OF_TEXT and not (key == "format" and kind in ("date", "timestamp", "time")):
                self._tell(at, f"'{key}' of '{'.'.join(path)}' is not checked")

    def _bound(self, key: str, value: Any, one: Item, path: tuple[str, ...], at: SourcePosition) -> None:
        if isinstance(value, bool):
            return
        kind = _BOUNDS[key]
        exclusive, strict = _STRICT.get(key, ("", kind))
        if one.logical_type_options.get(exclusive) is True:
            kind = strict
        limit = _moment(one, value)
        if one.logical_type == "time":
            self._tell(at, f"'{key}' is not checked of a time")
        elif limit is None:
            self._tell(at, f"'{value}' is no {one.logical_type} as ISO 8601 writes it, so '{key}' is not checked")
        else:
            self._add(kind, (path,), limit, f"{key} {value}", at)

    def _quality(self, rule: Quality, path: tuple[str, ...], at: SourcePosition) -> None:
        arguments, metric = rule.arguments or {}, _metric(rule)
        if (why := _unusable(rule)) is not None:
            self._leave(rule, at, why)
        elif metric == "nullValues":
            self._add("notNull", (path,), None, _name(rule), at)
        elif metric == "duplicateValues":
            self._add("unique", (path,), None, _name(rule), at)
        elif metric == "missingValues" and isinstance(arguments.get("missingValues"), list):
            self._add("noneOf", (path,), arguments["missingValues"], _name(rule), at)
        elif metric == "invalidValues":
            valid, pattern = rule.valid_values or arguments.get("validValues"), arguments.get("pattern")
            if isinstance(valid, list):
                self._add("oneOf", (path,), valid, _name(rule), at)
            if isinstance(pattern, str):
                self._add("pattern", (path,), pattern, _name(rule), at)
            if not isinstance(valid, list) and not isinstance(pattern, str):
                self._leave(rule, at, "its 'arguments' have neither 'validValues' nor 'pattern'")
        else:
            self._leave(rule, at, f"'{metric}' is no metric of a column, or lacks its arguments")

    def _within(self, inner: Item, outer: str, place: SourcePosition) -> None:
        """Tell that the rules of what is in an array or a map are not checked."""
        below = _Search(self.system)
        below._item(inner, (outer, "items"), place)
        self.unchecked += below.unchecked
        for rule in below.rules:
            self._tell(rule.place, f"'{rule.name}' is about what is within an array or a map, and is not checked")

    def _add(
        self, kind: RuleKind, columns: tuple[tuple[str, ...], ...], value: Any, said: str, place: SourcePosition
    ) -> None:
        named = ", ".join(".".join(path) for path in columns)
        name, number = f"{named}: {said}", 1
        while any(rule.name == name for rule in self.rules):
            number += 1
            name = f"{named}: {said} ({number})"
        self.rules.append(PromisedRule(kind, columns, value, name, place))

    def _leave(self, rule: Quality, place: SourcePosition, why: str) -> None:
        self._tell(place, f"the quality rule '{_name(rule)}' is not checked: {why}")

    def _tell(self, place: SourcePosition, message: str) -> None:
        self.unchecked.append(place.problem(message))


def partition_columns(properties: Sequence[Property]) -> list[str]:
    """The columns by which a contract says that a table is partitioned, in their order."""
    found = [one for one in properties if one.partitioned]
    return [one.column for one in sorted(found, key=lambda one: one.partition_key_position)]


def _texts(value: Any) -> list[str]:
    return [str(one) for one in cast("list[Any]", value)] if isinstance(value, list) else []


def _metric(rule: Quality) -> str | None:
    named = rule.metric or rule.rule
    return _METRICS.get(named, named) if named is not None else None


def _name(rule: Quality) -> str:
    return rule.name or rule.id or _metric(rule) or rule.type


def _unusable(rule: Quality) -> str | None:
    """Why no condition on rows says the same as a rule; None if one does."""
    if rule.type != "library":
        return f"rules of the type {rule.type} are not"
    if (rule.severity or "").strip().lower() in _MILD:
        return f"its severity is {rule.severity}, and a broken contract fails the load"
    if rule.must_be == 0 or rule.must_be_less_or_equal_to == 0:
        return None
    if rule.must_be_less_than is not None and 0 < rule.must_be_less_than <= 1 and rule.unit != "percent":
        return None
    return "it tolerates some rows, or asks for a number of them; use a validation with 'tolerance'"


def _moment(one: Item, value: Any) -> Any:
    """The bound as Python has it; None if it can't be read."""
    try:
        match one.logical_type:
            case "integer" | "number":
                return value
            case "date":
                return date.fromisoformat(value)
            case "timestamp":
                return datetime.fromisoformat(value)
            case _:
                return None
    except ValueError:
        return None
