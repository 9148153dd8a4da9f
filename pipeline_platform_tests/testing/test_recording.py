"""Tests that are recorded from real runs."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet
from pyspark.sql import SparkSession
from typer.testing import CliRunner

from pipeline_platform.cli import app
from pipeline_platform.config.documents.document import SourcePosition, read_document
from pipeline_platform.testing.rows import parsed_schema, typed_rows

VALUES = {
    "id": pa.array([1, 9007199254740993], pa.int64()),
    "price": pa.array([Decimal("1.10"), Decimal("12345678901234567890123456789012345.678")], pa.decimal128(38, 3)),
    "at": pa.array(
        [datetime(2024, 1, 1, 10, 0, 0, 123456, UTC), datetime(1, 1, 1, tzinfo=UTC)], pa.timestamp("us", "UTC")
    ),
    "local": pa.array([datetime(2024, 1, 1, 0, 0, 0, 1), None], pa.timestamp("us")),
    "day": pa.array([date(1, 1, 1), date(9999, 12, 31)]),
    "raw": pa.array([b"\x00\xff", b""], pa.binary()),
    "small": pa.array([0.1, float("-inf")], pa.float32()),
    "large": pa.array([5e-324, -0.0], pa.float64()),
    'odd "name`': pa.array(['ünï "quoted"\nline', ""]),
    "nested": pa.array(
        [{"A": 1, "b c": [1, None], "m": [("k", Decimal("1.50")), ("z", None)]}, None],
        pa.struct([("A", pa.int8()), ("b c", pa.list_(pa.int16())), ("m", pa.map_(pa.string(), pa.decimal128(5, 2)))]),
    ),
}
PEOPLE = "id,name,email,ssn\n1,Ann,ann@example.com,123456789\n2,Bo,bo@example.com,987654321\n3,Cy,cy@example.com,5\n"
ORDERS = """number,mail,ssn,note
10,cy@example.com,5,
11,bo@example.com,987654321,call bo@example.com
12,ann@example.com,7,
"""
REAL = re.compile(r"(ann|bo|cy)@|123456789|987654321")


def pipeline(folder: Path, *steps: dict[str, Any], **keys: Any) -> Path:
    file = folder / "made.json"
    load = {"type": "load", "method": "toDeltaLake", "name": "out", "config": {"path": "out", "mode": "overwrite"}}
    file.write_text(json.dumps({"name": "made", "mode": "batch", **keys, "steps": [*steps, load]}))
    return file


def extract(name: str, form: str, schema: str | None = None) -> dict[str, Any]:
    columns = {} if schema is None else {"schema": schema}
    config = {"path": f"{name}.{form}", "format": form, "registerAs": name, **columns}
    return {"type": "extract", "method": "fromFiles", "name": name, "config": config}


def command(*arguments: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(map(str, arguments)))
    return done.exit_code, done.output


def joined(folder: Path, **validation: Any) -> Path:
    (folder / "people.csv").write_text(PEOPLE)
    (folder / "orders.csv").write_text(ORDERS)
    query = (
        "SELECT number, name, p.email AS contact, o.ssn AS person, note FROM orders o JOIN people p ON p.email = o.mail"
    )
    return pipeline(
        folder,
        extract("people", "csv", "id INT, name STRING, email STRING, ssn BIGINT"),
        extract("orders", "csv", "number INT, mail STRING, ssn INT, note STRING"),
        {"type": "transform", "method": "sqlQuery", "name": "both", "config": {"query": query}},
        {
            "type": "validate",
            "method": "validateNulls",
            "config": {"notNullColumns": ["number"], "sensitiveColumns": ["contact", "person"], **validation},
        },
        {"type": "validate", "method": "validateRowCount", "name": "many", "config": {"min": 1000}},
    )


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_values_survive_exactly_and_what_each_run_makes_anew_is_not_expected(spark: SparkSession, folder: Path) -> None:
    parquet.write_table(pa.table(VALUES), folder / "values.parquet")
    more = {"u": "uuid()", "made": "current_date()", "twice": "id * 2"}
    file = pipeline(
        folder,
        extract("values", "parquet"),
        {"type": "transform", "method": "enrichData", "config": {"columns": more}},
    )
    code, told = command("test", "--record", file, "--name", "all types")
    assert code == 0, told
    assert "not expected of out: u, whose values each run makes anew" in told
    place = SourcePosition(read_document(folder / "tests" / "made.json")) / "tests" / 0
    assert place.value["now"].startswith(f"{datetime.now(UTC):%Y-%m-%d}")
    given = place / "given" / "values"
    rows = typed_rows(spark, given / "rows", parsed_schema(given.value["schema"], given)).to_pylist()
    assert rows == parquet.read_table(folder / "values.parquet").to_pylist()
    expected = place.value["expect"]["out"]
    assert [row["twice"] for row in expected] == [2, 18014398509481986]
    assert command("test", folder)[0] == 0
    assert not (folder / "out").exists()


@pytest.mark.usefixtures("spark")
def test_no_sensitive_value_is_written_and_joins_find_their_partners(folder: Path) -> None:
    code, told = command("test", "--record", joined(folder), "--name", "joined")
    assert code == 0, told
    assert "stand-ins are in email, ssn of people" in told
    assert "stand-ins are in mail, ssn of orders" in told
    assert "'many' only warns in this test" in told
    text = (folder / "tests" / "made.json").read_text()
    assert REAL.search(text) is None
    (test,) = json.loads(text)["tests"]
    assert test["warnOnly"] == ["many"]
    assert [row["name"] for row in test["expect"]["out"]] == ["Cy", "Bo", "Ann"]
    mails = {row["email"]: row["ssn"] for row in test["given"]["people"]["rows"]}
    second = test["given"]["orders"]["rows"][1]
    assert second["ssn"] == mails[second["mail"]]
    assert second["note"] == f"call {second['mail']}"
    shown = command("show", folder / "made.json", "--step", "both", "--test", "join", "--json")
    rows = json.loads(shown[1])["rows"]
    assert sorted(rows, key=lambda row: row["number"]) == sorted(test["expect"]["out"], key=lambda row: row["number"])


@pytest.mark.usefixtures("spark")
def test_rows_without_partners_make_no_test_and_can_be_chosen(folder: Path) -> None:
    file = joined(folder)
    code, told = command("test", "--record", file, "--limit", "1")
    assert code == 1
    assert "no row comes to out from the rows that were read: 1 of people, 1 of orders" in told
    assert "--where" in told
    assert not (folder / "tests").exists()
    code, told = command("test", "--record", file, "--limit", "1", "--where", "people=name = 'Cy'", "--step", "both")
    assert code == 0, told
    assert "rows given: 1 of people, 1 of orders; expected: 1 of both" in told
    for option, message in (
        (("--where", "peple=id = 1"), "did you mean 'people'?"),
        (("--where", "people=nam = 1"), "the condition of --where for 'people', nam = 1"),
        (("--step", "boht"), "there is no step called boht"),
        (("--where", "people"), "expected EXTRACT=SQL"),
    ):
        code, told = command("test", "--record", file, *option)
        assert code != 0
        assert message in re.sub(r"[\s│]+", " ", told)


@pytest.mark.usefixtures("spark")
def test_a_test_is_added_to_the_file_and_the_rest_stays_as_it_is(folder: Path) -> None:
    (folder / "people.csv").write_text(PEOPLE)
    file = pipeline(folder, extract("people", "csv", "id INT, name STRING"), variables={"n": {"default": "x"}})
    before = (
        '{ "pipeline": "../made.json",\n  "tests": [\n   {"name": "mine",  "given": {"people": []},\n'
        '    "expect": {"out": {"count": 0}}}\n  ] }\n'
    )
    (folder / "tests").mkdir()
    tests = folder / "tests" / "made.json"
    tests.write_text(before)
    code, told = command("test", "--record", file, "--limit", "1", "--var", "n=y")
    assert code == 0, told
    text = tests.read_text()
    assert text.startswith(before.removesuffix("\n  ] }\n") + ',\n   {\n     "name": "as recorded on ')
    assert text.endswith("\n   }\n  ] }\n")
    assert json.loads(text)["tests"][1]["variables"] == {"n": "y"}
    assert command("test", "--record", file, "--limit", "1")[0] == 0
    assert len({test["name"] for test in json.loads(tests.read_text())["tests"]}) == 3
    text = tests.read_text()
    code, told = command("test", "--record", file, "--name", "mine")
    assert code == 1
    assert "there is a test called 'mine'" in told
    assert tests.read_text() == text
    code, told = command("show", file, "--step", "out", "--test", "nobody")
    assert code == 1
    assert "no test in" in told
    assert "\n  mine\n" in told


@pytest.mark.usefixtures("spark")
def test_the_rows_of_a_stream_are_one_micro_batch_of_it(folder: Path) -> None:
    (folder / "people").mkdir()
    (folder / "people" / "1.csv").write_text(PEOPLE)
    source = extract("people", "csv", "id INT, name STRING")
    source["config"]["path"] = "people"
    file = pipeline(folder, source, mode="streaming", streaming={"checkpointRoot": "checkpoints"})
    code, told = command("test", "--record", file)
    assert code == 0, told
    (test,) = json.loads((folder / "tests" / "made.json").read_text())["tests"]
    assert [row["name"] for row in test["expect"]["out"]] == ["Ann", "Bo", "Cy"]


@pytest.mark.usefixtures("spark")
def test_a_nested_secret_and_a_variable_that_looks_like_one_are_not_written(folder: Path) -> None:
    (folder / "people.json").write_text(
        '{"id": 1, "profile": {"password": "hunter2secret"}, "m": {"password": "hunter3secret", "a": "b"}}\n'
    )
    schema = "id INT, profile STRUCT<password: STRING>, m MAP<STRING, STRING>"
    columns = {"key": "'${var:api_password}'", "own": "m['password']"}
    file = pipeline(
        folder,
        extract("people", "json", schema),
        {"type": "transform", "method": "enrichData", "config": {"columns": columns}},
        variables={"api_password": {}, "pin_token": {"type": "integer", "default": 0}},
    )
    code, told = command("test", "--record", file, "--var", "api_password=varsecret99")
    assert code == 0, told
    assert "the test has '***' in place of the value of the variable api_password" in told
    text = (folder / "tests" / "made.json").read_text()
    assert re.search(r"hunter|varsecret99", text) is None
    (test,) = json.loads(text)["tests"]
    assert test["variables"] == {"api_password": "***"}
    (row,) = test["given"]["people"]["rows"]
    assert row["m"]["password"] == test["expect"]["out"][0]["own"]
    code, told = command("test", "--record", file, "--var", "api_password=x", "--var", "pin_token=987654")
    assert code == 1
    assert "the value of the variable 'pin_token' would stand in the test" in told
