"""`cursor`: where the loads of a pipeline have come in sources of which they load what is new."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline_platform.cli.files import EnvironmentName, File, Variables, given_values, one_or_exit
from pipeline_platform.cli.output import FAILED, print_json
from pipeline_platform.config.partitions import Partition
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.exceptions import PipelineConfigurationException, PipelineException
from pipeline_platform.frames.cursor_values import is_value_of_some_column
from pipeline_platform.steps.known_files import MODIFICATION_TIME

if TYPE_CHECKING:
    from pipeline_platform.credentials.run_credentials import RunCredentials


def cursor(
    file: File,
    value: Annotated[
        str | None,
        typer.Option("--set", metavar="VALUE", help="Have the next run begin at this value, itself included."),
    ] = None,
    reset: Annotated[
        bool, typer.Option("--reset", help="Have the next run begin as if nothing had been loaded.")
    ] = False,
    step: Annotated[
        str | None, typer.Option(metavar="NAME", help="The extract that is meant, where several are incremental.")
    ] = None,
    partition: Annotated[
        str | None, typer.Option(metavar="KEY", help="The partition that is meant, of a pipeline with partitions.")
    ] = None,
    variables: Variables = None,
    _environment: EnvironmentName = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Show, set or reset where the next run of a pipeline begins in a source of which it loads what is new.

    What was loaded stays. Rows that are loaded again are there twice, unless the load merges them. Set it while no run
    loads the table.
    """
    from pipeline_platform.engine.cursors import known_cursors

    pipeline = one_or_exit(file, given_values(variables or []))
    if value is not None and not is_value_of_some_column(value):
        raise typer.BadParameter(f"expected a number, a date or a time, not '{value}'", param_hint="--set")
    if value is not None and reset:
        raise typer.BadParameter("give either --set or --reset")
    try:
        with closing(_credentials(pipeline)) as credentials:
            found = known_cursors(pipeline, credentials, _partition(pipeline, partition))
            chosen = [one for one in found if step is None or one.step.name == step]
            if not chosen:
                names = ", ".join(one.step.name for one in found)
                told = f"no step called '{step}' is incremental, but {names}" if found else "no step is incremental"
                raise PipelineConfigurationException(told, location=pipeline.location)
            if value is not None or reset:
                if len(chosen) > 1:
                    raise PipelineConfigurationException(
                        f"several steps are incremental: {', '.join(one.step.name for one in chosen)}",
                        location=pipeline.location,
                        hint="say which is meant, with --step",
                    )
                chosen[0].put(value)
            rows = [{"step": one.step.name, "column": one.column, **one.told()} for one in chosen]
    except PipelineException as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(FAILED) from error
    if as_json:
        print_json(rows)
    else:
        _show(rows)


def _credentials(pipeline: PipelineConfig) -> RunCredentials:
    from pipeline_platform.credentials.run_credentials import RunCredentials

    return RunCredentials.from_environment("cursor", pipeline.location)


def _partition(pipeline: PipelineConfig, key: str | None) -> Partition | None:
    if (pipeline.partitions is None) != (key is None):
        wrong = "has partitions: say which is meant, with --partition" if key is None else "has no partitions"
        raise PipelineConfigurationException(f"the pipeline {wrong}", location=pipeline.location)
    if key is None:
        return None
    from pipeline_platform.resources.partitions import chosen_partitions

    [partition] = chosen_partitions(pipeline, key, key)
    return partition


def _show(rows: Sequence[dict[str, Any]]) -> None:
    for row in rows:
        if row["position"] is None:
            begins = (
                "reads all files"
                if row["column"] == MODIFICATION_TIME
                else "begins with the first row, or at 'initialValue'"
            )
            told = f"nothing is loaded yet: the next run {begins}"
        elif row["is_start"]:
            told = f"the next run begins at {row['position']}, itself included"
        else:
            told = f"loaded up to {row['position']}, by {row['loads']} loads"
        typer.echo(f"{row['step']}, {row['column']}: {told}")
