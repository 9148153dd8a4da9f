"""`list`: the pipelines of a folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline_platform.cli.files import PIPELINES, EnvironmentName, Folder, folder_or_exit
from pipeline_platform.cli.output import FAILED, print_json, short_place, table_console
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.orchestration.project import BrokenFile
from pipeline_platform.steps.extract import Extract
from pipeline_platform.steps.load import Load


def list_pipelines(
    folder: Folder = PIPELINES,
    as_json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False,
    _environment: EnvironmentName = None,
) -> None:
    """List every pipeline of a folder: mode and partitions, when it runs by itself, steps, what it reads and writes.

    A file with errors is listed with the first one, and makes the exit code 1.
    """
    project = folder_or_exit(folder)
    rows = [*map(_row, project.pipelines), *map(_broken_row, project.broken)]
    rows.sort(key=lambda row: row["file"])
    if as_json:
        print_json(rows)
    elif rows:
        _show(rows)
    else:
        typer.echo(f"there is no pipeline in {folder}; to begin with an example: pipeline-platform init", err=True)
    if project.broken:
        raise typer.Exit(FAILED)


def _row(pipeline: PipelineConfig) -> dict[str, Any]:
    reads = [step.config.dataset() for step in pipeline.steps if isinstance(step.config, Extract)]
    loads = [step.config for step in pipeline.steps if isinstance(step.config, Load)]
    writes = [load.dataset() for load in loads]
    names = {load.dataset().uri: name for load in loads if (name := load.catalog_name()) is not None}
    return {
        **pipeline.summary(),
        "file": str(pipeline.file),
        "schedule": pipeline.cron,
        "schedule_timezone": pipeline.cron_timezone if pipeline.cron is not None else None,
        "automation": pipeline.automation,
        "partitions": pipeline.partitions.type if pipeline.partitions is not None else None,
        "range_is_one_run": pipeline.loads_ranges if pipeline.partitions is not None else None,
        "range_note": str(pipeline.single_partitions) if pipeline.single_partitions is not None else None,
        "reads": list(dict.fromkeys(dataset.uri for dataset in reads if dataset is not None)),
        "writes": list(dict.fromkeys(dataset.uri for dataset in writes)),
        "catalog_tables": names,
        "defaults": [asdict(one) | {"file": str(one.file)} for one in pipeline.defaulted],
        "errors": [],
    }


def _broken_row(broken: BrokenFile) -> dict[str, Any]:
    return {
        "name": None,
        "mode": None,
        "steps": [],
        "file": str(broken.path),
        "schedule": None,
        "schedule_timezone": None,
        "automation": None,
        "partitions": None,
        "range_is_one_run": None,
        "range_note": None,
        "reads": [],
        "writes": [],
        "catalog_tables": {},
        "defaults": [],
        "errors": [str(problem).partition("\n")[0] for problem in broken.problems],
    }


def _show(rows: list[dict[str, Any]]) -> None:
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE, pad_edge=False)
    table.add_column("pipeline", no_wrap=True)
    table.add_column("mode", no_wrap=True)
    table.add_column("schedule")
    table.add_column("steps", justify="right")
    table.add_column("reads", overflow="fold")
    table.add_column("writes", overflow="fold")
    for row in rows:
        if row["errors"]:
            table.add_row(Text(Path(row["file"]).name, style="red"), Text("broken", style="red"))
            continue
        table.add_row(
            Text(row["name"]),
            f"{row['mode']}, {row['partitions']}" if row["partitions"] else row["mode"],
            Text(_when(row)),
            str(len(row["steps"])),
            Text("\n".join(map(short_place, row["reads"])) or "–"),
            Text("\n".join(_named(uri, row["catalog_tables"]) for uri in row["writes"]) or "–"),
        )
    console = table_console()
    console.print(table)
    for row in rows:
        if row["errors"]:
            first, *others = row["errors"]
            more = f" (and {len(others)} more: pipeline-platform check {row['file']})" if others else ""
            console.print(Text(f"{first}{more}", style="red"), soft_wrap=True)


def _when(row: dict[str, Any]) -> str:
    """When a pipeline runs by itself."""
    zone = row["schedule_timezone"]
    schedule = f"{row['schedule']} {zone}".removesuffix(" UTC") if row["schedule"] else None
    return ", ".join(filter(None, (schedule, row["automation"]))) or "–"


def _named(uri: str, names: Mapping[str, str]) -> str:
    """A dataset that is written, and its name in a catalog if it has one."""
    return f"{short_place(uri)} as {names[uri]}" if uri in names else short_place(uri)
