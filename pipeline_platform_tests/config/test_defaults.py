"""Defaults of a folder: what its pipelines get, from which line, and what is said of mistakes in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline_platform.cli import app
from pipeline_platform.cli.discover import _mistake
from pipeline_platform.config.documents import document
from pipeline_platform.config.loader import load_items_query, load_pipeline, load_pipelines
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.pipeline_keys import Retry
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.orchestration.project import load_project, pipeline_files
from pipeline_platform.orchestration.specs import code_versions
from pipeline_platform.registry import method_registry
from pipeline_platform_tests.config.reading import Json, extract, load, pipeline

DATABASE = {"host": "db", "database": "shop", "credentialPath": "shop/reader"}


def write(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value, indent=2))
    return path


def orders(**keys: Any) -> Json:
    return pipeline(extract("fromPostgres", table="orders"), load(path="lake/orders"), **keys)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "pipelines"


def read(folder: Path, defaults: Any, value: Json) -> PipelineConfig:
    write(folder / "defaults.json", defaults)
    return load_pipeline(write(folder / "orders.json", value), method_registry())


def refused(folder: Path, defaults: Any, *values: Json) -> list[str]:
    """What is wrong with the pipelines, as their file, line, and message."""
    write(folder / "defaults.json", defaults)
    problems: list[str] = []
    for number, value in enumerate(values):
        with pytest.raises(PipelineConfigurationException) as found:
            load_pipelines(write(folder / f"p{number}.json", value), method_registry())
        problems += [
            f"{problem.file.name}:{problem.line} {problem.message}" + (f" ({problem.hint})" if problem.hint else "")
            for problem in found.value.problems
        ]
    return [problem.replace(str(folder), "pipelines") for problem in problems]


def test_a_pipeline_gets_what_it_does_not_say_itself_key_by_key(folder: Path):
    defaults = {
        "metadata": {"owner": "ada@example.com", "tags": ["shop"]},
        "schedule": "0 5 * * *",
        "sparkConf": {"spark.sql.shuffle.partitions": "4", "spark.sql.ansi.enabled": "true"},
        "retry": {"max_attempts": 7, "delaySeconds": 1},
        "methods": {"fromPostgres": DATABASE, "toDeltaLake": {"mode": "overwrite"}},
    }
    own = {"metadata": {"tags": []}, "spark_conf": {"spark.sql.ansi.enabled": "false"}, "retry": {"maxAttempts": 2}}
    found = read(folder, defaults, orders(**own))
    assert (found.metadata.owner, found.metadata.tags, found.cron) == ("ada@example.com", [], "0 5 * * *")
    assert found.spark_conf == {"spark.sql.shuffle.partitions": "4", "spark.sql.ansi.enabled": "false"}
    assert (found.retry.max_attempts, found.retry.delay_seconds) == (2, 1.0)
    assert found.steps[0].config.as_config() == {"table": "orders", **DATABASE}
    assert found.steps[1].config.as_config() == {"path": "lake/orders", "mode": "overwrite"}


def test_what_a_step_or_its_referenced_file_says_wins_in_either_spelling_and_so_does_null(folder: Path):
    write(folder.parent / "shared" / "db.json", {"database": "referenced"})
    step = extract("from_postgres", table="orders", credential_path="mine", host=None)
    step = {**step, "method": "fromPostgres", "configRef": "../shared/db.json"}
    found = read(
        folder, {"schedule": "@daily", "methods": {"fromPostgres": DATABASE}}, pipeline(step, load(), schedule=None)
    )
    assert found.steps[0].config.as_config() == {
        "table": "orders",
        "credentialPath": "mine",
        "database": "referenced",
    }
    assert found.cron is None


def test_the_nearest_folder_wins_for_each_key_and_none_above_the_project_counts(folder: Path):
    write(folder.parent.parent / "defaults.json", {"schedule": "@yearly", "automation": "onSchedule"})
    write(
        folder.parent / "defaults.json", {"metadata": {"owner": "far@example.com", "team": "far"}, "schedule": "@daily"}
    )
    try:
        found = read(folder, {"metadata": {"owner": "near@example.com"}, "methods": {}}, orders())
    finally:
        (folder.parent.parent / "defaults.json").unlink()
    assert (found.metadata.owner, found.metadata.team) == ("near@example.com", "far")
    assert (found.cron, found.automation) == ("@daily", None)


def test_the_time_zone_of_a_cron_string_is_left_out_where_a_schedule_has_its_own(folder: Path):
    own = {"cron": "@daily", "timezone": "Europe/Berlin"}
    assert read(folder, {"scheduleTimezone": "Asia/Tokyo"}, orders(schedule=own)).cron_timezone == "Europe/Berlin"
    assert read(folder, {"scheduleTimezone": "Asia/Tokyo"}, orders(schedule="@daily")).cron_timezone == "Asia/Tokyo"


def test_a_mistake_in_the_defaults_is_told_at_its_line_alike_for_all(folder: Path):
    defaults = """{
  "metadata": {"ownr": "ada@example.com"},
  "schedul": "@daily",
  "sparkConf": {"spark.sql.shuffle.partitions": []},
  "methods": {
    "fromPostgrs": {},
    "fromPostgres": {"hots": "db"},
    "toDeltaLake": {"mode": "mergee"},
    "toMySQL": []
  }
}"""
    first, second = ([*refused(folder, defaults, value)] for value in (orders(), orders(name="other")))
    assert first == second
    assert [one.split(",")[0] for one in first] == [
        "defaults.json:2 unknown key 'ownr' (did you mean 'owner'?)",
        "defaults.json:3 unknown key 'schedul' (did you mean 'schedule'?)",
        "defaults.json:4 expected a string",
        "defaults.json:6 unknown method 'fromPostgrs' (did you mean 'fromPostgres'?)",
        "defaults.json:7 unknown key 'hots' (did you mean 'host'?)",
        "defaults.json:8 expected 'append'",
        "defaults.json:9 expected an object with keys of toMySQL",
    ]


def test_a_default_that_only_some_pipelines_can_have_is_told_with_the_file_of_each(folder: Path):
    stream = pipeline(extract("fromRate", rowsPerSecond=1), load(path="x", trigger="availableNow"), mode="streaming")
    assert refused(folder, {"automation": "onUpstream"}, stream) == [
        "defaults.json:2 a stream runs all the time: 'automation' is for batch pipelines, for pipelines/p0.json"
    ]
    assert refused(folder, {"methods": {"toDeltaLake": {"mode": "merge"}}}, orders()) == [
        "defaults.json:4 mode merge needs 'mergeKeys', for pipelines/p0.json"
    ]
    both, unknown = refused(
        folder,
        {"methods": {"fromPostgres": {"table": "${var:t}"}}},
        pipeline(extract("fromPostgres", query="SELECT 1"), load()),
    )
    assert both == "p0.json:9 'table' and 'query' are mutually exclusive"
    assert unknown == ("defaults.json:4 there is no variable 't', for pipelines/p0.json (declare it under 'variables')")


def test_a_variable_that_a_pipeline_does_not_have_is_told_at_the_setting_of_the_defaults(folder: Path):
    defaults = {"sparkConf": {"spark.a": "1", "spark.b": "${var:b}"}}
    assert refused(folder, defaults, orders(sparkConf={"spark.c": "3"})) == [
        "defaults.json:4 there is no variable 'b', for pipelines/p0.json (declare it under 'variables')"
    ]


def test_a_table_called_defaults_is_not_written_into_the_file_of_the_defaults(folder: Path):
    found = {**orders(), "name": "defaults"}
    assert "'defaults.json' has the defaults of a folder" in str(_mistake(found, folder))
    assert _mistake(found, folder / "other.json") is None
    assert _mistake({**found, "name": "other"}, folder / "defaults.json") is not None


def test_a_pipeline_in_the_file_of_the_defaults_is_told_so(folder: Path):
    assert refused(folder, orders(), orders())[0].startswith(
        "defaults.json:2 'name' is for one pipeline, and 'defaults.json' has the defaults of a folder"
    )
    with pytest.raises(PipelineConfigurationException, match="is no pipeline itself"):
        load_pipeline(write(folder / "defaults.json", {}), method_registry())
    assert refused(folder, [], orders()) == ["defaults.json:1 expected an object with defaults, not a list"]
    assert refused(folder, "{", orders())[0].startswith("defaults.json:1 not JSON")


def test_a_link_out_of_the_project_is_refused(folder: Path, tmp_path_factory: pytest.TempPathFactory):
    outside = write(tmp_path_factory.mktemp("outside") / "defaults.json", {"schedule": "@daily"})
    folder.mkdir()
    (folder / "defaults.json").symlink_to(outside)
    with pytest.raises(PipelineConfigurationException, match="a link out of the project folder"):
        load_pipeline(write(folder / "orders.json", orders()), method_registry())


def test_a_folder_may_be_a_link_and_one_that_is_everybodys_has_no_defaults(folder: Path, tmp_path: Path):
    write(tmp_path / "real" / "pipelines" / "defaults.json", {"schedule": "@daily"})
    write(tmp_path / "real" / "pipelines" / "orders.json", orders())
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "pipelines").symlink_to(tmp_path / "real" / "pipelines")
    file = tmp_path / "app" / "pipelines" / "orders.json"
    assert load_pipeline(file, method_registry()).cron == "@daily"
    (tmp_path / "real" / "pipelines").chmod(0o1777)
    assert load_pipeline(file, method_registry()).cron is None


def test_the_pipelines_of_for_each_get_them_with_the_values_of_the_items(folder: Path):
    defaults = {
        "metadata": {"tags": ["${var:table}"]},
        "methods": {"fromPostgres": DATABASE, "toDeltaLake": {"path": "lake/${var:table}"}},
    }
    steps = [extract("fromPostgres", table="${var:table}"), load("toDeltaLake", mode="overwrite")]
    keys = {"name": "m_${var:table}", "variables": {"table": {}}, "forEach": [{"table": "a"}, {"table": "b"}]}
    write(folder / "defaults.json", defaults)
    found = load_pipelines(write(folder / "all.json", pipeline(*steps, **keys)), method_registry())
    assert [(one.metadata.tags, one.steps[1].config.as_config()["path"]) for one in found] == [
        (["a"], "lake/a"),
        (["b"], "lake/b"),
    ]
    asked = {"items": "../shared/t.json", "method": "fromPostgres", "config": {"query": "SELECT 1"}}
    query = load_items_query(
        write(folder / "all.json", pipeline(*steps, **{**keys, "forEach": asked})), method_registry()
    )
    assert query is not None
    assert query.extract.as_config() == {"query": "SELECT 1", **DATABASE}


def test_the_code_version_of_a_step_is_another_with_other_defaults(folder: Path):
    before, after = (
        code_versions(read(folder, {"methods": {"fromPostgres": {"host": host}}}, orders())) for host in ("a", "b")
    )
    assert before[0] != after[0]


def test_a_folder_reads_its_defaults_once_and_does_not_take_them_for_a_pipeline(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    defaults = write(folder / "defaults.json", {"methods": {"fromPostgres": DATABASE}})
    for number in range(3):
        write(folder / f"p{number}.json", orders(name=f"p{number}"))
    read_text, times = document.read_text, []
    monkeypatch.setattr(document, "read_text", lambda path, shown: times.append(path) or read_text(path, shown))
    project = load_project(folder, method_registry())
    assert (len(project.pipelines), project.broken) == (3, ())
    assert times.count(defaults) == 1
    assert defaults not in pipeline_files(folder)
    assert project.pipelines[0].sources == (defaults,)


def test_check_says_what_comes_from_where_and_tells_a_mistake_of_the_defaults_once(folder: Path):
    write(folder / "defaults.json", {"metadata": {"team": "shop"}, "methods": {"fromPostgres": {"host": "db"}}})
    for name in ("a", "b"):
        write(folder / f"{name}.json", orders(name=name))
    told = CliRunner().invoke(app, ["check", "--defaults", str(folder)])
    assert told.stdout.replace(str(folder), "pipelines").splitlines() == [
        line
        for name in ("a", "b")
        for line in (
            f"{name}: metadata.team from pipelines/defaults.json:3",
            f"{name}, step 1 (fromPostgres): host from pipelines/defaults.json:7",
        )
    ]
    listed = json.loads(CliRunner().invoke(app, ["list", "--json", str(folder)]).stdout)
    assert listed[0]["defaults"][1] == {"key": "host", "step": 0, "file": str(folder / "defaults.json"), "line": 7}
    file = write(folder / "defaults.json", {"schedul": "@daily"})
    for asked in (folder, file):
        told = CliRunner().invoke(app, ["check", str(asked)])
        assert (told.exit_code, told.stderr.count("unknown key 'schedul'")) == (1, 1)
        assert told.stderr.endswith("1 error\n")


def test_null_takes_any_default_away_also_that_of_the_folder_above(folder: Path):
    write(
        folder.parent / "defaults.json",
        {
            "metadata": {"owner": "ada@example.com", "tags": ["shop"]},
            "retry": {"maxAttempts": 7, "delaySeconds": 1},
            "sparkConf": {"spark.sql.ansi.enabled": "true"},
            "methods": {"toDeltaLake": {"mode": "merge", "mergeKeys": ["id"], "partitionBy": ["day"]}},
        },
    )
    defaults = {"metadata": None, "methods": {"toDeltaLake": {"partitionBy": None}}}
    own = {"retry": {"maxAttempts": None}, "spark_conf": {"spark.sql.ansi.enabled": None}}
    source = extract("fromFiles", path="in", format="json")
    sink = load(path="lake/orders", mode="overwrite", merge_keys=None)
    found = read(folder, defaults, pipeline(source, sink, **own))
    assert (found.metadata.owner, found.metadata.tags) == (None, [])
    assert (found.retry.max_attempts, found.retry.delay_seconds) == (Retry().max_attempts, 1.0)
    assert found.spark_conf == {}
    assert found.steps[1].config.as_config() == {"path": "lake/orders", "mode": "overwrite"}
    assert {one.key for one in found.defaulted} == {"retry.delaySeconds"}
    assert read(folder, {}, orders(retry=None)).retry.delay_seconds == Retry().delay_seconds


def test_a_stream_that_has_the_schedule_of_its_folder_is_told_whose_it_is(folder: Path):
    stream = pipeline(extract("fromRate", rowsPerSecond=1), load(path="lake/orders"), mode="streaming")
    assert refused(folder, {"schedule": "0 5 * * *"}, stream) == [
        "p0.json:12 a streaming pipeline with a schedule needs 'trigger': 'availableNow' in every load "
        '(the schedule is a default, of pipelines/defaults.json:2; "schedule": null takes it away)'
    ]
    assert read(folder, {"schedule": "0 5 * * *"}, {**stream, "schedule": None}).cron is None
