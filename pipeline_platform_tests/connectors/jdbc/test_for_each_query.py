"""`forEach` over a query: `refresh` asks databases for the items, and everything else reads what it has kept."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socket import socket
from typing import Any

import dagster as dg
import pytest
from typer.testing import CliRunner, Result

from devtools.services.http import serving
from pipeline_platform.cli import app
from pipeline_platform.config.loader import load_pipelines
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.orchestration.items_sensor import items_sensor, refresh_seconds
from pipeline_platform.orchestration.project import load_project
from pipeline_platform.registry import method_registry
from pipeline_platform.resources.vault import VaultResource
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


def tick(file: Path, loaded: Any, cursor: str | None = None) -> tuple[str, str | None]:
    """What the sensor of a folder says, and remembers, where these pipelines are loaded."""
    sensor = items_sensor(file.parent, loaded.pipelines, 600)
    with dg.instance_for_test() as instance:
        said = sensor.evaluate_tick(
            dg.build_sensor_context(instance, cursor=cursor, resources={"vault": VaultResource()})
        )
    assert not said.run_requests
    return said.skip_message or "", said.cursor


def test_the_sensor_refreshes_the_items_and_tells_what_to_load_anew(mirror: Path, schema: Schema) -> None:
    folder, methods = mirror.parent, method_registry()
    loaded = load_project(folder, methods)
    first, cursor = tick(mirror, loaded)
    assert first.splitlines() == [
        f"{mirror}: 2 items, 2 added, 0 removed",
        "  + table_name=customers, hour=7",
        "  + table_name=orders, hour=7",
        f"the code location was loaded before the items of {mirror} changed: reload it, or set "
        "PIPELINE_PLATFORM_WEBSERVER to have it reloaded",
    ]
    assert tick(mirror, loaded, cursor)[0] == first.splitlines()[-1]
    anew = load_project(folder, methods)
    assert tick(mirror, anew, cursor) == ("nothing has changed", "{}")
    changed(
        mirror, config={**json.loads(mirror.read_text())["forEach"]["config"], "query": "SELECT nothing FROM nowhere"}
    )
    assert "nowhere" in tick(mirror, anew)[0]
    assert names(mirror) == ["mirror_customers", "mirror_orders"]


class Webserver(BaseHTTPRequestHandler):
    """Answers as Dagster's does when a code location was reloaded, and keeps what it was asked."""

    asked: list[Any]

    def do_POST(self) -> None:
        type(self).asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        loaded = {"__typename": "RepositoryLocation"}
        entry = {"__typename": "WorkspaceLocationEntry", "locationOrLoadError": loaded}
        answer = json.dumps({"data": {"reloadRepositoryLocation": entry}}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def test_the_sensor_has_the_code_location_reloaded_once(
    mirror: Path, schema: Schema, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_project(mirror.parent, method_registry())
    Webserver.asked = []
    with serving(Webserver) as url:
        monkeypatch.setenv("PIPELINE_PLATFORM_WEBSERVER", url)
        said, cursor = tick(mirror, loaded)
        again, after = tick(mirror, loaded, cursor)
    assert said.endswith(f"the items of {mirror} changed, and was reloaded")
    assert again.endswith("it was reloaded since, and still has others: the UI says why, under Deployment")
    assert (len(Webserver.asked), after) == (1, cursor)
    assert "reloadRepositoryLocation" in Webserver.asked[0]["query"]
    away, forgotten = tick(mirror, loaded)
    assert "can't be asked to reload it: " in away
    assert "refused" in away
    assert "mutation" not in away
    assert forgotten == "{}"


def test_a_database_that_does_not_answer_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline_platform.orchestration.items_sensor._ANSWER_SECONDS", 0.5)
    (tmp_path / "pipelines").mkdir()
    file = tmp_path / "pipelines" / "mirror.json"
    with socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        place = {
            "host": "127.0.0.1",
            "port": silent.getsockname()[1],
            "database": "d",
            "username": "u",
            "password": "p",
        }
        query = {"items": "../tables.json", "method": "fromPostgres", "config": {**place, "query": "SELECT 1 AS t"}}
        file.write_text(json.dumps({"name": "m_${var:t}", "variables": {"t": {}}, "forEach": query}))
        said, _ = tick(file, load_project(file.parent, method_registry()))
    assert said == f"{file}: no answer after 0.5 seconds, the items stay as they are"


@pytest.mark.parametrize(("said", "seconds"), [("", None), ("600", 600)])
def test_the_sensor_has_an_interval(said: str, seconds: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_PLATFORM_REFRESH_SECONDS", said)
    assert refresh_seconds() == seconds
    for wrong in ("0", "ten", "-1"):
        monkeypatch.setenv("PIPELINE_PLATFORM_REFRESH_SECONDS", wrong)
        with pytest.raises(PipelineConfigurationException, match="no number of seconds"):
            refresh_seconds()
