"""`run` of a file that makes many pipelines: all in one session, each by itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession
from typer.testing import CliRunner, Result

from pipeline_platform.cli import app
from pipeline_platform.progress import ProgressTable


def copies(folder: Path, tables: list[str], **keys: object) -> Path:
    """A file that copies a CSV file into a table, for each of these; `broken` has no rows that can be read."""
    (folder / "in").mkdir()
    for number, table in enumerate(tables):
        rows = "x" if table == "broken" else str(number)
        (folder / "in" / f"{table}.csv").write_text(f"id,name\n{rows},{table}\n")
    source = {"path": str(folder / "in" / "${var:table}.csv"), "format": "csv", "schema": "id INT, name STRING"}
    pipeline = {
        "name": "copy_${var:table}",
        "mode": "batch",
        "variables": {"table": {}},
        "forEach": [{"table": table} for table in tables],
        **keys,
        "steps": [
            {"type": "extract", "method": "fromFiles", "config": {**source, "onMalformed": "fail"}},
            {"type": "load", "method": "toDeltaLake", "config": {"path": str(folder / "lake" / "${var:table}")}},
        ],
    }
    path = folder / "copies.json"
    path.write_text(json.dumps(pipeline, indent=2))
    return path


def run(path: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["run", str(path), *options])


def loaded(folder: Path) -> dict[str, list[dict[str, object]]]:
    tables = sorted((folder / "lake").iterdir()) if (folder / "lake").exists() else []
    return {
        table.name: DeltaTable(table).to_pyarrow_table().to_pylist()
        for table in tables
        if DeltaTable.is_deltatable(str(table))
    }


def test_one_that_fails_keeps_none_of_the_others_from_loading(tmp_path: Path, spark: SparkSession):
    tables = [f"t{number:02}" for number in range(19)]
    tables.insert(7, "broken")
    path = copies(tmp_path, tables)
    done = run(path, "--json")
    assert done.exit_code == 1
    assert loaded(tmp_path) == {
        table: [{"id": number, "name": table}] for number, table in enumerate(tables) if table != "broken"
    }
    told = json.loads(done.stdout)
    assert [(one["pipeline"], one["status"]) for one in told] == [
        (f"copy_{table}", "FAILED" if table == "broken" else "COMPLETED") for table in tables
    ]
    assert done.stderr.splitlines()[-2:] == [
        "19 of 20 pipelines completed, 1 failed",
        f"  copy_broken failed; to run it again: run {path} --var table=broken",
    ]


def test_the_one_that_is_chosen_runs_alone(tmp_path: Path, spark: SparkSession):
    done = run(copies(tmp_path, ["a", "b"]), "--json", "--var", "table=b")
    assert (done.exit_code, json.loads(done.stdout)["pipeline"]) == (0, "copy_b")
    assert [*loaded(tmp_path)] == ["b"]
    assert "pipelines completed" not in done.stderr


def test_who_stops_it_stops_all_that_are_left(tmp_path: Path, spark: SparkSession, monkeypatch: pytest.MonkeyPatch):
    note = ProgressTable.note

    def stopped(progress: ProgressTable, what: str) -> None:
        if progress.pipeline.name == "copy_b":
            raise KeyboardInterrupt
        note(progress, what)

    monkeypatch.setattr(ProgressTable, "note", stopped)
    done = run(copies(tmp_path, ["a", "b", "c"]))
    assert done.exit_code == 130
    assert [*loaded(tmp_path)] == ["a"]
    assert done.stderr.splitlines()[-1] == "1 of 3 pipelines completed, 0 failed, 2 were not run to their end"


def test_what_is_asked_of_one_is_refused_for_several(tmp_path: Path):
    path = copies(tmp_path, ["a", "b"])
    refused = run(path, "--load-id", "again")
    assert refused.exit_code == 1
    assert "--load-id repeats the run of one pipeline" in refused.stderr
    assert f"choose one, as in {path} --var table=a" in refused.stderr
    assert "no step called x" in run(path, "--select", "x").stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pipelines of which the first by its name reads what the last one writes."""
    folder, lake = tmp_path / "pipelines", tmp_path / "lake"
    folder.mkdir()
    source = {"path": str(tmp_path / "orders.csv"), "format": "csv", "schema": "id INT, at TIMESTAMP"}
    orders = {"type": "extract", "method": "fromFiles", "config": {**source, "onMalformed": "fail"}}
    steps: dict[str, list[Mapping[str, object]]] = {
        "a_report": [
            {"type": "extract", "method": "fromDeltaLake", "config": {"path": str(lake / "c_orders")}},
            {"type": "transform", "method": "enrichData", "config": {"columns": {"at": "CAST(at AS STRING)"}}},
        ],
        "b_other": [{"type": "extract", "method": "fromFiles", "config": {**source, "onMalformed": "null"}}],
        "c_orders": [orders],
    }
    for name, some in steps.items():
        load = {
            "type": "load",
            "method": "toDeltaLake",
            "config": {"path": str(lake / name), "mode": "overwrite"},
        }
        elsewhere = {"sparkConf": {"spark.sql.session.timeZone": "Asia/Tokyo"}} if name == "c_orders" else {}
        pipeline = {"name": name, "mode": "batch", **elsewhere, "steps": [*some, load]}
        (folder / f"{name}.json").write_text(json.dumps(pipeline))
    (tmp_path / "orders.csv").write_text("id,at\n1,2024-01-01 09:00:00\n")
    return folder


def test_a_folder_runs_in_the_order_of_its_tables_and_each_by_its_own_settings(
    tmp_path: Path, folder: Path, spark: SparkSession
):
    done = run(folder, "--json")
    assert done.exit_code == 0
    assert [one["pipeline"] for one in json.loads(done.stdout)] == ["c_orders", "b_other", "a_report"]
    # It was nine in Tokyo.
    report = [{"id": 1, "at": "2024-01-01 00:00:00"}]
    assert loaded(tmp_path)["a_report"] == report
    (tmp_path / "orders.csv").write_text("id,at\nx,2024-01-01 09:00:00\n")
    failed = run(folder)
    assert failed.exit_code == 1
    assert "a_report (3 of 3): left out, as it reads what c_orders would have written" in failed.stderr
    assert "1 of 3 pipelines completed, 1 failed, 1 were not run to their end" in failed.stderr
    assert loaded(tmp_path)["a_report"] == report


def test_of_several_files_all_mistakes_are_told_before_anything_runs(folder: Path):
    other = folder / "b_other.json"
    other.write_text("{}")
    (folder / "d_same.json").write_text((folder / "a_report.json").read_text())
    assert f"{other}:1:1: the key 'name' is missing" in run(folder).stderr
    other.unlink()
    assert "the name 'a_report' is taken by" in run(folder).stderr


def test_check_and_list_take_all_of_a_file(tmp_path: Path):
    path = copies(tmp_path, ["a", "b"])
    cli = CliRunner()
    assert cli.invoke(app, ["check", str(path)]).exit_code == 0
    listed = json.loads(cli.invoke(app, ["list", str(tmp_path), "--json"]).stdout)
    assert [(row["name"], row["file"]) for row in listed] == [("copy_a", str(path)), ("copy_b", str(path))]
    unclear = cli.invoke(app, ["cursor", str(path)])
    assert "the file makes 2 pipelines: copy_a, copy_b (choose one, as in --var table=a)" in unclear.stderr
