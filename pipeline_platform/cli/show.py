"""`show`: the first rows of a step."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline_platform.cli.files import EnvironmentName, File, Variables, given_values, one_or_exit
from pipeline_platform.cli.output import FAILED, print_json
from pipeline_platform.exceptions import PipelineException


def show(
    file: File,
    step: Annotated[str, typer.Option(help="Name of the step; 'list' has the names.", show_default=False)],
    limit: Annotated[int, typer.Option(min=1, help="How many rows at most.")] = 20,
    plan: Annotated[bool, typer.Option("--plan", help="Show Spark's plan instead; no row is read.")] = False,
    partition: Annotated[str | None, typer.Option(metavar="KEY", help="The partition that is looked at.")] = None,
    variables: Variables = None,
    _environment: EnvironmentName = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the columns and the rows as JSON.")] = False,
) -> None:
    """Show the first rows of a step, read from its real sources: of an extract or a transform what it makes, of a
    validation or a load what it is given. Nothing is written.

    Values of columns that are marked as sensitive, that look like secrets, or that are made of such columns, are shown
    as ***. A streaming pipeline is read as a batch.
    """
    pipeline = one_or_exit(file, given_values(variables or []))
    # Imported by this command alone: no other has to wait for it.
    from rich.console import Console

    from pipeline_platform.step_rows import chosen_partition, plan_text, step_rows

    try:
        chosen = chosen_partition(pipeline, partition)
        with Console(stderr=True).status(f"{pipeline.name}: reading {step}"):
            shown = plan_text(pipeline, step, chosen) if plan else step_rows(pipeline, step, limit, chosen)
    except PipelineException as error:
        typer.echo(str(error.locate(pipeline.location)), err=True)
        raise typer.Exit(FAILED) from error
    if isinstance(shown, str):
        typer.echo(shown)
    elif as_json:
        columns = [{"name": name, "type": kind} for name, kind in zip(shown.columns, shown.types, strict=True)]
        print_json({"step": step, "columns": columns, "rows": shown.as_dicts(), "hasMore": shown.has_more})
    else:
        Console().print(shown)
