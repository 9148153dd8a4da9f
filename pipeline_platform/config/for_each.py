"""`forEach`: the items that make a pipeline each, from a list in the file or from a file of its own."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any, cast

from pipeline_platform.config.config_error import LISTED_NAMES, ConfigError, did_you_mean
from pipeline_platform.config.dagster_names import PIPELINE_NAME
from pipeline_platform.config.documents.csv_document import parse_csv
from pipeline_platform.config.documents.document import (
    Document,
    DocumentError,
    SourcePosition,
    json_type,
    parse_document,
    read_text,
)
from pipeline_platform.config.for_each_item import KEYS, Item, with_texts
from pipeline_platform.config.placeholders import strings_in
from pipeline_platform.config.project_files import is_path, project_file, referenced_file, shown_as
from pipeline_platform.config.variables import (
    VariableValue,
    declared_variables,
    names_in,
    text_of,
    typed,
    wrong_value,
)

_KEYS = ("forEach", "for_each")
_NAME = re.compile(PIPELINE_NAME)
_VARIABLE = re.compile(r"\$\{var:[^}]*\}")
_STAND_INS: Mapping[str, VariableValue] = {
    "string": "x",
    "integer": 1,
    "number": 1,
    "boolean": True,
    "date": "2024-01-31",
    "timestamp": "2024-01-31T12:00:00",
}
# More values than these nobody wants to type; then all of an item are asked for.
_MOST_CHOSEN = 2


@dataclass(frozen=True)
class ForEach:
    """The items of a file.

    Args:
        place: Where they are named.
        items: Those without a mistake.
        problems: What is wrong with the others, or with all of them.
        stand_in: An item with a value for each variable, by which the rest of the file is read where there is none.
    """

    place: SourcePosition
    stand_in: Item
    items: Sequence[Item] = ()
    problems: Sequence[ConfigError] = ()

    def chosen(self, values: Mapping[str, VariableValue]) -> list[Item]:
        """The items that have these values; what the items say nothing of chooses none.

        Args:
            values: By variable.
        """
        return [
            item
            for item in self.items
            if all(item.values[name] == value for name, value in values.items() if name in item.values)
        ]

    def not_one(self, values: Mapping[str, VariableValue]) -> ConfigError:
        """What to say where the values choose no pipeline, or several.

        Args:
            values: By variable.
        """
        found = self.chosen(values)
        among = found or self.items
        listed = [item.name for item in among[:LISTED_NAMES]]
        more = f" and {len(among) - len(listed)} more" if len(among) > len(listed) else ""
        told = f"{', '.join(listed)}{more}"
        if found:
            message = f"the file makes {len(among)} pipelines: {told}"
            return self.place.problem(message, hint=f"choose one, as in {among[0].options}")
        given = [f"{name}={text_of(value)}" for name, value in values.items() if name in self.items[0].values]
        message = f"no pipeline of the file has {' and '.join(given)}; there are {told}"
        return self.place.problem(message, hint=f"choose one, as in {among[0].options}")


def for_each_of(root: SourcePosition, project: Path) -> ForEach | None:
    """The items of a file; None if it has no `forEach`, and is one pipeline.

    Args:
        root: The file, with its defaults.
        project: The folder that a path must not leave, resolved.
    """
    place = for_each_place(root.document)
    if place is None:
        return None
    reading = _Reading(root, place)
    if all(key in root.document.value for key in _KEYS):
        reading.problems.append(reading.place.problem("'forEach' is there twice", on_key=True))
    try:
        whole = _items_at(reading.place, project)
    except DocumentError as error:
        return ForEach(reading.place, reading.stand_in(), problems=[*reading.problems, error.problem])
    return ForEach(reading.place, reading.stand_in(), reading.items(whole), reading.problems)


def for_each_place(document: Document) -> SourcePosition | None:
    """Where the `forEach` of a file is; None if it has none.

    Args:
        document: The file.
    """
    written = cast("dict[str, Any]", document.value) if isinstance(document.value, dict) else {}
    key = next((key for key in _KEYS if written.get(key) is not None), None)
    return SourcePosition(document, (key,)) if key is not None else None


def _items_at(place: SourcePosition, project: Path) -> SourcePosition:
    """Where the list of items is: here, or in the file that is named."""
    if isinstance(place.value, list):
        return place
    if isinstance(place.value, dict):
        return _kept_items(place, project)
    if not is_path(place.value):
        message = "expected 'forEach' to be a list of objects, the path of a CSV or JSON file, or a query"
        raise DocumentError(place.problem(f"{message}, not {json_type(place.value)}"))
    is_csv = place.value.lower().endswith(".csv")
    if not is_csv and not place.value.lower().endswith(".json"):
        raise DocumentError(place.problem(f"expected a file named *.csv or *.json, not '{place.value}'"))
    return _listed(place, project, is_csv=is_csv)


def _kept_items(place: SourcePosition, project: Path) -> SourcePosition:
    """Where the items of a query are kept."""
    items = place / "items"
    if "items" not in place.value:
        raise DocumentError(place.problem("the key 'items' is missing"))
    if not str(items.value).lower().endswith(".json"):
        raise DocumentError(items.problem(f"expected a file named *.json, not '{items.value}'"))
    if not project_file(items, place.document.path.resolve().parent, project).exists():
        hint = f"run: pipeline-platform refresh {place.document.path}"
        raise DocumentError(items.problem(f"the items are not in '{items.value}' yet", hint=hint))
    return _listed(items, project, is_csv=False)


def _listed(place: SourcePosition, project: Path, *, is_csv: bool) -> SourcePosition:
    """The list in the file that is named."""
    target = referenced_file(place, place.document.path.resolve().parent, project)
    shown = shown_as(target, place)
    found = SourcePosition((parse_csv if is_csv else parse_document)(read_text(target, shown), shown))
    if not isinstance(found.value, list):
        raise DocumentError(found.problem(f"expected a list of objects for 'forEach', not {json_type(found.value)}"))
    return found


@dataclass
class _Draft:
    """An item as it is written, and what becomes of it.

    Args:
        place: Where.
        given: What it says.
        is_right: Whether nothing is wrong with it.
        values: With the defaults.
        name: Of its pipeline.
    """

    place: SourcePosition
    given: dict[str, VariableValue] = field(default_factory=dict[str, VariableValue])
    is_right: bool = True
    values: dict[str, VariableValue] = field(default_factory=dict[str, VariableValue])
    name: str = ""

    @property
    def number(self) -> int:
        """Which item it is, counted from 1."""
        return int(self.place.pointer[-1]) + 1


class _Reading:
    def __init__(self, root: SourcePosition, place: SourcePosition) -> None:
        self.root = root
        self.place = place
        self.problems: list[ConfigError] = []
        written = (root / "variables").value
        self.declared = cast("dict[str, Any]", written) if isinstance(written, dict) else {}
        self.variables = declared_variables(written)
        self.unknown: set[str] = set()

    def stand_in(self) -> Item:
        """What an item could be, as far as the variables' types tell."""
        values = {name: one.default or _STAND_INS[one.type] for name, one in self.variables.items()}
        return Item(self.root.document.path.stem, values, values, {}, ())

    def items(self, whole: SourcePosition) -> list[Item]:
        """The items of a list that have no mistake."""
        if whole.document is not self.root.document:
            self.problems.extend(whole.document.problems)
        written = cast("list[Any]", whole.value)
        if not written:
            self.problems.append(whole.problem("expected at least one item"))
        is_csv = whole.document.path.suffix.lower() == ".csv"
        drafts = [self._draft(whole / index, is_csv=is_csv) for index in range(len(written))]
        fixed = list(dict.fromkeys(name for draft in drafts for name in draft.given))
        for draft in drafts:
            self._complete(draft, fixed)
        right = self._different([draft for draft in drafts if draft.is_right])
        if fixed or right:
            self._check_keys(fixed)
        name = self._name(fixed)
        source = whole.document.path if whole.document is not self.root.document else None
        return _told_apart(self._named(right, name, is_alone=len(drafts) == 1), name, source)

    def _wrong(self, draft: _Draft, problem: ConfigError) -> None:
        draft.is_right = False
        self.problems.append(problem)

    def _draft(self, place: SourcePosition, *, is_csv: bool) -> _Draft:
        draft = _Draft(place)
        if not isinstance(place.value, dict):
            message = f"expected an object with values of variables, not {json_type(place.value)}"
            self._wrong(draft, place.problem(message))
            return draft
        for name, value in cast("dict[str, Any]", place.value).items():
            if name in self.variables:
                self._take(draft, name, value, is_csv=is_csv)
                continue
            # A mistake of a declaration is found with the other keys.
            draft.is_right = False
            if name not in self.declared and name not in self.unknown:
                self.unknown.add(name)
                hint = did_you_mean(name, self.declared) if self.declared else "declare it under 'variables'"
                unknown = (place / name).problem(f"there is no variable '{name}'", on_key=True, hint=hint)
                self.problems.append(unknown)
        return draft

    def _take(self, draft: _Draft, name: str, value: Any, *, is_csv: bool) -> None:
        kind = self.variables[name].type
        wrong: str | None = None
        if isinstance(value, str) and "${" in value:
            wrong = "a value must not hold '${'"
        elif is_csv:
            try:
                value = typed(kind, value)
            except ValueError as error:
                wrong = str(error)
        else:
            wrong = wrong_value(kind, value)
        if wrong is not None:
            self._wrong(draft, (draft.place / name).problem(f"the value of the variable '{name}': {wrong}"))
        draft.given[name] = value

    def _complete(self, draft: _Draft, fixed: Sequence[str]) -> None:
        """Add the defaults of what other items give a value to."""
        for name in fixed:
            default = self.variables[name].default
            if name in draft.given or default is not None:
                draft.values[name] = draft.given[name] if name in draft.given else cast("VariableValue", default)
            elif draft.is_right:
                message = f"there is no value for the variable '{name}', which has no default"
                self._wrong(draft, draft.place.problem(message))

    def _different(self, drafts: Sequence[_Draft]) -> list[_Draft]:
        found: dict[tuple[VariableValue, ...], _Draft] = {}
        for draft in drafts:
            first = found.setdefault(tuple(draft.values.values()), draft)
            if first is not draft:
                self.problems.append(draft.place.problem(f"this item is the same as item {first.number}"))
        return list(found.values())

    def _check_keys(self, fixed: Sequence[str]) -> None:
        """Only what is known before a run may stand in what Dagster is told before a run."""
        for key in KEYS:
            place = self.root / key
            for name in dict.fromkeys(name for text in strings_in(place.value) for name in names_in(text)):
                if name not in fixed:
                    hint = did_you_mean(name, fixed) if fixed else None
                    message = f"'{name}' is no variable that the items of 'forEach' give a value to"
                    self.problems.append(place.problem(message, hint=hint))

    def _name(self, fixed: Sequence[str]) -> str | None:
        """The name as it is written; None where it is told elsewhere what is wrong with it."""
        written = (self.root / "name").value
        if not isinstance(written, str) or _NAME.fullmatch(_VARIABLE.sub("x", written)) is None:
            return None
        return written if all(name in fixed for name in names_in(written)) else None

    def _named(self, drafts: Sequence[_Draft], written: str | None, *, is_alone: bool) -> list[_Draft]:
        """The items whose pipelines have names of their own."""
        for draft in drafts:
            draft.name = with_texts(written, draft.values) if written is not None else self.root.document.path.stem
        if written is None:
            return [*drafts]
        if not names_in(written) and not is_alone:
            message = f"every item would make a pipeline called '{written}'"
            example = f"{written}_${{var:{next(iter(self.variables), 'table')}}}"
            self.problems.append((self.root / "name").problem(message, hint=f"let it hold a variable, as in {example}"))
            return [*drafts]
        found: dict[str, _Draft] = {}
        for draft in drafts:
            if _NAME.fullmatch(draft.name) is None:
                message = f"'{draft.name}' can't be the name of a pipeline: it has letters, digits, '_' and '-'"
                self.problems.append(draft.place.problem(message, hint="let another variable stand in the name"))
                continue
            first = found.setdefault(draft.name.replace("-", "_"), draft)
            if first is not draft:
                message = f"the name '{draft.name}' is that of item {first.number}, too"
                told = f"{message}, '{first.name}'" if first.name != draft.name else message
                self.problems.append(draft.place.problem(told, hint="let each item have a name of its own"))
        return list(found.values())


def _told_apart(drafts: Sequence[_Draft], name: str | None, source: Path | None) -> list[Item]:
    """The items, each with the fewest values that no other one has."""
    if not drafts:
        return []
    fixed = list(drafts[0].values)
    fixed.sort(key=lambda variable: variable not in names_in(name or ""))
    choices = (
        choice
        for size in range(_MOST_CHOSEN + 1)
        for choice in combinations(fixed, size)
        if len({tuple(draft.values[variable] for variable in choice) for draft in drafts}) == len(drafts)
    )
    choice = next(choices, tuple(fixed))
    names = tuple(draft.name for draft in drafts)
    return [
        Item(draft.name, draft.given, draft.values, {one: draft.values[one] for one in choice}, names, source)
        for draft in drafts
    ]


def merged(known: Sequence[ConfigError], found: Sequence[tuple[str, Sequence[ConfigError]]]) -> list[ConfigError]:
    """What is wrong with a file whose items were each read: one problem for each place.

    A place that every item finds the same mistake at is told once; of one that depends on the item, the first.

    Args:
        known: What is wrong with `forEach` itself.
        found: The name of each item's pipeline, and what is wrong with it.
    """
    times = Counter(problem for _, problems in found for problem in set(problems))
    taken = {_place(problem) for problem in known}
    all_alike = [problem for problem, count in times.items() if count == len(found) and _place(problem) not in taken]
    taken |= {_place(problem) for problem in all_alike}
    of_some: dict[tuple[Path, int, int], list[tuple[str, ConfigError]]] = {}
    for name, problems in found:
        # An item may find several mistakes at one place.
        for place, problem in {_place(problem): problem for problem in reversed(problems)}.items():
            if place not in taken:
                of_some.setdefault(place, []).append((name, problem))
    return [*known, *all_alike, *map(_of_some, of_some.values())]


def without_variables(problems: Sequence[ConfigError]) -> list[ConfigError]:
    """Those problems that are none of what a variable stands for; all if there are no others.

    Args:
        problems: Of a file that was read with values that nobody has given.
    """
    return [problem for problem in problems if "${var:" not in (problem.source_line or "")] or [*problems]


def _of_some(found: Sequence[tuple[str, ConfigError]]) -> ConfigError:
    (name, problem), *others = found
    more = f" and {len(others)} more" if others else ""
    return replace(problem, message=f"{problem.message}, in '{name}'{more}")


def _place(problem: ConfigError) -> tuple[Path, int, int]:
    return problem.file, problem.line, problem.column
