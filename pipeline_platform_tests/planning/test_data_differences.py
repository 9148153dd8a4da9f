"""The rows of both versions of a project: what differs is what DuckDB finds, and what fails, fails by itself."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from pyspark.sql import SparkSession
from typer.testing import CliRunner, Result

from pipeline_platform.cli import app
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


def test_rows_differ_as_another_engine_finds_and_secrets_are_masked(
    spark: SparkSession, versions: Callable[..., Result]
) -> None:
    def edit(files: Files) -> None:
        steps = files["orders.json"]["steps"]
        steps[2]["config"]["columns"]["gross"] = "CASE WHEN country = 'DE' THEN amount * 3 ELSE amount * 2 END"
        steps.insert(2, step("transform", "filterRows", "enough", condition="amount > 4"))

    done = versions(edit, "--key", "country", "--json")
    assert done.exit_code == 3, done.output
    found = pipelines_of(done)
    print(done.output)
    assert list(found) == ["orders", "report"]
    sql = duckdb.connect()
    columns = "{'id': 'BIGINT', 'country': 'VARCHAR', 'amount': 'INT', 'mail': 'VARCHAR', 'day': 'DATE'}"
    sql.execute(
        f"CREATE TABLE raw AS FROM read_csv('in/*.csv', header=false, columns={columns}) WHERE amount IS NOT NULL"
    )
    sql.execute("CREATE TABLE old AS SELECT *, amount * 2 AS gross FROM raw")
    sql.execute(
        "CREATE TABLE new AS SELECT *, amount * CASE country WHEN 'DE' THEN 3 ELSE 2 END AS gross FROM raw WHERE amount > 4"
    )
