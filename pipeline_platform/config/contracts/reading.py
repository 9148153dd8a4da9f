"""`contract`: the file of a data contract that a load keeps, and which table of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from pipeline_platform.config.config_error import ConfigError, did_you_mean
from pipeline_platform.config.contracts.odcs import DataContract, Item, Property
from pipeline_platform.config.contracts.table import TableContract
from pipeline_platform.config.documents.document import DocumentError, SourcePosition, json_type, read_text
from pipeline_platform.config.documents.yaml_document import parse_yaml
from pipeline_platform.config.format_errors import format_errors
from pipeline_platform.config.located_errors import located_errors
from pipeline_platform.config.project_files import referenced_file, shown_as


class ContractErrors(Exception):
    """What is wrong with a contract, or with what leads to it."""

    def __init__(self, problems: list[ConfigError]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = problems


def read_contract(place: SourcePosition, path: str, project: Path) -> tuple[DataContract, SourcePosition]:
    """Read the contract that a path leads to.

    Args:
        place: Where the path stands; it is relative to that file.
        path: The path.
        project: The folder that it must not leave, resolved.

    Returns:
        The contract, and where its file begins.

    Raises:
        ContractErrors: There is none, or it is none by the standard.
    """
    try:
        target = referenced_file(place, place.document.path.resolve().parent, project, path=path)
        shown = shown_as(target, place)
        document = parse_yaml(read_text(target, shown), shown)
    except DocumentError as error:
        raise ContractErrors([error.problem]) from error
    root = SourcePosition(document)
    if not isinstance(document.value, dict):
        raise ContractErrors([root.problem(f"expected a data contract, not {json_type(document.value)}")])
    written = cast("dict[str, Any]", document.value)
    try:
        contract = DataContract.model_validate(written)
    except ValidationError as error:
        places: Mapping[str, SourcePosition] = {key: root / key for key in written}
        found = located_errors(format_errors(error), DataContract, places, root)
        raise ContractErrors([*document.problems, *map(_with_quotes, found)]) from error
    if problems := [*document.problems, *_repeated_names(contract, root)]:
        raise ContractErrors(problems)
    return contract, root


def table_contract(
    contract: DataContract, root: SourcePosition, wanted: str | None, loaded: Sequence[str], place: SourcePosition
) -> TableContract:
    """The table of a contract that a load keeps.

    Args:
        contract: The contract.
        root: Where its file begins.
        wanted: The name that the load gives; None if it gives none.
        loaded: What the table of the load may be called.
        place: What names the contract, for errors.

    Raises:
        ContractErrors: There is no such table, or it is not told which it is.
    """
    tables = contract.schema_
    sought = [wanted] if wanted is not None else loaded
    names = [(table.name, table.physical_name) for table in tables]
    called = [(name, [index for index, known in enumerate(names) if name in known]) for name in sought]
    name, found = next(((name, found) for name, found in called if found), (sought[0], list[int]()))
    if len(found) > 1:
        message = f"the contract {root.document.path} has {len(found)} objects with the name '{name}' in its 'schema'"
        others = ", ".join(tables[index].name for index in found)
        raise ContractErrors([place.problem(message, hint=f"name one by what it alone is called: {others}")])
    at = found[0] if found else 0 if wanted is None and len(tables) == 1 else None
    if at is None:
        known = [table.name for table in tables]
        file = root.document.path
        if not known:
            raise ContractErrors([place.problem(f"the contract {file} has no 'schema', so it promises no table")])
        message = f"the contract {file} has no object '{sought[0]}' in its 'schema'"
        hint = did_you_mean(wanted, known) if wanted is not None else f"name one with 'schema': {', '.join(known)}"
        raise ContractErrors([place.problem(message, hint=hint)])
    return TableContract(contract, tables[at], root / "schema" / at)


def _repeated_names(contract: DataContract, root: SourcePosition) -> Iterator[ConfigError]:
    seen: set[str] = set()
    for number, table in enumerate(contract.schema_):
        place = root / "schema" / number
        if table.name in seen:
            yield (place / "name").problem(f"the contract has the object '{table.name}' twice")
        seen.add(table.name)
        yield from _repeated_properties(table.properties, place, f"'{table.name}' has the column")


def _repeated_properties(properties: Sequence[Property], place: SourcePosition, what: str) -> Iterator[ConfigError]:
    columns: set[str] = set()
    names: set[str] = set()
    for index, one in enumerate(properties):
        at = place / "properties" / index
        if one.column.lower() in columns:
            yield at.problem(f"{what} '{one.column}' twice")
        elif one.name in names:
            yield (at / "name").problem(f"{what} '{one.name}' twice")
        columns.add(one.column.lower())
        names.add(one.name)
        yield from _repeated_within(one, at, one.column)


def _repeated_within(one: Item, place: SourcePosition, path: str) -> Iterator[ConfigError]:
    yield from _repeated_properties(one.properties, place, f"'{path}' has the field")
    for inner, at in one.inside(place):
        yield from _repeated_within(inner, at, path)


def _with_quotes(problem: ConfigError) -> ConfigError:
    """The error, with a hint where YAML takes for something else what is meant as text."""
    unquoted = ("expected a string, not a number", "expected a string, not a boolean")
    return replace(problem, hint="write it in quotes") if problem.message in unquoted else problem
