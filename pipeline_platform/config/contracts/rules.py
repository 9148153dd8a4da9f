"""The rules of a data contract about rows: which of them are checked, and which are told not to be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from pipeline_platform.config.config_error import ConfigError
from pipeline_platform.config.contracts.odcs import Item, Property, Quality
from pipeline_platform.config.contracts.options import KINDS, pattern_mistake
from pipeline_platform.config.contracts.physical_type import Kind, physical_type
from pipeline_platform.config.contracts.promises import PromisedRule, Promises, RuleKind
from pipeline_platform.config.contracts.table import TableContract
from pipeline_platform.config.contracts.values import ValueKind, WrongValue, value_of
from pipeline_platform.config.documents.document import SourcePosition

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
# Of those that a physical type alone tells.
_PHYSICAL: dict[Kind, ValueKind] = {
    **dict.fromkeys(("smallint", "int", "bigint", "decimal", "float", "double"), "number"),
    "string": "text", "boolean": "flag", "date": "date", "timestamp": "timestamp",
}  # fmt: skip
_OF_PARTS = ("object", "array", "vector", "map")
# As datacontract-cli has it: of these a breach is no failure.
_MILD = ("info", "warning", "warn", "low", "minor", "trivial")
_METRICS = {"nullCheck": "nullValues", "validValues": "invalidValues", "duplicateCount": "duplicateValues"}


def promises(contract: TableContract, system: str) -> Promises:
    """What a contract promises of each row.

    Args:
        contract: The contract.
        system: That of the load, by whose SQL physical types are read.
    """
    found = _Search(system)
    found.table(contract)
    return Promises(contract, tuple(found.rules), tuple(found.unchecked), system, tuple(found.problems))


@dataclass
class _Search:
    system: str
    rules: list[PromisedRule] = field(default_factory=list[PromisedRule])
    unchecked: list[ConfigError] = field(default_factory=list[ConfigError])
    problems: list[ConfigError] = field(default_factory=list[ConfigError])
    key: tuple[str, ...] | None = None
    """The only column of the primary key; None if it has several, or there is none."""

    def table(self, contract: TableContract) -> None:
        table, place = contract.table, contract.place
        keys = [(index, one) for index, one in enumerate(table.properties) if one.primary_key]
        keys.sort(key=lambda found: found[1].primary_key_position)
        self.key = (keys[0][1].column,) if len(keys) == 1 else None
        self._relationships(table.relationships, place)
        if not table.properties:
            self._tell(place, f"'{table.name}' has no 'properties', so no column of it is checked")
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
            self._quality(rule, one, path, place / "quality" / index)
        for index, inner in enumerate(one.properties):
            self._item(inner, (*path, inner.column), place / "properties" / index)
        for inner, at in one.inside(place):
            self._within(inner, ".".join(path), at)

    def _own_rules(self, one: Item, path: tuple[str, ...], place: SourcePosition) -> None:
        if one.required or one.primary_key:
            said = "required" if one.required else "primaryKey"
            self._add("notNull", (path,), None, f"{said}, not null", place / said)
        if one.unique and not (one.primary_key and path == self.key):
            self._add("unique", (path,), None, "unique", place / "unique")
        named = ".".join(path)
        if one.primary_key and len(path) > 1:
            self._tell(place / "primaryKey", f"of '{named}' only that it is not null is checked: keys are of columns")
        elif one.primary_key_position >= 0 and not one.primary_key:
            self._tell(place / "primaryKeyPosition", f"'{named}' is in no key without 'primaryKey'")
        if one.partitioned and len(path) > 1:
            self._tell(place / "partitioned", f"'partitioned' of '{named}' is not checked: it is no column")
        self._relationships(one.relationships, place)
        self._options(one, path, place)
        if one.physical_type is not None:
            self._physical(one.physical_type, path, place / "physicalType")
        if one.enum is not None:
            at = place / "enum"
            values = [(allowed.value, at / index / "value") for index, allowed in enumerate(one.enum)]
            self._values("oneOf", one, path, values, ("enum", at))

    def _physical(self, written: str, path: tuple[str, ...], at: SourcePosition) -> None:
        known, said = physical_type(written, self.system), f"physicalType {written}"
        if known is None:
            self._tell(at, f"'{written}' is no type that Spark's can be compared with")
            return
        least, most = known.range or (None, None)
        limits: list[tuple[RuleKind, Any]] = [
            ("maxLength", known.length),
            ("maxBytes", known.bytes),
            ("pattern", known.pattern),
            ("minimum", least),
            ("maximum", most),
        ]
        for kind, limit in limits:
            if limit is not None:
                self._add(kind, (path,), limit, said, at)
        for what in known.unchecked:
            self._tell(at, f"of '{written}' {what}")

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
            # How values are written is no matter of a column that has a type of its own for them.
            elif not (key == "format" and kind in ("date", "timestamp", "time")):
                self._tell(at, f"'{key}' of '{'.'.join(path)}' is not checked")

    def _bound(self, key: str, value: Any, one: Item, path: tuple[str, ...], at: SourcePosition) -> None:
        if isinstance(value, bool):
            plain = next(plain for plain, (exclusive, _) in _STRICT.items() if exclusive == key)
            if value and plain not in one.logical_type_options:
                self._tell(at, f"'{key}' says nothing without '{plain}'")
            return
        kind = _BOUNDS[key]
        exclusive, strict = _STRICT.get(key, ("", kind))
        if one.logical_type_options.get(exclusive) is True:
            kind = strict
        limit = _limit(one, value)
        if one.logical_type == "time":
            self._tell(at, f"'{key}' is not checked of a time")
        elif limit is None:
            self._tell(at, f"'{value}' is no {one.logical_type} as ISO 8601 writes it, so '{key}' is not checked")
        else:
            self._add(kind, (path,), limit, f"{key} {value}", at)

    def _quality(self, rule: Quality, one: Item, path: tuple[str, ...], at: SourcePosition) -> None:
        arguments, metric = rule.arguments or {}, _metric(rule)
        if (why := _unusable(rule)) is not None:
            self._leave(rule, at, why)
        elif metric == "nullValues":
            self._add("notNull", (path,), None, _name(rule), at)
        elif metric == "duplicateValues":
            self._add("unique", (path,), None, _name(rule), at)
        elif metric == "missingValues" and isinstance(arguments.get("missingValues"), list):
            there = at / "arguments" / "missingValues"
            self._values("noneOf", one, path, _listed(there), (_name(rule), at))
        elif metric == "invalidValues":
            self._valid(rule, one, path, at)
        else:
            self._leave(rule, at, f"'{metric}' is no metric of a column, or lacks its arguments")

    def _valid(self, rule: Quality, one: Item, path: tuple[str, ...], at: SourcePosition) -> None:
        arguments = rule.arguments or {}
        pattern = arguments.get("pattern")
        place = at / "validValues" if rule.valid_values else at / "arguments" / "validValues"
        has_values = isinstance(rule.valid_values or arguments.get("validValues"), list)
        if has_values:
            self._values("oneOf", one, path, _listed(place), (_name(rule), at))
        if isinstance(pattern, str):
            self._add("pattern", (path,), pattern, _name(rule), at)
            if (mistake := pattern_mistake(pattern)) is not None:
                self.problems.append((at / "arguments" / "pattern").problem(mistake))
        if not has_values and not isinstance(pattern, str):
            self._leave(rule, at, "its 'arguments' have neither 'validValues' nor 'pattern'")

    def _values(
        self,
        kind: Literal["oneOf", "noneOf"],
        one: Item,
        path: tuple[str, ...],
        given: Sequence[tuple[Any, SourcePosition]],
        said: tuple[str, SourcePosition],
    ) -> None:
        """A rule that compares with values, each of which is of the type of the column."""
        name, at = said
        if one.logical_type in _OF_PARTS and any(value is not None for value, _ in given):
            self._tell(at, f"'{name}' of '{'.'.join(path)}' is not checked: it is about values with parts")
            return
        of = _value_kind(one, self.system)
        for value, there in given:
            # What a column can't have is not missing there, as '' in one of numbers.
            if of is None or value is None or (kind == "noneOf" and of != "text"):
                continue
            try:
                value_of(of, value)
            except WrongValue as error:
                self.problems.append(there.problem(error.message, hint=error.hint))
        self._add(kind, (path,), [value for value, _ in given], name, at)

    def _relationships(self, relationships: Any, place: SourcePosition) -> None:
        if relationships:
            self._tell(place / "relationships", "'relationships' are not checked; use validateReferentialIntegrity")

    def _within(self, inner: Item, outer: str, place: SourcePosition) -> None:
        """Tell that the rules of what is in an array or a map are not checked."""
        below = _Search(self.system)
        below._item(inner, (outer, "items"), place)
        self.unchecked += below.unchecked
        self.problems += below.problems
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


def _listed(place: SourcePosition) -> list[tuple[Any, SourcePosition]]:
    """The values of a list, each with its place."""
    return [(value, place / index) for index, value in enumerate(place.value)]


def _value_kind(one: Item, system: str) -> ValueKind | None:
    """What the values of a column are; None if the contract does not say."""
    if one.logical_type is not None:
        return KINDS.get(one.logical_type)
    known = physical_type(one.physical_type, system) if one.physical_type is not None else None
    return _PHYSICAL.get(known.kind) if known is not None else None


def _limit(one: Item, value: Any) -> Any:
    """The bound as Python has it; None if it can't be read."""
    try:
        return value_of(KINDS[one.logical_type or ""], value)
    except (KeyError, WrongValue):
        return None
