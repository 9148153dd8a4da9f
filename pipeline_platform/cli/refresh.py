"""`refresh`: asks databases for the items of files whose `forEach` is a query."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from pipeline_platform.cli.files import Paths, files_at
from pipeline_platform.cli.output import FAILED
from pipeline_platform.config.for_each_query import ItemsQuery
from pipeline_platform.config.loader import load_items_query, require_items
from pipeline_platform.config.variables import VariableValue, text_of
from pipeline_platform.exceptions import PipelineConfigurationException, PipelineException, StepLocation
from pipeline_platform.registry import method_registry
from pipeline_platform.state_file import replace_text
from pipeline_platform.steps.credentialed import Credentialed
from pipeline_platform.steps.extract import Extract

Item = dict[str, VariableValue]


def refresh(
    files: Paths,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit code 1 if there are other items than are kept.")
    ] = False,
) -> None:
    """Ask databases for the items of files whose 'forEach' is a query, and keep what they answer.

    Each item makes a pipeline: which are added and which are removed is printed. Dagster knows them once its code
    location is loaded again. A query without rows is an error, and leaves the items as they are.
    """
    try:
        queries = [(file, query) for file in files_at(files) if (query := load_items_query(file, method_registry()))]
        if not queries:
            raise PipelineConfigurationException("no file has a query for its 'forEach'")
        differ = [_refresh(file, query, is_check=check) for file, query in queries]
    except PipelineException as error:
        problems = error.problems if isinstance(error, PipelineConfigurationException) else ()
        typer.echo("\n".join(map(str, problems)) or str(error), err=True)
        raise typer.Exit(FAILED) from error
    if check and any(differ):
        raise typer.Exit(FAILED)


def _refresh(file: Path, query: ItemsQuery, *, is_check: bool) -> bool:
    """Ask a query and keep its items: whether they are others than before."""
    location = StepLocation(file.stem, file, query.place.document.position(query.place.pointer)[0])
    try:
        before, found = query.known(), query.items_of(*_answer(query, location))
        require_items(file, method_registry(), found)
        if not is_check and found != before:
            _keep(query.items, found)
    except PipelineException as error:
        error.locate(location)
        raise
    added = [item for item in found if item not in before]
    removed = [item for item in before if item not in found]
    typer.echo(f"{file}: {len(found)} items, {len(added)} added, {len(removed)} removed")
    for sign, items in (("+", added), ("-", removed)):
        for item in items:
            typer.echo(f"  {sign} {', '.join(f'{name}={text_of(value)}' for name, value in item.items())}")
    return found != before


def _answer(query: ItemsQuery, location: StepLocation) -> tuple[Sequence[str], Sequence[Sequence[object]]]:
    from pipeline_platform.credentials.run_credentials import RunCredentials

    extract = query.extract.resolved()
    assert isinstance(extract, Extract)
    for extra in extract.required_extras():
        extra.require()
    need = extract.credential_request() if isinstance(extract, Credentialed) else None
    with closing(RunCredentials.from_environment("refresh", location)) as credentials:
        return extract.answer(credentials.enter(need, location) if need is not None else None)


def _keep(path: Path, items: Sequence[Item]) -> None:
    """Put the items there in one go: who reads them sees those of before or these."""
    lines = ",\n".join(f"  {json.dumps(item, ensure_ascii=False)}" for item in items)
    try:
        replace_text(path, f"[\n{lines}\n]\n")
        # Others read it, such as Dagster.
        path.chmod(0o644)
    except OSError as error:
        raise PipelineConfigurationException(f"the items can't be written: {error.strerror}: {path}") from error
