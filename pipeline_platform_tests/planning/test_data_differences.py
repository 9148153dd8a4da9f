"""The rows of both versions of a project: what differs is what DuckDB finds, and what fails, fails by itself."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from typer.testing import CliRunner, Result

from pipeline_platform.cli import app
from pipeline_platform.connectors.files.source import FromFiles
from pipeline_platform_tests.planning.project import Files, load, pipeline, step, table, write

COLUMNS = "id BIGINT, country STRING, amount INT, mail STRING, day DATE"
COUNTRIES = ("DE", "FR", "IT")
LINES = [
    f"{number},{COUNTRIES[number % 3]},{number % 40 if number % 7 else ''},m{number}@x.org,2024-01-0{number % 3 + 1}"
    for number in range(300)
]
HAS_AMOUNT = step("validate", "validateNulls", "has_amount", notNullColumns=["amount"], onFailure="quarantine")


def raw(name: str = "raw", path: str = "in/*.csv") -> dict[str, Any]:
    return step("extract", "fromFiles", name, path=path, format="csv", header=False, schema=COLUMNS)


PROJECT: Files = {
    "orders.json": pipeline(
        "orders",
        raw(),
        HAS_AMOUNT,
        step("transform", "enrichData", "priced", columns={"gross": "amount * 2", "contact": "upper(mail)"}),
        load("orders", mode="merge", mergeKeys=["id"]),
    ),
    "report.json": pipeline(
        "report",
        table("orders"),
        step(
            "transform",
            "sqlQuery",
            "revenue",
            query="SELECT country, sum(gross) AS revenue, max(contact) AS best FROM orders GROUP BY country",
        ),
        load("report"),
    ),
    # Its mails are secret, and with them what others make of them.
    "people.json": pipeline(
        "people",
        raw(),
        step(
            "validate",
            "validateNulls",
            "has_mail",
            notNullColumns=["mail"],
            onFailure="warn",
            sensitiveColumns=["mail"],
        ),
        load("people"),
    ),
    "lost.json": pipeline("lost", raw("gone", "nowhere/*.csv"), load("lost")),
    "strict.json": pipeline(
        "strict",
        raw(),
        step("validate", "validateRanges", "in_range", ranges={"amount": {"max": 100}}, onFailure="fail"),
        load("strict"),
    ),
    "below.json": pipeline("below", table("strict"), load("below")),
    "daily.json": pipeline(
        "daily",
        raw(),
        load("daily"),
        partitions={"type": "daily", "start": "2024-01-01", "end": "2024-02-01", "column": "day"},
    ),
    "visits.json": {
        **pipeline("visits", raw(), load("visits", mode="append")),
        "mode": "streaming",
    },
}


@pytest.fixture
def versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs `plan --data` on a changed project, which stands beside the one that it is compared with."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    for part in range(3):
        (tmp_path / "in" / f"{part}.csv").write_text("\n".join(LINES[part::3]) + "\n")
    write(tmp_path / "old" / "pipelines", PROJECT)

    def run(edit: Callable[[Files], object], *arguments: str) -> Result:
        files = copy.deepcopy(PROJECT)
        edit(files)
        write(tmp_path / "new" / "pipelines", files)
        done = CliRunner().invoke(app, ["plan", "new/pipelines", "--against", "old/pipelines", "--data", *arguments])
        assert not (tmp_path / "lake").exists()
        return done

    return run


def config(file: str, index: int, **keys: Any) -> Callable[[Files], object]:
    return lambda files: files[file]["steps"][index]["config"].update(keys)


def pipelines_of(done: Result) -> dict[str, dict[str, Any]]:
    return {one["pipeline"]: one for one in json.loads(done.stdout)["data"]["pipelines"]}


ALL = """
CREATE TABLE raw AS
    FROM read_csv('in/*.csv', header = false,
        columns = {'id': 'BIGINT', 'country': 'VARCHAR', 'amount': 'INT', 'mail': 'VARCHAR', 'day': 'DATE'})
    WHERE amount IS NOT NULL;
CREATE TABLE before AS SELECT *, amount * 2 AS gross FROM raw;
CREATE TABLE now AS SELECT *, amount * CASE country WHEN 'DE' THEN 3 ELSE 2 END AS gross FROM raw WHERE amount > 4;
"""
COUNTS = """
SELECT
    count_if(before.gross = now.gross) AS same,
    count_if(before.gross <> now.gross) AS changed,
    count_if(now.id IS NULL) AS only_before,
    count_if(before.id IS NULL) AS only_after
FROM before FULL JOIN now ON before.id = now.id
"""


def test_rows_differ_as_another_engine_finds_downstream_too_and_no_sensitive_value_is_shown(
    spark: SparkSession, versions: Callable[..., Result]
) -> None:
    def edit(files: Files) -> None:
        steps = files["orders.json"]["steps"]
        steps[2]["config"]["columns"]["gross"] = "CASE WHEN country = 'DE' THEN amount * 3 ELSE amount * 2 END"
        steps.insert(2, step("transform", "filterRows", "enough", condition="amount > 4"))

    done = versions(edit, "--key", "country", "--json")
    assert done.exit_code == 3, done.output
    found = pipelines_of(done)
    assert list(found) == ["orders", "report"]
    sql = duckdb.connect()
    sql.execute(ALL)
    [orders] = found["orders"]["loads"]
    [counts] = sql.sql(COUNTS).fetchall()
    difference = orders["difference"]
    assert difference["key"] == ["id"]
    assert tuple(difference[name] for name in ("same", "changed", "only_before", "only_after")) == counts
    assert {name: count for name, count in difference["changes"].items() if count} == {"gross": counts[1]}
    assert "the table keeps others beside them" in orders["note"]
    [report] = found["report"]["loads"]
    revenue = (
        "SELECT country, before.revenue, now.revenue FROM {} AS before JOIN {} AS now USING (country) ORDER BY ALL"
    )
    sums = [f"(SELECT country, sum(gross) AS revenue FROM {table} GROUP BY country)" for table in ("before", "now")]
    assert [
        (one["key"]["country"], one["before"]["revenue"], one["after"]["revenue"])
        for one in report["difference"]["examples"]["changed"]
    ] == sql.sql(revenue.format(*sums)).fetchall()
    assert report["note"] is None
    assert "x.org" not in done.output.lower()
    assert "***" in done.output


def test_both_versions_read_one_sample_and_what_fails_fails_by_itself(
    spark: SparkSession, versions: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = FromFiles.read

    def in_any_order(self: FromFiles, *arguments: Any) -> DataFrame:
        return read(self, *arguments).orderBy(F.rand())

    monkeypatch.setattr(FromFiles, "read", in_any_order)
    few = step("transform", "filterRows", "few", condition="id % 3 = 0")

    def edit(files: Files) -> None:
        config("strict.json", 1, ranges={"amount": {"max": 0}})(files)
        files["lost.json"]["steps"].insert(1, few)
        files["daily.json"]["steps"].insert(1, step("transform", "filterRows", "some", condition="id % 2 = 0"))
        files["visits.json"]["steps"].insert(1, few)
        files["people.json"]["steps"].insert(1, step("transform", "enrichData", "later", columns={"day": "day + 1"}))

    done = versions(edit, "--limit", "60", "--partition", "2024-01-02", "--key", "id", "--json")
    assert done.exit_code == 4, done.output
    found = pipelines_of(done)

    def counts(name: str) -> list[int]:
        [loaded] = found[name]["loads"]
        return [loaded["difference"][key] for key in ("same", "changed", "only_before", "only_after")]

    assert counts("people") == [0, 60, 0, 0]
    assert found["people"]["firstRowsOf"] == ["raw"]
    same, changed, only_before, only_after = counts("visits")
    assert (same + only_before, changed, only_after) == (60, 0, 0)
    assert "the stream is read as a batch: what is there now" in found["visits"]["notes"]
    # All rows of the partition, and not of a sample that has some of them.
    halves = "count_if(column0 % 2 = 0), 0, count_if(column0 % 2 = 1), 0"
    query = f"SELECT {halves} FROM 'in/*.csv' WHERE column4 = '2024-01-02'"
    [daily] = duckdb.connect().sql(query).fetchall()
    assert counts("daily") == list(daily)
    assert found["strict"]["failsBefore"] is None
    assert "break 'amount <= 0'" in found["strict"]["failsNow"]["told"]
    assert "what strict would leave there" in found["below"]["leftOut"]
    assert found["lost"]["failsBefore"]["told"] == found["lost"]["failsNow"]["told"]
    assert "old/" not in found["lost"]["failsNow"]["place"]
    changes = json.loads(done.stdout)["changes"]
    assert [(one["pipeline"], one["severity"]) for one in changes if one["what"] == "run fails"] == [
        ("strict", "breaking")
    ]


def test_rows_that_cannot_be_compared_end_with_code_1(spark: SparkSession, versions: Callable[..., Result]) -> None:
    def edit(files: Files) -> None:
        for file in ("lost.json", "daily.json"):
            files[file]["steps"].insert(1, step("transform", "filterRows", "some", condition="id > 4"))

    done = versions(edit, "--markdown")
    assert done.exit_code == 1, done.output
    assert "the run fails in both versions: step 1 (fromFiles 'gone'): Path does not exist" in done.output
    assert "not compared: it has partitions, and --partition KEY says which one is compared" in done.output


def test_what_changes_no_rows_reads_none(versions: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline_platform.planning.carrying_out.planning_session", None)
    done = versions(lambda files: files["orders.json"].update(description="All orders."))
    assert done.exit_code == 0, done.output
    assert "no rows are others by this change" in done.output


def test_options_of_rows_need_data() -> None:
    for option in ("--limit", "--partition", "--key"):
        done = CliRunner().invoke(app, ["plan", option, "1"])
        assert done.exit_code == 2
        assert "give --data, too" in done.output
