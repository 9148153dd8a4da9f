"""`tables` and `maintain`, as a person in a project gives them; neither starts a JVM."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from pipeline_platform.cli import app
from pipeline_platform_tests.engine.maintenance.test_upkeep import SOURCE, ids, table_of


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a table of three files, one that is not there, one that nobody maintains, and a broken file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    table_of(tmp_path / "lake" / "orders", 3)
    for name, keys in {
        "orders": {"maintenance": {"schedule": "@daily"}},
        "later": {"maintenance": {}},
        "own": {},
    }.items():
        steps = [SOURCE, {"type": "load", "method": "toDeltaLake", "config": {"path": f"lake/{name}"}}]
        file = tmp_path / "pipelines" / f"{name}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps({"name": name, "mode": "batch", **keys, "steps": steps}))
    return tmp_path


def command(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def test_tables_are_listed_and_maintained_and_a_broken_file_hides_none(project: Path):
    (project / "pipelines" / "broken.json").write_text("{")
    listed = command("tables")
    assert "pipelines/broken.json has errors; see: pipeline-platform check pipelines/broken.json" in listed.stderr
    [row] = [line.split() for line in listed.stdout.splitlines() if line.startswith(" orders/")]
    assert (row[:2], row[4:]) == (
        ["orders/to_delta_lake", "3"],
        ["100%", "2", "3", "0", "min", "ago", "never", "lake/orders"],
    )
    assert "later/to_delta_lake: there is no table yet" in listed.stdout
    done = command("maintain", "pipelines/orders.json")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith("orders/to_delta_lake: 3 files of ")
    assert "became 1 of" in done.stdout
    assert ids(project / "lake" / "orders") == list(range(6))
    [orders] = [row for row in json.loads(command("tables", "--json").stdout) if row["pipeline"] == "orders"]
    assert (orders["files"], orders["small_share"], orders["schedule"]) == (1, 0.0, "@daily")
    assert orders["maintained"] is not None


def test_maintain_does_what_the_files_say_and_no_more(project: Path):
    dry = command("maintain", "--dry-run", "--json")
    assert [(row["pipeline"], row["skipped"]) for row in json.loads(dry.stdout)] == [
        ("later", "there is no table yet"),
        ("orders", None),
    ]
    own = command("maintain", "pipelines/own.json")
    assert (own.exit_code, own.stdout) == (1, "")
    assert "no pipeline in pipelines/own.json has 'maintenance' and writes a Delta table" in own.stderr
    assert 'write "maintenance": {} beside "steps"' in own.stderr
    (project / "lake" / "later").mkdir()
    (project / "lake" / "later" / "a.csv").write_text("x")
    both = command("maintain")
    # One that can't be maintained keeps no other from it.
    assert both.exit_code == 1
    assert "pipeline 'later', step 2 (load toDeltaLake), pipelines/later.json" in both.stderr
    assert "is not a Delta table: it has files, and no log" in both.stderr
    assert "orders/to_delta_lake: 3 files" in both.stdout
