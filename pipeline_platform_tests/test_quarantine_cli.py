"""`quarantine` at the terminal: the list without a JVM, a real SIGKILL, and what is said of mistakes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from pyspark.sql import SparkSession
from typer.testing import CliRunner, Result

from devtools.pipelines import extract, load, pipeline_text, validate
from pipeline_platform.cli import app
from pipeline_platform.engine.spark import session

STEP = ("--step", "validate_ranges")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a pipeline, which has two rows in quarantine, one for ten days."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "orders.csv").write_text("id,customer,amount\n1,ann,5\n")
    steps = [
        extract("fromFiles", path="orders.csv", format="csv", schema="id INT, customer STRING, amount INT"),
        validate(
            "validateRanges", ranges={"amount": {"min": 0}}, onFailure="quarantine", sensitiveColumns=["customer"]
        ),
        load("toDeltaLake", path="lake/orders", mode="append"),
    ]
    (tmp_path / "pipelines" / "orders.json").write_text(pipeline_text(steps, "orders"))
    now = datetime.now(UTC)
    rows = pa.table(
        {
            "id": pa.array([2, 3], pa.int32()),
            "customer": ["bob", "cid"],
            "amount": pa.array([-7, -8], pa.int32()),
            "_violations": [["validate_ranges: amount >= 0"]] * 2,
            "_step": ["orders/validate_ranges"] * 2,
            "_quarantined_at": pa.array([now - timedelta(days=10, hours=1), now], pa.timestamp("us", "UTC")),
        }
    )
    write_deltalake(tmp_path / "lake" / "orders_quarantine", rows)
    return tmp_path


def asked(*arguments: str, answer: str | None = None) -> Result:
    return CliRunner().invoke(app, ["quarantine", *arguments], input=answer)


def no_session(*_: Any, **__: Any) -> None:
    raise AssertionError("Spark is started")


def ids(folder: Path, name: str = "orders_quarantine") -> list[int]:
    return sorted(DeltaTable(folder / "lake" / name).to_pyarrow_table()["id"].to_pylist())


def test_the_list_says_without_spark_what_is_in_quarantine_and_for_how_long(
    project: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(session, "spark_session", no_session)
    (project / "pipelines" / "broken.json").write_text("{")
    text = asked("list")
    assert text.exit_code == 0
    assert "broken.json has errors" in text.stderr
    for part in ("validate_ranges", "amount >= 0: 2", "10 d", " kB"):
        assert part in text.stdout
    [row] = json.loads(asked("list", "--json").stdout)
    assert (row["rows"], row["by_rule"], row["pending"]) == (2, {"amount >= 0": 2}, 0)
    assert row["table_bytes"] == sum(file.stat().st_size for file in (project / "lake").rglob("*.parquet"))


def test_the_list_tells_of_rows_that_do_not_count(project: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(session, "spark_session", no_session)
    table = project / "lake" / "orders_quarantine"
    there = DeltaTable(table).to_pyarrow_table()
    failed = there.append_column("_quarantined_by", pa.array(["failed", "done"], pa.string()))
    # Of a version that did not say whose they were.
    write_deltalake(
        table,
        pa.concat_tables([failed, there.drop_columns(["_step"])], promote_options="default"),
        mode="overwrite",
        schema_mode="overwrite",
    )
    marked = CommitProperties(app_transactions=[Transaction("done/orders/finished", 1)])
    write_deltalake(table, there.slice(0, 0), mode="append", schema_mode="merge", commit_properties=marked)
    other = (project / "pipelines" / "orders.json").read_text().replace('"orders"', '"others"')
    (project / "pipelines" / "others.json").write_text(other)
    told = asked("list")
    assert "validate_ranges: 1 row more of a run that has not finished" in told.stderr
    assert "--load-id failed" in told.stderr
    assert (
        "validate_ranges: 2 rows of an earlier version in lake/orders_quarantine, whose step is not known"
        in told.stderr
    )
    ours = json.loads(asked("list", "--json").stdout)[0]
    assert (ours["rows"], ours["unfinished"], ours["unknown"]) == (1, {"failed": 1}, 2)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--step", "nope"), "there is no step called 'nope'; those with a quarantine are validate_ranges"),
        (("--step", "to_delta_lake"), "puts no rows into quarantine"),
        ((*STEP, "--where", "amount >"), "'--where amount >' is no SQL expression"),
        ((*STEP, "--where", "java_method('a', 'b')"), "'--where java_method('a', 'b')' is no SQL expression"),
        ((*STEP, "--where", "amount < (SELECT 1)"), "it looks at other rows"),
        ((*STEP, "--set", "amount=max(amount)"), "it looks at other rows"),
        ((*STEP, "--set", "amount=("), "'--set amount=(' is no SQL expression"),
        ((*STEP, "--set", "amount"), "expected COLUMN=SQL, not 'amount'"),
    ],
)
def test_a_mistake_is_told_before_spark_starts(
    project: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], told: str
):
    monkeypatch.setattr(session, "spark_session", no_session)
    result = asked("replay", "pipelines/orders.json", *arguments)
    assert result.exit_code != 0
    assert told in " ".join(result.stderr.replace("│", " ").split())


def test_rows_are_shown_masked_and_deleted_after_a_question(spark: SparkSession, project: Path):
    shown = json.loads(asked("show", "pipelines/orders.json", *STEP, "--json").stdout)
    assert [row["id"] for row in shown["rows"]] == [3, 2]
    assert {row["customer"] for row in shown["rows"]} == {"***"}
    refused = asked("drop", "pipelines/orders.json", *STEP, "--older-than", "7 days", answer="n\n")
    assert (refused.exit_code, ids(project)) == (1, [2, 3])
    done = asked("drop", "pipelines/orders.json", *STEP, "--older-than", "7 days", answer="y\n")
    assert "delete 1 row from the quarantine of validate_ranges?" in done.stderr
    assert done.stdout.endswith("1 row deleted from the quarantine of validate_ranges\n")
    assert ids(project) == [3]
    none = asked("drop", "pipelines/orders.json", *STEP, "--where", "id = 2", "--yes")
    assert (none.exit_code, "no row that this is asked of" in none.stderr) == (0, True)


KILL = """
import os, signal
from pipeline_platform.engine.quarantine_changes import QuarantineTable
def killed(*_): os.kill(os.getpid(), signal.SIGKILL)
QuarantineTable.delete = killed
from pipeline_platform.cli import app
app()
"""


def test_a_replay_that_is_killed_by_sigkill_is_finished_by_the_next(spark: SparkSession, project: Path):
    replay = ["quarantine", "replay", "pipelines/orders.json", *STEP]
    where = os.pathsep.join(filter(None, (str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH"))))
    killed = subprocess.run(
        [sys.executable, "-c", KILL, *replay, "--set", "amount=if(id = 2, 7, amount)"],
        env={**os.environ, "PYTHONPATH": where},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert (ids(project, "orders"), ids(project)) == ([2], [2, 3, 3])
    row = json.loads(asked("list", "--json").stdout)[0]
    assert (row["rows"], row["pending"]) == (2, 2)
    stay = asked("drop", "pipelines/orders.json", *STEP, "--yes")
    assert "2 rows of a replay that was interrupted stay" in stay.stderr
    done = asked("replay", "pipelines/orders.json", *STEP)
    assert done.exit_code == 0, done.stderr
    assert done.stdout == (
        "2 rows replayed, by a replay that was interrupted before; 1 still in quarantine (amount >= 0: 1)\n"
        "1 row replayed; 1 still in quarantine (amount >= 0: 1)\n"
    )
    assert (ids(project, "orders"), ids(project)) == ([2], [3])
