"""`show`: the first rows of a step."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline_platform.cli.files import EnvironmentName, File, Variables, given_values, one_or_exit
from pipeline_platform.cli.output import FAILED, print_json
from pipeline_platform.cli.testing import partition_of
from pipeline_platform.exceptions import PipelineException
from pipeline_platform.registry import method_registry

if TYPE_CHECKING:
    from pipeline_platform.step_rows import StepRows


def show(
    file: File,
    step: Annotated[str, typer.Option(help="Name of the step; 'list' has the names.", show_default=False)],
    limit: Annotated[int, typer.Option(min=1, help="How many rows at most.")] = 20,
    plan: Annotated[bool, typer.Option("--plan", help="Show Spark's plan instead; no row is read.")] = False,
    partition: Annotated[str | None, typer.Option(metavar="KEY", help="The partition that is looked at.")] = None,
    variables: Variables = None,
    test: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Show what comes of the rows of this test, named in part or whole; no system is read.",
        ),
    ] = None,
    _environment: EnvironmentName = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the columns and the rows as JSON.")] = False,
) -> None:
    """Show the first rows of a step, read from its real sources: of an extract or a transform what it makes, of a
    validation or a load what it is given. Nothing is written.

    Values of columns that are marked as sensitive, that look like secrets, or that are made of such columns, are shown
    as ***. A streaming pipeline is read as a batch. With --test, the rows are what comes of those that a test gives.
    """
    if test is not None and (plan or partition is not None or variables):
        raise typer.BadParameter("a test says itself what it loads: leave out --plan, --partition and --var")
    # Imported by this command alone: no other has to wait for it.
    from rich.console import Console

    from pipeline_platform.step_rows import chosen_partition, plan_text, step_rows

    if test is not None:
        _tell(step, _of_test(file, step, limit, test), as_json=as_json)
        return
    pipeline = one_or_exit(file, given_values(variables or []))
    try:
        chosen = chosen_partition(pipeline, partition)
        with Console(stderr=True).status(f"{pipeline.name}: reading {step}"):
            shown = plan_text(pipeline, step, chosen) if plan else step_rows(pipeline, step, limit, chosen)
    except PipelineException as error:
        typer.echo(str(error.locate(pipeline.location)), err=True)
        raise typer.Exit(FAILED) from error
    _tell(step, shown, as_json=as_json)


def _of_test(file: Path, step: str, limit: int, name: str) -> StepRows:
    """The rows of a step that come of those that a test gives.

    Raises:
        typer.Exit: There is no such test or step, or its run fails; what is wrong is printed.
    """
    from rich.console import Console

    from pipeline_platform.engine.spark.server import SERVER_VARIABLE, Use
    from pipeline_platform.step_rows import rows_in_test
    from pipeline_platform.testing.reading import named_test

    try:
        test = named_test(file, name, method_registry())
        if test.case.now is not None:
            os.environ.setdefault(SERVER_VARIABLE, Use.NEVER)
        with Console(stderr=True).status(f"{test.pipeline.name}: {test.case.name}"):
            return rows_in_test(test, step, limit, partition_of(test))
    except PipelineException as error:
        problems = getattr(error, "problems", ())
        typer.echo("\n".join(map(str, problems)) or str(error), err=True)
        raise typer.Exit(FAILED) from error


def _tell(step: str, shown: StepRows | str, *, as_json: bool) -> None:
    from rich.console import Console

    if isinstance(shown, str):
        typer.echo(shown)
    elif as_json:
        columns = [{"name": name, "type": kind} for name, kind in zip(shown.columns, shown.types, strict=True)]
        print_json({"step": step, "columns": columns, "rows": shown.as_dicts(), "hasMore": shown.has_more})
    else:
        Console().print(shown)
