"""Asks databases for the items of files whose `forEach` is a query."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline_platform.config.for_each_query import ItemsQuery
from pipeline_platform.config.loader import require_items
from pipeline_platform.config.method_registry import Methods
from pipeline_platform.config.variables import VariableValue, text_of
from pipeline_platform.credentials.run_credentials import RunCredentials
from pipeline_platform.exceptions import PipelineConfigurationException, PipelineException, StepLocation
from pipeline_platform.state_file import replace_text
from pipeline_platform.steps.credentialed import Credentialed
from pipeline_platform.steps.extract import Extract

Item = dict[str, VariableValue]


@dataclass(frozen=True)
class Refreshed:
    """What a database said that there is.

    Args:
        file: The pipeline file.
        items: All that there are now.
        added: Those that there were not before.
        removed: Those that there are no longer.
        is_other: Whether the list is not what it was, be it in its order alone.
    """

    file: Path
    items: Sequence[Item]
    added: Sequence[Item]
    removed: Sequence[Item]
    is_other: bool

    def __str__(self) -> str:
        lines = [f"{self.file}: {len(self.items)} items, {len(self.added)} added, {len(self.removed)} removed"]
        for sign, items in (("+", self.added), ("-", self.removed)):
            for item in items:
                lines.append(f"  {sign} {', '.join(f'{name}={text_of(value)}' for name, value in item.items())}")
        return "\n".join(lines)


def query_location(file: Path, query: ItemsQuery) -> StepLocation:
    """Where the query of a file is, for errors.

    Args:
        file: The pipeline file.
        query: Of its `forEach`.
    """
    return StepLocation(file.stem, file, query.place.document.position(query.place.pointer)[0])


def refresh_items(
    file: Path, query: ItemsQuery, methods: Methods, credentials: RunCredentials, *, is_check: bool = False
) -> Refreshed:
    """Ask a query for its items and keep them, in one go: who reads them sees those of before or these.

    Args:
        file: The pipeline file.
        query: Of its `forEach`.
        methods: The methods a step may name.
        credentials: Finds those of the query.
        is_check: Only ask.

    Raises:
        PipelineException: The database does not answer, or with what makes no right pipelines; the items are left.
    """
    location = query_location(file, query)
    try:
        before, found = query.known(), query.items_of(*_answer(query, credentials, location))
        require_items(file, methods, found)
        if not is_check and found != before:
            _keep(query.items, found)
    except PipelineException as error:
        error.locate(location)
        raise
    added = [item for item in found if item not in before]
    removed = [item for item in before if item not in found]
    return Refreshed(file, found, added, removed, found != before)


def _answer(
    query: ItemsQuery, credentials: RunCredentials, location: StepLocation
) -> tuple[Sequence[str], Sequence[Sequence[object]]]:
    extract = query.extract.resolved()
    assert isinstance(extract, Extract)
    for extra in extract.required_extras():
        extra.require()
    need = extract.credential_request() if isinstance(extract, Credentialed) else None
    return extract.answer(credentials.enter(need, location) if need is not None else None)


def _keep(path: Path, items: Sequence[Item]) -> None:
    lines = ",\n".join(f"  {json.dumps(item, ensure_ascii=False)}" for item in items)
    try:
        replace_text(path, f"[\n{lines}\n]\n")
        # Others read it, such as Dagster.
        path.chmod(0o644)
    except OSError as error:
        raise PipelineConfigurationException(f"the items can't be written: {error.strerror}: {path}") from error
