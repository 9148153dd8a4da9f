"""What a project of many pipelines takes to load, beside the same assets written as bare Dagster objects.

`python -m devtools.bench.definitions [PIPELINES]`: each in processes of its own, in turn; the medians and their ratio.
It is what a code server does when it starts: make the objects, resolve the jobs, and serialize what Dagster's other
processes ask it for.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import dagster as dg
from dagster._core.remote_representation.external_data import RepositorySnap

from pipeline_platform.resources.metrics import MetricsResource
from pipeline_platform.resources.spark import SparkResource
from pipeline_platform.resources.vault import VaultResource

ROUNDS = 5
_RESOURCES = {"spark": SparkResource(), "vault": VaultResource(), "metrics": MetricsResource()}
_BETWEEN = 6
_BARE = {"bare": _BETWEEN + 2, "bare, one asset": 1}
"""How many assets each pipeline has: as many as steps; or only its table, which is the least that `tables` can take."""


def write_project(folder: Path, pipelines: int) -> None:
    """Write pipelines of eight steps each; every one but the first reads what the one before it loads.

    Args:
        folder: An empty folder.
        pipelines: How many.
    """
    for number in range(pipelines):
        source = {"method": "fromRate", "config": {"rowsPerSecond": 1}}
        if number:
            source = {"method": "fromDeltaLake", "config": {"path": f"lake/t{number - 1}"}}
        filters = [
            {"type": "transform", "method": "filterRows", "config": {"condition": f"value > {number} + {place}"}}
            for place in range(_BETWEEN)
        ]
        load = {"type": "load", "method": "toDeltaLake", "config": {"path": f"lake/t{number}"}}
        steps = [{"type": "extract", **source}, *filters, load]
        value = {"name": f"p{number}", "mode": "batch", "description": "One of many.", "steps": steps}
        (folder / f"p{number:05}.json").write_text(json.dumps(value, indent=2))


def bare(pipelines: int, assets_each: int) -> dg.Definitions:
    """The same assets and jobs with the same resources, written as Dagster's objects.

    Args:
        pipelines: How many.
        assets_each: How many assets each of them has.
    """
    assets: list[dg.AssetsDefinition] = []
    jobs: list[Any] = []
    for number in range(pipelines):
        keys = [dg.AssetKey([f"p{number}", f"step_{place}"]) for place in range(assets_each)]
        before = [dg.AssetKey([f"p{number - 1}", f"step_{assets_each - 1}"])] if number else []
        specs = [
            dg.AssetSpec(
                key=key,
                deps=[keys[place - 1]] if place else before,
                group_name=f"p{number}",
                kinds={"spark"},
                description="One of many.",
                code_version=str(place),
                metadata={
                    "method": "filterRows",
                    "config": dg.MetadataValue.json({"condition": f"value > {number} + {place}"}),
                },
                skippable=True,
            )
            for place, key in enumerate(keys)
        ]

        @dg.multi_asset(name=f"run_p{number}", specs=specs, can_subset=True, required_resource_keys=set(_RESOURCES))
        def compute() -> Iterator[dg.MaterializeResult[None]]:
            """Nothing is run."""
            yield from ()

        assets.append(compute)
        selection = dg.AssetSelection.assets(*keys)
        job = dg.define_asset_job(  # pyright: ignore[reportUnknownMemberType]
            f"p{number}", selection, executor_def=dg.in_process_executor
        )
        jobs.append(job)
    return dg.Definitions(assets=assets, jobs=jobs, resources=_RESOURCES)


def seconds(kind: str, folder: Path, pipelines: int) -> float:
    """CPU seconds that one side takes in this process, imports left out; all of it is one thread's work.

    Args:
        kind: A key of `_BARE`, `steps` or `tables`.
        folder: Of the pipelines.
        pipelines: How many.
    """
    from pipeline_platform.orchestration.project_definitions import project_definitions

    began = time.process_time()
    if kind in _BARE:
        definitions = bare(pipelines, _BARE[kind])
    else:
        definitions = project_definitions(folder, "tables" if kind == "tables" else "steps")
    repository = definitions.get_repository_def()
    repository.load_all_definitions()
    dg.serialize_value(RepositorySnap.from_def(repository, defer_snapshots=True))
    return time.process_time() - began


def main() -> None:
    """Measure, and print a table."""
    if len(sys.argv) > 2:
        kind, folder, pipelines = sys.argv[1:]
        sys.stdout.write(f"{seconds(kind, Path(folder), int(pipelines))}\n")
        return
    pipelines = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    found: dict[str, list[float]] = {kind: [] for kind in [*_BARE, "steps", "tables"]}
    with tempfile.TemporaryDirectory() as folder:
        write_project(Path(folder), pipelines)
        for _ in range(ROUNDS):
            for kind, times in found.items():
                command = [
                    sys.executable,
                    "-W",
                    "ignore",
                    "-m",
                    "devtools.bench.definitions",
                    kind,
                    folder,
                    str(pipelines),
                ]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                times.append(float(done.stdout.splitlines()[-1]))
    print(f"| {pipelines} pipelines | median CPU s | min | max | ratio to bare, median of the rounds |")
    print("|---|---|---|---|---|")
    for kind, times in found.items():
        ratio = median(one / bare for one, bare in zip(times, found["bare"], strict=True))
        print(f"| {kind} | {median(times):.2f} | {min(times):.2f} | {max(times):.2f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
