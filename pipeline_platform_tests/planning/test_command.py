"""The command `plan`: revisions of Git, its output, its exit codes, and bad input."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from unittest.mock import patch

import pytest
from pyspark.sql import SparkSession
from typer.testing import CliRunner, Result

from pipeline_platform.cli import app
from pipeline_platform.planning.changes import ChangePlan, Severity
from pipeline_platform.planning.report import told_verdict
from pipeline_platform_tests.planning.project import PROJECT, write

SQL = "SELECT country, sum(gross) AS revenue, count(*) AS orders FROM orders WHERE amount > 0 GROUP BY country"


def command(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["plan", *arguments])


def git(*arguments: str) -> None:
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.com")
    subprocess.run(["git", *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose pipelines are committed on the branch main."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "pipelines", PROJECT)
    git("init", "-q", "-b", "main")
    git("add", ".")
    git("commit", "-qm", "all")
    return tmp_path


def edit(file: Path, before: str, after: str) -> None:
    text = file.read_text()
    assert before in text
    file.write_text(text.replace(before, after))


def test_what_needs_no_frames_starts_no_spark(repository: Path) -> None:
    with patch("pipeline_platform.planning.frames.planning_session", side_effect=AssertionError):
        same = command()
        assert (same.exit_code, same.output.strip().endswith("the last commit")) == (0, True)
        assert "nothing changes" in same.output
        orders = repository / "pipelines" / "orders.json"
        edit(orders, '"name": "orders",\n "mode"', '"name": "orders",\n "description": "All orders.",\n "mode"')
        edit(repository / "pipelines" / "report.json", SQL, SQL.lower())
        edit(repository / "pipelines" / "customers.json", '"fail"', '"warn"')
        safe = command()
        assert safe.exit_code == 3, safe.output
        assert "safe: 0 breaking" not in safe.output
        assert "changes data: 0 breaking, 1 changes data, 2 safe" in safe.output


def test_a_branch_is_compared_with_where_it_has_left_the_default_branch(spark: SparkSession, repository: Path) -> None:
    git("switch", "-qc", "work")
    edit(repository / "pipelines" / "orders.json", "amount * 2", "amount * 3")
    git("commit", "-qam", "gross is more")
    git("switch", "-q", "main")
    edit(repository / "pipelines" / "big.json", "revenue >", "revenue >=")
    git("commit", "-qam", "only on main")
    git("switch", "-q", "work")
    done = command("--json")
    assert done.exit_code == 3
    plan = json.loads(done.stdout)
    assert plan["verdict"] == "changes data"
    assert [(one["what"], one["column"], one["place"]) for one in plan["changes"]] == [
        ("values", "gross", "pipelines/orders.json:20")
    ]
    assert [one["commands"] for one in plan["runAgain"]] == [
        [f"pipeline-platform run pipelines/{name}.json"] for name in ("orders", "report", "big")
    ]
    assert plan["against"].endswith("where the branch has left main")
    from_main = command("--markdown", "--against", "main")
    assert from_main.exit_code == 3
    assert "revenue \\>= 100 → revenue \\> 100" in from_main.stdout
    assert (
        "| 🟡 | values of 'gross' change: amount \\* 2 → amount \\* 3 | pipelines/orders.json:20 |" in from_main.stdout
    )
    assert not list(repository.glob("lake*"))


def test_files_that_pipelines_are_read_from_are_those_of_their_version(spark: SparkSession, repository: Path) -> None:
    edit(repository / "pipelines" / "templates" / "copy.json", "x > 0", "x > 1")
    (repository / "pipelines" / "red.json").unlink()
    done = command("--against", "HEAD")
    assert done.exit_code == 3
    assert "'condition': x > 0 → x > 1" in done.output
    assert "HEAD:pipelines/templates/copy.json:" in done.output


def test_a_broken_column_ends_with_a_code_of_its_own(spark: SparkSession, repository: Path) -> None:
    edit(repository / "pipelines" / "orders.json", "country STRING", "land STRING")
    done = command()
    assert done.exit_code == 4
    assert "pipelines/report.json:14" in done.output


def test_a_version_with_mistakes_is_told_as_check_tells_it(repository: Path) -> None:
    orders = repository / "pipelines" / "orders.json"
    right = orders.read_text()
    orders.write_text(right.replace('"columns"', '"colums"'))
    now = command()
    assert now.exit_code == 1
    assert "pipelines/orders.json:2" in now.output
    assert "did you mean 'columns'?" in now.output
    assert "^" in now.output
    git("commit", "-qam", "wrong")
    orders.write_text(right)
    before = command()
    assert before.exit_code == 1
    assert ":pipelines/orders.json:2" in before.output
    assert "the mistakes are in the version of" in before.output
    assert "/tmp" not in before.output
    assert command("--against", "HEAD~1").exit_code == 0


def test_what_there_is_not_is_told(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    for arguments, told in (
        (["--against", "nothing"], "there is no revision of Git, and no folder, 'nothing'"),
        (["--against", "--output=x"], "there is no revision of Git"),
        (["nowhere"], "the folder of pipelines 'nowhere' can't be read"),
        (["pipelines/tests", "--against", "pipelines/templates"], "tests"),
    ):
        done = command(*arguments)
        assert done.exit_code == 1, done.output
        assert told in done.output
    empty = tmp_path_factory.mktemp("empty")
    none = command(str(empty))
    assert (none.exit_code, "there is no pipeline file" in none.output) == (1, True)
    write(empty, {"big.json": PROJECT["big.json"]})
    outside = command(str(empty))
    assert outside.exit_code == 1
    assert "--against FOLDER" in outside.output
    other = write(tmp_path_factory.mktemp("other"), {"big.json": {**PROJECT["big.json"], "description": "x"}})
    assert command(str(empty), "--against", str(other)).exit_code == 0


def test_what_is_not_known_is_never_told_to_be_safe() -> None:
    plan = ChangePlan("main", unknown={"orders": "it can't be planned"})
    assert (plan.verdict, plan.as_json()["verdict"]) == (Severity.DATA, "not known")
    assert told_verdict(plan) == "not known: 0 breaking, 0 changes data, 0 safe, 1 not known, compared with main"


def test_a_first_commit_has_only_new_pipelines(repository: Path) -> None:
    write(repository / "more", {"strict.json": PROJECT["strict.json"]})
    with patch("pipeline_platform.planning.frames.planning_session", side_effect=AssertionError):
        done = command("more")
    assert done.exit_code == 0
    assert "the pipeline is new; it writes lake/strict" in done.output
