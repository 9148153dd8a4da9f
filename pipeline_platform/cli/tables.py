"""`tables` and `maintain`: how the tables of a project are, and what keeps them so."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline_platform.cli.files import (
    PIPELINES,
    EnvironmentName,
    Folder,
    folder_or_exit,
    project_or_exit,
    tell_environment,
    tell_project,
)
from pipeline_platform.cli.output import FAILED, print_json, short_place, table_console
from pipeline_platform.exceptions import PipelineException

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pyspark.sql import SparkSession
    from rich.status import Status

    from pipeline_platform.config.pipeline import PipelineConfig
    from pipeline_platform.connectors.delta.upkeep import TableSize
    from pipeline_platform.engine.maintenance.overview import SinkState
    from pipeline_platform.engine.maintenance.sinks import Sink
    from pipeline_platform.engine.maintenance.upkeep import Kept


def tables(
    folder: Folder = PIPELINES,
    as_json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False,
    _environment: EnvironmentName = None,
) -> None:
    """List every table and folder that the pipelines of a folder write: files, size, small files, versions, when it was
    loaded and maintained last.

    A file is small below 64 MB if another such file is beside it, so that they could be one. A sink that can't be
    reached is listed with the reason.
    """
    from rich.console import Console

    from pipeline_platform.engine.maintenance.overview import overview
    from pipeline_platform.engine.maintenance.sinks import sinks

    project = folder_or_exit(folder)
    tell_project(project)
    with Console(stderr=True).status("looking at the sinks") as status:
        found = list(overview(sinks(project.pipelines), status.update))
    if as_json:
        print_json([{**asdict(state), "small_share": state.small_share} for state in found])
    elif found:
        _show(found)
    else:
        typer.echo(f"no pipeline in {folder} writes anything", err=True)


def maintain(
    path: Annotated[
        Path, typer.Argument(help="A pipeline file, or a folder of them.", envvar="PIPELINES_DIR")
    ] = PIPELINES,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be rewritten and removed, and do nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")] = False,
    _environment: EnvironmentName = None,
) -> None:
    """Maintain the Delta tables that pipelines write, as `maintenance` in their files says: small files become large
    ones, and files and log entries that nobody needs any more are removed.

    A table of which a stream, or a step that names a version, still needs what would be removed is left alone, and the
    error names who does.
    """
    from rich.console import Console

    from pipeline_platform.engine.maintenance.sinks import sinks
    from pipeline_platform.orchestration.project import load_project
    from pipeline_platform.registry import method_registry

    chosen = project_or_exit([path]).pipelines
    tell_environment(chosen)
    # Who reads a table may be any pipeline beside it.
    everything = load_project(path.parent, method_registry()).pipelines if path.is_file() else chosen
    names = {pipeline.name for pipeline in chosen}
    wanted = [sink for sink in sinks(everything) if sink.maintenance is not None and sink.pipeline.name in names]
    if not wanted:
        typer.echo(
            f"no pipeline in {path} has 'maintenance' and writes a Delta table\n"
            '  next: write "maintenance": {} beside "steps" into a pipeline, or into the defaults.json of a folder',
            err=True,
        )
        raise typer.Exit(FAILED)
    console = Console(stderr=True)
    rows: list[dict[str, Any]] = []
    has_failed = False
    for sink in wanted:
        try:
            with console.status(sink.name) as status:
                kept = _maintained(sink, everything, _saying(status, sink.name), dry_run=dry_run)
        except PipelineException as error:
            typer.echo(str(error.locate(sink.step.location)), err=True)
            has_failed = True
            continue
        rows.append({"pipeline": sink.pipeline.name, "step": sink.step.name, "dry_run": dry_run, **asdict(kept)})
        if not as_json:
            _tell(sink, kept, dry_run=dry_run)
    if as_json:
        print_json(rows)
    if has_failed:
        raise typer.Exit(FAILED)


def _maintained(sink: Sink, pipelines: Sequence[PipelineConfig], say: Callable[[str], None], *, dry_run: bool) -> Kept:
    from pipeline_platform.credentials.run_credentials import RunCredentials
    from pipeline_platform.engine.maintenance.upkeep import Upkeep

    def spark() -> SparkSession:
        from pipeline_platform.engine.spark.session import spark_session

        say("starting Spark, since delta-rs can't rewrite this table")
        return spark_session(sink.pipeline.name, sink.pipeline.spark_settings(), is_short=True)

    with closing(RunCredentials.from_environment("maintain", sink.pipeline.location)) as credentials:
        return Upkeep(sink, pipelines, credentials, spark, say).run(dry_run=dry_run)


def _saying(status: Status, name: str) -> Callable[[str], None]:
    return lambda text: status.update(f"{name}: {text}")


def _tell(sink: Sink, kept: Kept, *, dry_run: bool) -> None:
    if kept.skipped is not None:
        typer.echo(f"{sink.name}: {kept.skipped}")
        return
    removed = "would be removed" if dry_run else "removed"
    parts = [
        _rewritten(kept.before, kept.after, dry_run=dry_run),
        f"{_files(kept.removed_files, 'old ')} of {_size(kept.removed_bytes)} {removed}",
        f"{kept.removed_commits:,} of {kept.commits_before:,} log entries {removed}",
        *kept.remarks,
    ]
    if kept.by_spark is not None:
        parts.append(f"by Spark, because of {kept.by_spark}")
    typer.echo(f"{sink.name}: {'; '.join(parts)}")


def _rewritten(before: TableSize, after: TableSize, *, dry_run: bool) -> str:
    if dry_run and before.small:
        return f"{before.small:,} of {_files(before.files)} are small and would be rewritten"
    told = f"{_files(before.files)} of {_size(before.bytes)}"
    return f"{told} as before" if before == after else f"{told} became {after.files:,} of {_size(after.bytes)}"


def _files(count: int, which: str = "") -> str:
    return f"{count:,} {which}file{'' if count == 1 else 's'}"


def _show(found: Sequence[SinkState]) -> None:
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    table, now = Table(box=SIMPLE, pad_edge=False), datetime.now(UTC)
    table.add_column("sink", overflow="fold")
    for column in ("files", "size", "small", "version", "commits", "loaded", "maintained"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("location", overflow="fold")
    for state in found:
        share = state.small_share
        table.add_row(
            state.name,
            _number(state.files),
            _size(state.bytes) if state.bytes is not None else "–",
            f"{share:.0%}" if share is not None else "–",
            _number(state.version),
            _number(state.commits),
            _ago(state.loaded, now),
            _ago(state.maintained, now) if state.maintained is not None or state.version is None else "never",
            short_place(state.uri),
        )
    console = table_console()
    console.print(table)
    for state in found:
        if state.error is not None:
            console.print(Text(f"{state.name}: {state.error}", style="red"), soft_wrap=True)
        elif state.note is not None:
            console.print(Text(f"{state.name}: {state.note}", style="dim"), soft_wrap=True)


def _number(value: int | None) -> str:
    return f"{value:,}" if value is not None else "–"


def _ago(time: datetime | None, now: datetime) -> str:
    """How long ago something was, in the unit that people would use."""
    if time is None:
        return "–"
    minutes = max(int((now - time).total_seconds() // 60), 0)
    for unit, length in (("d", 1440), ("h", 60)):
        if minutes >= 2 * length:
            return f"{minutes // length:,} {unit} ago"
    return f"{minutes} min ago"


def _size(count: int) -> str:
    from rich.filesize import decimal

    return decimal(count)
