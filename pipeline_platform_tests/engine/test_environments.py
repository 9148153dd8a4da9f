"""Runs in an environment: nothing of production changes, and what is not there yet comes from production."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession
from typer.testing import CliRunner, Result

from pipeline_platform.cli import app
from pipeline_platform.config.environments import ENVIRONMENT_VARIABLE

ORDERS: dict[str, Any] = {
    "name": "orders",
    "mode": "batch",
    "steps": [
        {"type": "extract", "method": "fromFiles", "name": "raw", "config": {"path": "in/*.csv", "format": "csv"}},
        {
            "type": "validate",
            "method": "validateRanges",
            "config": {"ranges": {"id": {"min": 1}}, "onFailure": "quarantine"},
        },
        {
            "type": "load",
            "method": "toDeltaLake",
            "config": {"path": "lake/orders", "mode": "merge", "mergeKeys": "id"},
        },
    ],
}
REPORT: dict[str, Any] = {
    "name": "report",
    "mode": "batch",
    "steps": [
        {"type": "extract", "method": "fromDeltaLake", "name": "all", "config": {"path": "lake/orders"}},
        {"type": "load", "method": "toFiles", "config": {"path": "out/report", "format": "json", "mode": "overwrite"}},
    ],
}


def command(*arguments: str) -> Result:
    found = CliRunner().invoke(app, [*arguments])
    assert found.exit_code == 0, found.output
    return found


def rows(spark: SparkSession, path: str) -> list[tuple[int, int]]:
    found = spark.read.format("delta").load(f"{Path.cwd()}/{path}")
    return sorted((row["id"], row["amount"]) for row in found.collect())


def written(folder: str) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(Path(folder).rglob("*")) if path.is_file()}


def say(**keys: Any) -> None:
    environments = {"dev": {"prefix": "dev_", **keys}}
    Path("environments.json").write_text(json.dumps({"environments": environments}))


@pytest.fixture
def project(spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(ENVIRONMENT_VARIABLE, raising=False)
    Path("pipelines").mkdir()
    Path("in").mkdir()
    for value in (ORDERS, REPORT):
        Path(f"pipelines/{value['name']}.json").write_text(json.dumps(value))
    Path("in/1.csv").write_text("id,amount\n1,10\n2,20\n-1,0\n")
    return tmp_path


def test_a_run_beside_production_merges_into_a_clone_of_its_table_and_leaves_production_as_it_is(
    spark: SparkSession, project: Path
) -> None:
    command("run", "pipelines")
    say(clone=True)
    before = written("lake") | written("out")
    assert any("orders_quarantine" in path for path in before)
    Path("in/1.csv").write_text("id,amount\n2,21\n3,30\n-2,0\n")

    told = command("run", "pipelines/report.json", "--env", "dev", "--json")
    assert told.stderr.splitlines()[0] == "environment dev: writes with the prefix dev_"
    [hint] = [hint for hint in json.loads(told.stdout)["hints"] if "production" in hint]
    assert hint == "'all' reads production's lake/orders, which dev does not have yet"
    report = "".join(path.read_text() for path in Path("dev_out/report").glob("*.json"))
    assert sorted(map(json.loads, report.splitlines()), key=str) == [{"id": 1, "amount": 10}, {"id": 2, "amount": 20}]

    metrics = json.loads(command("run", "pipelines", "--env", "dev", "--json").stdout)
    assert [run["pipeline"] for run in metrics] == ["dev_orders", "dev_report"]
    assert "'to_delta_lake' began with a shallow clone of production's lake/orders" in metrics[0]["hints"]
    assert rows(spark, "dev_lake/orders") == [(1, 10), (2, 21), (3, 30)]
    assert not any("production" in hint for hint in metrics[1]["hints"])
    report = "".join(path.read_text() for path in Path("dev_out/report").glob("*.json"))
    assert {"id": 3, "amount": 30} in map(json.loads, report.splitlines())
    assert rows(spark, "dev_lake/orders_quarantine") == [(-2, 0)]

    # The next run finds its table.
    command("run", "pipelines/orders.json", "--env", "dev")
    assert DeltaTable("dev_lake/orders").metadata().configuration["pipelinePlatform.clonedFrom"].endswith("lake/orders")
    assert (written("lake") | written("out")) == before
    assert rows(spark, "lake/orders") == [(1, 10), (2, 20)]


def test_each_extract_hands_on_a_part_and_what_is_there_is_merged_with_nothing_else(
    spark: SparkSession, project: Path
) -> None:
    Path("in/1.csv").write_text("id,amount\n" + "".join(f"{number},1\n" for number in range(1, 40)))
    command("run", "pipelines/orders.json")
    say(limit=7)
    told = command("run", "pipelines/orders.json", "--env", "dev", "--json")
    assert told.stderr.splitlines()[0] == "environment dev: writes with the prefix dev_, 7 rows of each extract at most"
    assert len(rows(spark, "dev_lake/orders")) == 7
    assert len(rows(spark, "lake/orders")) == 39
    assert [step["rows"] for step in json.loads(told.stdout)["steps"] if step["type"] != "validate"] == [7, 7]
    shown = json.loads(command("show", "pipelines/report.json", "--step", "all", "--env", "dev", "--json").stdout)
    assert len(shown["rows"]) == 7


@pytest.mark.parametrize(
    "arguments",
    [
        ["erase", "--key", "id=1"],
        ["tables"],
        ["maintain", "--dry-run"],
        ["quarantine", "list"],
        ["quarantine", "show", "pipelines/orders.json", "--step", "validate_ranges"],
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_whoever_looks_into_an_environment_alone_is_told_so(project: Path, arguments: list[str]) -> None:
    say()
    told = CliRunner().invoke(app, [*arguments, "--env", "dev"])
    assert told.stderr.splitlines()[0] == "environment dev: writes with the prefix dev_"
    assert "environment" not in CliRunner().invoke(app, arguments).stderr
