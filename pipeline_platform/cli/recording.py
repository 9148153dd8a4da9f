"""`test --record`: a test of a real run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer

from pipeline_platform.cli.files import given_values, one_or_exit
from pipeline_platform.cli.output import FAILED
from pipeline_platform.exceptions import PipelineException
from pipeline_platform.registry import method_registry


def record_test(
    file: Path,
    *,
    steps: Sequence[str],
    name: str | None,
    limit: int,
    where: Sequence[str],
    partition: str | None,
    variables: Sequence[str],
) -> None:
    """Record a test, and print what is in it.

    Args:
        file: The pipeline.
        steps: Names of the steps whose rows are expected; none for the loads.
        name: Of the test; None for one with the date.
        limit: How many rows of each extract at most.
        where: `EXTRACT=SQL` each: which rows of an extract.
        partition: Key of the partition that is loaded.
        variables: `NAME=VALUE` each.

    Raises:
        typer.Exit: It can't be recorded; why is printed.
    """
    values = given_values(variables)
    pipeline = one_or_exit(file, values)
    # Imported by this command alone: no other has to wait for it.
    from rich.console import Console
    from rich.text import Text

    from pipeline_platform.step_rows import chosen_partition
    from pipeline_platform.testing.recording import Request, record

    console = Console(stderr=True)
    request = Request(steps, name, limit, _conditions(where), list(values), partition)
    try:
        with console.status(f"{pipeline.name}: recording"):
            made = record(pipeline, file, request, chosen_partition(pipeline, partition), method_registry())
    except PipelineException as error:
        problems = getattr(error, "problems", ())
        typer.echo("\n".join(map(str, problems)) or str(error.locate(pipeline.location)), err=True)
        raise typer.Exit(FAILED) from error
    given = ", ".join(f"{count} of {extract}" for extract, count in made.given.items())
    expected = ", ".join(f"{count} of {step}" for step, count in made.expected.items())
    console.print(Text("recorded", style="green").append(f"  '{made.name}' in {made.file}", style="default"))
    console.print(Text(f"rows given: {given}; expected: {expected}"), soft_wrap=True)
    for note in made.notes:
        console.print(Text(f"note: {note}"), soft_wrap=True)


def _conditions(options: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for option in options:
        extract, is_given, condition = option.partition("=")
        if not is_given or not extract.strip() or not condition.strip():
            raise typer.BadParameter(f"expected EXTRACT=SQL, such as --where \"orders=id < 10\", not '{option}'")
        if extract.strip() in found:
            raise typer.BadParameter(f"there are two conditions for '{extract.strip()}': write one with AND")
        found[extract.strip()] = condition.strip()
    return found
