"""The command `test`."""

from __future__ import annotations

import subprocess
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from typer.testing import CliRunner, Result

from pipeline_platform.cli import app
from pipeline_platform_tests.testing.project import ORDERS, write_tests

PLAIN = {
    **ORDERS,
    "name": "plain",
    "steps": [ORDERS["steps"][0], {**ORDERS["steps"][5], "config": {"path": "out", "mode": "overwrite"}}],
}
GIVEN = {"raw": [{"id": 1, "customer": "Ann"}]}
RIGHT = {"name": "the row is loaded", "given": GIVEN, "expect": {"totals": [{"id": 1, "customer": "Ann"}]}}
WRONG = {"name": "it has another id", "given": GIVEN, "expect": {"totals": [{"id": 2, "customer": "Ann"}]}}


def command(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["test", *arguments])


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.com")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.mark.usefixtures("spark")
def test_the_results_are_told_and_written_for_a_ci_server(tmp_path: Path) -> None:
    write_tests(tmp_path, RIGHT, WRONG, pipeline=PLAIN)
    done = command(str(tmp_path), "--junit", str(tmp_path / "results.xml"), "--coverage")
    assert done.exit_code == 1
    assert "passed  plain: the row is loaded" in done.output
    assert "FAILED  plain: it has another id" in done.output
    assert "2 → 1" in done.output
    assert "plain: 1 of 1 steps, 0 of 0 rules" in done.output
    assert "1 of 2 tests passed" in done.output
    (suite,) = ET.parse(tmp_path / "results.xml").getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("2", "1", "0")
    assert command(str(tmp_path), "--name", "LOADED").exit_code == 0
    write_tests(tmp_path, RIGHT, pipeline={**PLAIN, "name": "broken", "mode": "btach"})
    beside = command(str(tmp_path), "--name", "loaded", "--junit", str(tmp_path / "results.xml"))
    assert beside.exit_code == 1
    assert "did you mean 'batch'?" in beside.output
    told = " ".join(beside.output.split())
    assert "1 of 1 tests passed in" in told
    assert "those of files with errors, which are told above, were not run" in told
    assert [one.get("errors") for one in ET.parse(tmp_path / "results.xml").getroot()] == ["1", "0"]


@pytest.mark.usefixtures("spark")
def test_only_what_a_change_touches_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "other"):
        write_tests(tmp_path, RIGHT, pipeline={**PLAIN, "name": name})
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "all")
    monkeypatch.chdir(tmp_path)
    assert "no test has changed" in command(".", "--changed-since", "HEAD").output
    pipeline = tmp_path / "other.json"
    pipeline.write_text(f"{pipeline.read_text()}\n")
    changed = command(".", "--changed-since", "HEAD")
    assert changed.exit_code == 0, changed.output
    assert "1 of 1 tests passed" in changed.output
    assert "other: the row" in changed.output
    write_tests(tmp_path, RIGHT, pipeline={**PLAIN, "name": "new"})
    assert "2 of 2 tests passed" in command(".", "--changed-since", "HEAD").output
    unknown = command(".", "--changed-since", "--output=x")
    assert unknown.exit_code != 0
    assert not (tmp_path / "x").exists()


def test_no_test_and_a_broken_file_are_failures(tmp_path: Path) -> None:
    none = command(str(tmp_path))
    assert none.exit_code == 1
    assert "there is no test" in none.output
    write_tests(tmp_path, {"name": "it"}, pipeline=PLAIN)
    broken = command(str(tmp_path))
    assert broken.exit_code == 1
    assert "expects nothing" in broken.output
