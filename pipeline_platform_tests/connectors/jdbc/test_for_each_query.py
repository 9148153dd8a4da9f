"""`forEach` over a query: `refresh` asks databases for the items, and everything else reads what it has kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from pipeline_platform.cli import app
from pipeline_platform.config.loader import load_pipelines
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.registry import method_registry
from pipeline_platform_tests.connectors.databases import Schema


@pytest.fixture
def mirror(schema: Schema, tmp_path: Path) -> Path:
    """A file that makes a pipeline of each table of a schema that has `orders` and `customers`."""
    schema.server.query(f"CREATE TABLE {schema.name}.orders (id int)")
    schema.server.query(f"CREATE TABLE {schema.name}.customers (id int)")
    query = (
        f"SELECT table_name, 7 AS hour FROM information_schema.tables WHERE table_schema = '{schema.name}' ORDER BY 1"
    )
    step: dict[str, Any] = schema.extract()
    method, connection = step["method"], {key: value for key, value in step["config"].items() if key != "table"}
    pipeline = {
        "name": "mirror_${var:table_name}",
        "mode": "batch",
        "schedule": "0 ${var:hour} * * *",
        "forEach": {"items": "../shared/tables.json", "method": method, "config": {**connection, "query": query}},
        "variables": {"table_name": {}, "hour": {"type": "integer"}},
        "steps": [
            {"type": "extract", "method": method, "config": {**connection, "table": "${var:table_name}"}},
            {"type": "load", "method": "toDeltaLake", "config": {"path": "lake/${var:table_name}"}},
        ],
    }
    (tmp_path / "pipelines").mkdir()
    file = tmp_path / "pipelines" / "mirror.json"
    file.write_text(json.dumps(pipeline, indent=2))
    return file


def refresh(file: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["refresh", str(file), *options])


def names(file: Path) -> list[str]:
    return [pipeline.name for pipeline in load_pipelines(file, method_registry())]


def changed(file: Path, **keys: Any) -> None:
    """Write the file anew with other keys for its query."""
    pipeline = json.loads(file.read_text())
    pipeline["forEach"] |= keys
    file.write_text(json.dumps(pipeline, indent=2))


def test_each_row_is_a_pipeline_and_what_came_and_went_is_told(mirror: Path, schema: Schema) -> None:
    with pytest.raises(PipelineConfigurationException) as unknown:
        names(mirror)
    assert unknown.value.problems[0].hint == f"run: pipeline-platform refresh {mirror}"
    assert refresh(mirror).output.splitlines() == [
        f"{mirror}: 2 items, 2 added, 0 removed",
        "  + table_name=customers, hour=7",
        "  + table_name=orders, hour=7",
    ]
    assert names(mirror) == ["mirror_customers", "mirror_orders"]
    schema.server.query(f"DROP TABLE {schema.name}.orders")
    schema.server.query(f"CREATE TABLE {schema.name}.returns (id int)")
    checked = refresh(mirror, "--check")
    assert (checked.exit_code, names(mirror)) == (1, ["mirror_customers", "mirror_orders"])
    assert checked.output.splitlines()[1:] == ["  + table_name=returns, hour=7", "  - table_name=orders, hour=7"]
    assert refresh(mirror).exit_code == 0
    assert names(mirror) == ["mirror_customers", "mirror_returns"]
    assert refresh(mirror, "--check").output == f"{mirror}: 2 items, 0 added, 0 removed\n"


def test_an_answer_that_makes_no_items_leaves_those_there_are(mirror: Path, schema: Schema) -> None:
    assert refresh(mirror).exit_code == 0
    config = json.loads(mirror.read_text())["forEach"]["config"]
    twice = "two columns of the query are for the variable" if schema.is_postgres else "Duplicate column name"
    for query, message in (
        ("SELECT 'x' AS table_name, 1 AS hour FROM (SELECT 1 AS a) AS t WHERE a = 2", "the query has no row"),
        ("SELECT 'x' AS tabel_name", "the query has the column 'tabel_name', and there is no such variable"),
        ("SELECT 'x' AS table_name, 'noon' AS hour", "a value for the variable 'hour' that is none"),
        ("SELECT nothing FROM nowhere", "nowhere"),
        ("SELECT 'x' AS table_name, 1 AS hour, 'y' AS TABLE_NAME", twice),
        ("SELECT 'two words' AS table_name, 1 AS hour", "'mirror_two words' can't be the name of a pipeline"),
        ("SELECT 'x' AS table_name, 1 AS hour UNION ALL SELECT 'x', 1", "this item is the same as item 1"),
    ):
        changed(mirror, config={**config, "query": query})
        asked = refresh(mirror)
        assert asked.exit_code == 1
        assert message in asked.output
        assert f"{mirror}:" in asked.output
    assert names(mirror) == ["mirror_customers", "mirror_orders"]


def test_a_file_with_something_else_is_not_overwritten(mirror: Path, schema: Schema) -> None:
    shared = mirror.parent.parent / "shared"
    shared.mkdir()
    (shared / "tables.json").write_text('{"not": "items"}')
    asked = refresh(mirror)
    assert (asked.exit_code, (shared / "tables.json").read_text()) == (1, '{"not": "items"}')
    assert "holds something else than a list of items" in asked.output
    before = mirror.read_text()
    changed(mirror, items="mirror.json")
    assert "beside the pipelines it would be taken for one of them" in refresh(mirror).output
    assert json.loads(mirror.read_text()) == {
        **json.loads(before),
        "forEach": {**json.loads(before)["forEach"], "items": "mirror.json"},
    }


def test_values_are_kept_as_they_are(mirror: Path, schema: Schema) -> None:
    config = json.loads(mirror.read_text())["forEach"]["config"]
    pipeline = json.loads(mirror.read_text())
    pipeline["variables"] |= {"price": {}, "big": {}, "day": {"type": "date"}, "yes": {"type": "boolean"}}
    mirror.write_text(json.dumps(pipeline))
    query = (
        "SELECT 'x' AS table_name, 1 AS hour, 1.10 AS price, 12345678901234567890.123 AS big, "
        "CAST('2024-01-31' AS DATE) AS day, TRUE AS yes"
    )
    changed(mirror, config={**config, "query": query})
    assert refresh(mirror).exit_code == 0
    [item] = json.loads((mirror.parent.parent / "shared" / "tables.json").read_text())
    numbers = {"price": "1.10", "big": "12345678901234567890.123"}
    assert item == {"table_name": "x", "hour": 1, **numbers, "day": "2024-01-31", "yes": True}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"method": "fromFiles"}, "expected an extract that can be asked without Spark, not 'fromFiles'"),
        ({"config": {"query": "SELECT 1", "tabel": "x"}}, "unknown key 'tabel'"),
        ({"items": "../../elsewhere.json"}, "is outside the project folder"),
        ({"itmes": "x"}, "unknown key 'itmes'"),
    ],
    ids=str,
)
@pytest.mark.parametrize("schema", ["postgres"], indirect=True)
def test_mistakes_of_the_query_are_told_at_their_line(mirror: Path, keys: dict[str, Any], message: str) -> None:
    (mirror.parent.parent / "shared").mkdir()
    (mirror.parent.parent / "shared" / "tables.json").write_text('[{"table_name": "a", "hour": 1}]')
    changed(mirror, **keys)
    with pytest.raises(PipelineConfigurationException) as raised:
        names(mirror)
    [problem] = [problem for problem in raised.value.problems if message in problem.message]
    assert problem.line > 4
    assert message in refresh(mirror).output
