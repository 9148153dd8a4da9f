"""The first rows of a step: by `show`, and by `preview` in a notebook."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import pipeline_platform
from pipeline_platform.cli import app
from pipeline_platform.exceptions import PipelineConfigurationException

PEOPLE = """id,name,email,api_token
1,Ann,ann@example.com,abcdefgh12345
2,Bo,bo@example.com,
3,,cy@example.com,hgfedcba54321
4,Di,di@example.com,aaaabbbbccccd
"""
STEPS: list[dict[str, Any]] = [
    {
        "type": "extract",
        "method": "fromFiles",
        "name": "people",
        "config": {
            "path": "people.csv",
            "format": "csv",
            "schema": "id INT, name STRING, email STRING, api_token STRING",
        },
    },
    {
        "type": "validate",
        "method": "validateNulls",
        "name": "has_name",
        "config": {
            "notNullColumns": ["name"],
            "onFailure": "quarantine",
            "sensitiveColumns": ["email"],
            "quarantinePath": "bad",
        },
    },
    {
        "type": "transform",
        "method": "enrichData",
        "name": "with_contact",
        "config": {
            "columns": {"contact": "concat(name, ' <', email, '>')", "twice": "id * 2", "day": "DATE '2024-01-31'"}
        },
    },
    {
        "type": "transform",
        "method": "sqlQuery",
        "name": "by_sql",
        "config": {"query": "SELECT id, substring(contact, 1, 3) AS start, upper(api_token) AS key FROM with_contact"},
    },
    {"type": "load", "method": "toDeltaLake", "name": "table", "config": {"path": "lake", "mode": "overwrite"}},
]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "people.csv").write_text(PEOPLE)
    STEPS[2]["config"]["registerAs"] = "with_contact"
    (tmp_path / "people.json").write_text(json.dumps({"name": "people", "mode": "batch", "steps": STEPS}))
    return tmp_path / "people.json"


def show(file: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["show", str(file), *arguments])


@pytest.mark.usefixtures("spark")
def test_a_step_shows_its_first_rows_and_says_that_there_are_more(file: Path) -> None:
    shown = show(file, "--step", "people", "--limit", "2", "--json")
    assert shown.exit_code == 0, shown.output
    told = json.loads(shown.stdout)
    assert [column["name"] for column in told["columns"]] == ["id", "name", "email", "api_token"]
    assert told["rows"] == [
        {"id": 1, "name": "Ann", "email": "***", "api_token": "***"},
        {"id": 2, "name": "Bo", "email": "***", "api_token": None},
    ]
    assert told["hasMore"] is True


@pytest.mark.usefixtures("spark")
def test_what_is_made_of_hidden_columns_is_hidden_too_and_nothing_is_written(file: Path) -> None:
    rows = pipeline_platform.preview(file, "with_contact")
    assert rows.columns == ["id", "name", "email", "api_token", "contact", "twice", "day"]
    # The row without a name is in quarantine.
    assert [row["id"] for row in rows.as_dicts()] == [1, 2, 4]
    assert [(row["contact"], row["twice"]) for row in rows.as_dicts()] == [("***", 2), ("***", 4), ("***", 8)]
    given = pipeline_platform.preview(str(file), "table", limit=1)
    assert given.as_dicts() == [{"id": 1, "start": "***", "key": "***"}]
    assert given.has_more
    assert "<td>***</td>" in given._repr_html_()
    assert not (file.parent / "lake").exists()
    assert not (file.parent / "bad").exists()


@pytest.mark.usefixtures("spark")
def test_the_plan_of_a_step_is_shown(file: Path) -> None:
    shown = show(file, "--step", "by_sql", "--plan")
    assert "== Physical Plan ==" in shown.stdout
    assert "people.csv" in shown.stdout
    (first,) = json.loads(show(file, "--step", "with_contact", "--limit", "1", "--json").stdout)["rows"]
    assert first["day"] == "2024-01-31"


def test_a_step_that_there_is_not_is_told_with_those_that_there_are(file: Path) -> None:
    shown = show(file, "--step", "persons")
    assert shown.exit_code == 1
    assert "there is no step called persons; the steps are people, has_name, with_contact, by_sql, table" in (
        shown.output.replace("\n", " ")
    )
    with pytest.raises(PipelineConfigurationException, match="the pipeline has no partitions"):
        pipeline_platform.preview(file, "people", partition="2024-01-01")


NESTED = """{"id": 1, "profile": {"password": "hunter2secret", "city": "Rome"}, "m": {"password": "hunter2secret"},
 "logins": [{"token": "hunter2secret"}], "s": {"email": "ann@example.com"}, "note": "password=hunter2secret"}
"""


@pytest.mark.usefixtures("spark")
def test_nested_secrets_are_hidden_and_so_are_fields_that_are_marked(file: Path) -> None:
    (file.parent / "nested.json").write_text(NESTED.replace("\n ", ""))
    schema = (
        "id INT, profile STRUCT<password: STRING, city: STRING>, m MAP<STRING, STRING>, "
        "logins ARRAY<STRUCT<token: STRING>>, s STRUCT<email: STRING>, note STRING"
    )
    extract = {"path": "nested.json", "format": "json", "schema": schema}
    marks = {"notNullColumns": ["id"], "sensitiveColumns": ["S.email"]}
    steps = [
        {"type": "extract", "method": "fromFiles", "name": "nested", "config": extract},
        {"type": "validate", "method": "validateNulls", "config": marks},
        STEPS[4],
    ]
    made = file.parent / "made.json"
    made.write_text(json.dumps({"name": "made", "mode": "batch", "steps": steps}))
    told = show(made, "--step", "nested", "--json")
    (row,) = json.loads(told.stdout)["rows"]
    masked = dict.fromkeys(("profile", "logins", "s"), "***")
    assert {name: row[name] for name in masked} == masked
    assert row["id"] == 1
    for text in (told.output, pipeline_platform.preview(made, "nested")._repr_html_()):
        assert "hunter2" not in text
        assert "ann@" not in text


@pytest.mark.usefixtures("spark")
def test_an_error_tells_a_value_unless_it_is_of_a_hidden_column(file: Path) -> None:
    casts = {"own": "CAST(api_token AS INT)", "derived": "CAST(start AS INT)", "other": "CAST(name AS INT)"}
    alias = {"columns": {"start": "concat('k', api_token)"}, "registerAs": "aliased"}
    steps = [STEPS[0], {"type": "transform", "method": "enrichData", "name": "aliased", "config": alias}]
    for name, cast in casts.items():
        config = {"input": "aliased", "columns": {"n": cast}, "registerAs": name}
        steps.append({"type": "transform", "method": "enrichData", "name": name, "config": config})
    steps.append({**STEPS[4], "config": {**STEPS[4]["config"], "input": "own"}})
    made = file.parent / "made.json"
    made.write_text(json.dumps({"name": "made", "mode": "batch", "steps": steps}))
    told = {name: " ".join(show(made, "--step", name).output.split()) for name in casts}
    told["run"] = " ".join(CliRunner().invoke(app, ["run", str(made)]).output.split())
    for name in ("own", "derived", "run"):
        assert 'The value \'***\' of the type "STRING" cannot be cast to "INT"' in told[name]
        assert "abcdefgh12345" not in told[name]
    assert "The value 'Ann' of the type" in told["other"]
