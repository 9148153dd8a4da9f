"""`forEach` over a query: a source is asked for the items, which are kept in a file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from pipeline_platform.config.config_error import ConfigError, did_you_mean, nearest
from pipeline_platform.config.defaults import DEFAULTS_FILE, Defaults, FolderDefaults
from pipeline_platform.config.documents.document import Document, DocumentError, SourcePosition, json_type
from pipeline_platform.config.for_each import for_each_place
from pipeline_platform.config.format_errors import format_errors
from pipeline_platform.config.inline_secrets import exposed_secrets
from pipeline_platform.config.located_errors import located_errors
from pipeline_platform.config.method_registry import MethodRegistry
from pipeline_platform.config.project_files import project_file
from pipeline_platform.config.step import StepConfig
from pipeline_platform.config.variables import Variable, VariableValue, declared_variables, text_of, typed, wrong_value
from pipeline_platform.exceptions import PipelineExecutionException

QUERY_KEYS = ("items", "method", "config")
"""Keys of a `forEach` that is a query."""


@dataclass(frozen=True)
class ItemsQuery:
    """What the items of a file are asked of, and where they are kept.

    Args:
        place: Of the `forEach`.
        extract: What is asked.
        items: The file that keeps them.
        variables: Those that an item may give a value to.
    """

    place: SourcePosition
    extract: StepConfig
    items: Path
    variables: Mapping[str, Variable]

    def items_of(self, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[dict[str, VariableValue]]:
        """The items that the rows of an answer are.

        Args:
            columns: Names of the columns, each that of a variable, in any case.
            rows: The rows; NULL leaves the variable out.

        Raises:
            PipelineExecutionException: There is no row, or a column or a value is none of a variable.
        """
        if not rows:
            raise PipelineExecutionException(
                "the query has no row, and a file without items makes no pipeline; the items are left as they are",
                hint="check the query and what its user may see",
            )
        names = [self._variable(column) for column in columns]
        for name in names:
            if names.count(name) > 1:
                raise PipelineExecutionException(
                    f"two columns of the query are for the variable '{name}'", hint="name one of them otherwise"
                )
        items = [
            {name: self._value(name, value) for name, value in zip(names, row, strict=True) if value is not None}
            for row in rows
        ]
        # A database hands out rows in any order, and the file is one that people compare.
        return sorted(items, key=json.dumps)

    def known(self) -> list[dict[str, VariableValue]]:
        """The items as they are kept now; none if there is no such file.

        Raises:
            PipelineExecutionException: It holds something else, which is not to be lost.
        """
        try:
            found: Any = json.loads(self.items.read_bytes())
        except FileNotFoundError:
            return []
        except (OSError, ValueError):
            found = None
        if not isinstance(found, list) or not all(isinstance(item, dict) for item in cast("list[Any]", found)):
            raise PipelineExecutionException(
                f"{self.items} holds something else than a list of items, and would be overwritten",
                hint="name another file in 'items', or delete this one",
            )
        return cast("list[dict[str, VariableValue]]", found)

    def _variable(self, column: str) -> str:
        for name in self.variables:
            if name.lower() == column.lower():
                return name
        raise PipelineExecutionException(
            f"the query has the column '{column}', and there is no such variable",
            hint=nearest(column, list(self.variables)) or "declare it under 'variables', or name the column otherwise",
        )

    def _value(self, name: str, value: Any) -> VariableValue:
        kind = self.variables[name].type
        try:
            given = _plain(value)
            if kind == "boolean" and given in (0, 1):
                # MySQL has no other booleans.
                given = bool(given)
            read = given if wrong_value(kind, given) is None else typed(kind, text_of(given))
        except ValueError as error:
            raise PipelineExecutionException(
                f"the query has a value for the variable '{name}' that is none: {error}",
                hint="let the query cast it, or leave out the row",
            ) from error
        if isinstance(read, str) and "${" in read:
            raise PipelineExecutionException(
                f"the query has a value for the variable '{name}' with '${{' in it, which would be a placeholder",
                hint="leave out the row",
            )
        return read


def _plain(value: Any) -> VariableValue:
    """A value of a driver as one that JSON has.

    Raises:
        ValueError: JSON has none for it.
    """
    match value:
        case bool() | int() | float() | str():
            return value
        case Decimal() if value.is_finite():
            return int(value) if value == value.to_integral_value() and value.as_tuple().exponent == 0 else f"{value:f}"
        case date() | datetime():
            return value.isoformat()
        case bytes() | bytearray():
            # Of MySQL, text of its catalog, too.
            return value.decode()
        case _:
            raise ValueError(f"no text, number, date or truth value, but {type(value).__name__} {value}")


def items_query(document: Document, defaults: Defaults) -> tuple[ItemsQuery | None, list[ConfigError]]:
    """The query of a file's `forEach`, and what is wrong with it; neither if it has none.

    Args:
        document: The file.
        defaults: Of its folder, for the keys of the method; they know the project and its methods.
    """
    place = for_each_place(document)
    if place is None or not isinstance(place.value, dict):
        return None, []
    keys = cast("dict[str, Any]", place.value)
    problems = [
        (place / key).problem(f"unknown key '{key}'", on_key=True, hint=did_you_mean(key, QUERY_KEYS))
        for key in keys
        if key not in QUERY_KEYS
    ]
    missing = [key for key in ("items", "method") if key not in keys]
    problems += [place.problem(f"the key '{key}' is missing") for key in missing]
    method = _method(place, keys, defaults.methods, problems)
    of_folder = defaults.of(document.path)
    problems += of_folder.problems
    extract = _extract(place, keys.get("config", {}), method, of_folder, problems) if method is not None else None
    if extract is None or problems:
        return None, problems
    try:
        items = project_file(place / "items", document.path.resolve().parent, defaults.project)
    except DocumentError as error:
        return None, [error.problem]
    wrong = None
    if items.name == DEFAULTS_FILE:
        wrong = f"'{DEFAULTS_FILE}' has the defaults of a folder: expected another name"
    elif items.suffix.lower() != ".json":
        wrong = f"expected a file named *.json, not '{items.name}'"
    elif items.parent == document.path.resolve().parent:
        wrong = "beside the pipelines it would be taken for one of them: expected another folder, such as ../shared"
    if wrong is not None:
        return None, [(place / "items").problem(wrong)]
    declared = cast("dict[str, Any]", document.value).get("variables")
    return ItemsQuery(place, extract, items, declared_variables(declared)), []


def _method(
    place: SourcePosition, keys: Mapping[str, Any], methods: MethodRegistry, problems: list[ConfigError]
) -> type[StepConfig] | None:
    if "method" not in keys:
        return None
    able = {name: one for name, one in methods["extract"].items() if one.answers_queries}
    name = keys["method"]
    if isinstance(name, str) and name in able:
        return able[name]
    valid = list(dict.fromkeys(one.method for one in able.values()))
    message = f"expected an extract that can be asked without Spark, not {name!r}"
    problems.append((place / "method").problem(message, hint=f"valid: {', '.join(valid)}"))
    return None


def _extract(
    place: SourcePosition, config: Any, method: type[StepConfig], defaults: FolderDefaults, problems: list[ConfigError]
) -> StepConfig | None:
    whole = place / "config"
    if not isinstance(config, dict):
        problems.append(whole.problem(f"expected 'config' to be an object, not {json_type(config)}"))
        return None
    written = cast("dict[str, Any]", config)
    places = {**{key: whole / key for key in written}, **dict(defaults.of_step(method, written))}
    values = {key: at.value for key, at in places.items()}
    try:
        found = method.model_validate(values)
    except ValidationError as error:
        at = whole if "config" in cast("dict[str, Any]", place.value) else place
        problems.extend(located_errors(format_errors(error), method, places, at))
        return None
    problems.extend(exposed_secrets(found, places))
    return found
