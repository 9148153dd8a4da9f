"""`profile`: what is in the columns of a table, and the rules that its rows keep."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from pipeline_platform.cli.files import Variables, given_values, one_or_exit
from pipeline_platform.cli.output import FAILED, print_json
from pipeline_platform.exceptions import PipelineException


def profile(
    table: Annotated[
        str,
        typer.Argument(
            help="Path or URI of a Delta table, of a file or of a folder of files; with --step a pipeline file.",
            show_default=False,
        ),
    ],
    step: Annotated[str | None, typer.Option(help="Name of a step of the pipeline; 'list' has the names.")] = None,
    table_format: Annotated[
        Literal["delta", "parquet", "csv", "json", "orc", "avro"] | None,
        typer.Option("--format", help="What the table is, where its files do not tell."),
    ] = None,
    partition: Annotated[str | None, typer.Option(metavar="KEY", help="The partition that is looked at.")] = None,
    variables: Variables = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the profile and the rules as JSON.")] = False,
) -> None:
    """Look at all rows of a table, or of a step, and propose rules that they keep. Nothing is written.

    The rows are read three times: twice for what is in the columns, and once by the proposed rules themselves. No rule
    is proposed from fewer than 100 rows.

    Values of columns that are marked as sensitive, that look like secrets, or that are made of such columns, are shown
    as ***.
    """
    pipeline = one_or_exit(Path(table), given_values(variables or [])) if step is not None else None
    # Imported by this command alone: no other has to wait for it.
    from rich.console import Console

    from pipeline_platform.profiling.report import report
    from pipeline_platform.profiling.table_profile import STEP, table_pipeline, table_profile
    from pipeline_platform.profiling.table_profile import as_json as in_json
    from pipeline_platform.step_rows import chosen_partition

    try:
        looked_at = pipeline or table_pipeline(table, table_format)
        chosen = chosen_partition(looked_at, partition)
        with Console(stderr=True).status(f"reading {table if pipeline is None else step}"):
            found = table_profile(looked_at, step or STEP, chosen)
    except PipelineException as error:
        located = error.locate(pipeline.location) if pipeline is not None else error
        typer.echo(str(located), err=True)
        raise typer.Exit(FAILED) from error
    if as_json:
        print_json(in_json(found))
        return
    console = Console()
    for part in report(found):
        # A step is one line, to be copied as it is.
        console.print(part, soft_wrap=not hasattr(part, "columns"))
