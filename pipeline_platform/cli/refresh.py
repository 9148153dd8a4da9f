"""`refresh`: asks databases for the items of files whose `forEach` is a query."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from pipeline_platform.cli.files import Paths, files_at
from pipeline_platform.cli.output import FAILED
from pipeline_platform.config.for_each_query import ItemsQuery
from pipeline_platform.config.loader import load_items_query
from pipeline_platform.exceptions import PipelineConfigurationException, PipelineException
from pipeline_platform.registry import method_registry


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
    from pipeline_platform.credentials.run_credentials import RunCredentials
    from pipeline_platform.orchestration.items import query_location, refresh_items

    with closing(RunCredentials.from_environment("refresh", query_location(file, query))) as credentials:
        refreshed = refresh_items(file, query, method_registry(), credentials, is_check=is_check)
    typer.echo(str(refreshed))
    return refreshed.is_other
