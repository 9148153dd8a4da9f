"""`plan`: what a change of pipeline files does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline_platform.cli.output import FAILED, print_json
from pipeline_platform.exceptions import PipelineConfigurationException, PipelineException

if TYPE_CHECKING:
    from pipeline_platform.planning.changes import ChangePlan
    from pipeline_platform.planning.data_differences import DataDifferences
    from pipeline_platform.planning.sources import Sample

CHANGES_DATA = 3
"""Exit code where no reader breaks, but tables have to be loaded again."""
BREAKING = 4
"""Exit code where something breaks."""
DEFAULT_LIMIT = 10_000
"""Rows that are read of each extract."""


def plan(
    folder: Annotated[Path, typer.Argument(help="Folder of pipeline files.", envvar="PIPELINES_DIR")] = Path(
        "pipelines"
    ),
    against: Annotated[
        str | None,
        typer.Option(
            metavar="REF",
            help="What the files are compared with: a revision of Git, or a folder. By default where the branch has "
            "left the default branch.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        bool,
        typer.Option(
            "--data",
            help="Also carry out both versions of the pipelines that change, on the same rows of their sources, and "
            "show where what they load differs. Nothing is written.",
        ),
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option(
            min=0,
            help=f"With --data: how many rows of each extract are read at most, by default {DEFAULT_LIMIT}; 0 for all. "
            "Not of pipelines with partitions.",
            show_default=False,
        ),
    ] = None,
    partition: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="With --data: which partition is compared of pipelines with partitions."),
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN",
            help="With --data: a column that tells rows apart, for loads without merge keys and without a primary key "
            "in a contract. May be given repeatedly.",
        ),
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a comment for a pull request.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
) -> None:
    """Tell what a change of pipeline files does to tables, streams, partitions and assets, before it is merged. Writes
    nothing, and reads schemas at most, and with --data rows.

    Exit code 0 if the change is safe, 3 if it changes data or nothing can be said of a pipeline, 4 if it breaks
    something, 1 if it can't be planned: one of the versions has mistakes, or there is no such revision. With --data, 4
    also if a run fails now that did not before, and 1 if rows can't be compared.
    """
    if markdown and as_json:
        raise typer.BadParameter("--markdown and --json are mutually exclusive")
    if not data and (limit is not None or partition is not None or key):
        raise typer.BadParameter("--limit, --partition and --key say which rows are compared: give --data, too")
    # Imported by this command alone: no other has to wait for it.
    from rich.console import Console

    from pipeline_platform.planning.sources import Sample

    rows = DEFAULT_LIMIT if limit is None else limit or None
    sample = Sample(rows, partition, tuple(key or ())) if data else None
    try:
        with Console(stderr=True).status("comparing both versions"):
            made, found = _planned(folder, against, sample)
    except PipelineConfigurationException as error:
        typer.echo("\n".join([*map(str, error.problems), *_hint(error)]) if error.problems else str(error), err=True)
        raise typer.Exit(FAILED) from error
    except PipelineException as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(FAILED) from error
    _tell(made, found, markdown=markdown, as_json=as_json)
    raise typer.Exit(_exit_code(made, found))


def _tell(plan: ChangePlan, data: DataDifferences | None, *, markdown: bool, as_json: bool) -> None:
    from rich.console import Console

    from pipeline_platform.planning.data_report import markdown_data_report, terminal_data_report
    from pipeline_platform.planning.report import markdown_report, terminal_report

    if as_json:
        print_json({**plan.as_json(), **({"data": data.as_json()} if data is not None else {})})
    elif markdown:
        typer.echo(markdown_report(plan))
        if data is not None:
            typer.echo(markdown_data_report(data))
    else:
        if data is not None:
            Console().print(terminal_data_report(data), soft_wrap=True)
        Console().print(terminal_report(plan), soft_wrap=True)


def _exit_code(plan: ChangePlan, data: DataDifferences | None) -> int:
    from pipeline_platform.planning.changes import Severity

    if data is not None and plan.verdict < Severity.BREAKING and any(one.is_unknown for one in data.pipelines):
        return FAILED
    return (0, CHANGES_DATA, BREAKING)[plan.verdict]


def _hint(error: PipelineException) -> list[str]:
    return [f"  next: {error.hint}"] if error.hint is not None else []


def _planned(folder: Path, against: str | None, sample: Sample | None) -> tuple[ChangePlan, DataDifferences | None]:
    from pipeline_platform.planning.compare import compare
    from pipeline_platform.planning.data_differences import data_differences, with_failures
    from pipeline_platform.planning.revisions import Revision, other_version
    from pipeline_platform.planning.versions import load_version
    from pipeline_platform.registry import method_registry

    methods = method_registry()
    now = load_version(Revision(folder, "the files"), methods, may_be_empty=False)
    with other_version(folder, against) as other:
        before = load_version(other, methods, may_be_empty=other.root is not None)
        plan = compare(before, now, methods)
        if sample is None:
            return plan, None
        data = data_differences(before, now, plan, sample)
        return with_failures(plan, data), data
