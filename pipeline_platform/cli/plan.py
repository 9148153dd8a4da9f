"""`plan`: what a change of pipeline files does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline_platform.cli.output import FAILED, print_json
from pipeline_platform.exceptions import PipelineConfigurationException, PipelineException

if TYPE_CHECKING:
    from pipeline_platform.planning.changes import ChangePlan

CHANGES_DATA = 3
"""Exit code where no reader breaks, but tables have to be loaded again."""
BREAKING = 4
"""Exit code where something breaks."""


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
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a comment for a pull request.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
) -> None:
    """Tell what a change of pipeline files does to tables, streams, partitions and assets, before it is merged. Reads
    schemas at most, and writes nothing.

    Exit code 0 if the change is safe, 3 if it changes data or nothing can be said of a pipeline, 4 if it breaks
    something, 1 if it can't be planned: one of the versions has mistakes, or there is no such revision.
    """
    if markdown and as_json:
        raise typer.BadParameter("--markdown and --json are mutually exclusive")
    # Imported by this command alone: no other has to wait for it.
    from rich.console import Console

    from pipeline_platform.planning.report import markdown_report, terminal_report

    try:
        with Console(stderr=True).status("comparing both versions"):
            made = _planned(folder, against)
    except PipelineConfigurationException as error:
        typer.echo("\n".join([*map(str, error.problems), *_hint(error)]) if error.problems else str(error), err=True)
        raise typer.Exit(FAILED) from error
    except PipelineException as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(FAILED) from error
    if as_json:
        print_json(made.as_json())
    elif markdown:
        typer.echo(markdown_report(made))
    else:
        Console().print(terminal_report(made), soft_wrap=True)
    raise typer.Exit((0, CHANGES_DATA, BREAKING)[made.verdict])


def _hint(error: PipelineException) -> list[str]:
    return [f"  next: {error.hint}"] if error.hint is not None else []


def _planned(folder: Path, against: str | None) -> ChangePlan:
    from pipeline_platform.planning.compare import compare
    from pipeline_platform.planning.revisions import Revision, other_version
    from pipeline_platform.planning.versions import load_version
    from pipeline_platform.registry import method_registry

    methods = method_registry()
    now = load_version(Revision(folder, "the files"), methods, may_be_empty=False)
    with other_version(folder, against) as other:
        before = load_version(other, methods, may_be_empty=other.root is not None)
        return compare(before, now, methods)
