"""One broken thing breaks one thing: what is wrong with a file, a name, a plug-in or a folder is told where it is."""

from __future__ import annotations

import json
import keyword
import re
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any, ClassVar

import dagster as dg
import pytest
from dagster._core.definitions.utils import DISALLOWED_NAMES, is_valid_owner
from dagster._core.utils import is_valid_email
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from pipeline_platform import registry
from pipeline_platform.cli import app
from pipeline_platform.config.dagster_names import RESERVED_NAMES, dagster_owner
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.orchestration.project import load_project
from pipeline_platform.orchestration.project_definitions import project_definitions
from pipeline_platform.registry import method_registry
from pipeline_platform.resources.asset_metadata import NOT_LOADED
from pipeline_platform.steps.extract import Extract
from pipeline_platform_tests.orchestration.conftest import MakeDefinitions, rate_to_delta


def reader(name: str, path: str, writes: str, mode: str = "batch") -> dict[str, Any]:
    """A pipeline that reads one Delta table and writes another."""
    return {
        "name": name,
        "mode": mode,
        "steps": [
            {"type": "extract", "method": "fromDeltaLake", "config": {"path": path}},
            {"type": "load", "method": "toDeltaLake", "config": {"path": writes}},
        ],
    }


def keys_of(definitions: dg.Definitions) -> set[str]:
    """The keys of the assets of all that is loaded; as a code server does, everything is resolved."""
    dg.Definitions.validate_loadable(definitions)
    definitions.get_repository_def().get_all_jobs()
    specs = definitions.resolve_all_asset_specs()
    return {spec.key.to_user_string() for spec in specs if NOT_LOADED not in spec.metadata}


def description_of(definitions: dg.Definitions, key: str) -> str:
    specs = {spec.key.to_user_string(): spec for spec in definitions.resolve_all_asset_specs()}
    return str(specs[key].description)


def test_the_reserved_names_are_dagster_s_own():
    assert RESERVED_NAMES == DISALLOWED_NAMES
    assert set(keyword.kwlist) < RESERVED_NAMES


@settings(max_examples=500, deadline=None, database=None)
@given(
    st.from_regex(re.compile(r"(team:)?[\w.+-]{0,8}@?[\w.-]{0,8}(\.[\w|]{0,9})?", re.ASCII), fullmatch=True)
    | st.text(max_size=12)
)
def test_whatever_is_taken_as_an_owner_dagster_takes(owner: str):
    try:
        taken = dagster_owner(owner)
    except ValueError:
        return
    assert is_valid_owner(taken)
    assert taken.startswith("team:") or is_valid_email(owner)


@pytest.mark.parametrize(
    ("keys", "column", "told"),
    [
        ({"name": "class"}, 11, "reserved by Dagster"),
        ({"name": "input"}, 11, "reserved by Dagster"),
        ({"name": "__ASSET_JOB_0"}, 11, "reserved by Dagster"),
        ({"metadata": {"owner": "team:"}}, 14, "the name of a team"),
        ({"metadata": {"team": "é"}}, 13, "the name of a team"),
        ({"metadata": {"owner": "jane@lab.technology"}}, 14, "not an email address that Dagster accepts"),
        ({"schedule": "0 0 * * *", "scheduleTimezone": "Europe"}, 23, "no time zone 'Europe'"),
    ],
)
def test_what_dagster_would_not_take_is_a_problem_at_its_place_and_the_others_load(
    define: MakeDefinitions, tmp_path: Path, keys: dict[str, Any], column: int, told: str
):
    odd = {**rate_to_delta("odd", tmp_path / "u"), **keys}
    definitions = define(rate_to_delta("good", tmp_path / "t"), texts={"bad.json": json.dumps(odd, indent=2)})
    assert keys_of(definitions) == {"good/from_rate", "good/to_delta_lake", "broken/bad"}
    assert re.search(rf"bad\.json:\d+:{column}: .*{told}", description_of(definitions, "broken/bad"))


def test_names_that_dagster_uses_itself_for_ops_and_sources_are_no_clash(define: MakeDefinitions, tmp_path: Path):
    stream = rate_to_delta("x", tmp_path / "x") | {"mode": "streaming"}
    source = {"type": "extract", "method": "fromFiles", "config": {"path": "/inn", "format": "json"}}
    named = rate_to_delta("files", tmp_path / "f")
    named["steps"][0]["config"]["registerAs"] = "inn"
    definitions = define(
        stream,
        rate_to_delta("run_x", tmp_path / "a"),
        rate_to_delta("x__to_delta_lake_stream_healthy", tmp_path / "b"),
        rate_to_delta("broken_bad", tmp_path / "c"),
        named,
        {"name": "reads", "mode": "batch", "steps": [source]},
        texts={"bad.json": "{", "b-d.json": "{", "b_d.json": "{"},
    )
    keys = keys_of(definitions)
    assert {"files/inn", "sources/files/inn", "broken/bad", "broken/b_d", "broken/b_d_"} <= keys


@pytest.mark.parametrize("mode", ["batch", "streaming"])
def test_of_pipelines_that_read_each_other_s_tables_one_stays_out_and_says_which_cycle(
    define: MakeDefinitions, tmp_path: Path, mode: str
):
    a, b, c = (str(tmp_path / name) for name in "abc")
    definitions = define(
        reader("first", c, a),
        reader("second", a, b),
        reader("third", b, c, mode),
        reader("apart", a, str(tmp_path / "d")),
    )
    keys = keys_of(definitions)
    assert {"first/to_delta_lake", "second/to_delta_lake", "apart/to_delta_lake", "broken/third"} <= keys
    assert not any(key.startswith("third/") for key in keys)
    told = description_of(definitions, "broken/third")
    assert "third.json:5:5" in told
    for reading in ("'first' reads what 'third'", "'second' reads what 'first'", "'third' reads what 'second'"):
        assert reading in told


def test_a_pipeline_that_reads_its_own_table_is_no_cycle(define: MakeDefinitions, tmp_path: Path):
    table = str(tmp_path / "t")
    assert "own/to_delta_lake" in keys_of(define(reader("own", table, table)))


def test_check_holds_several_files_against_each_other(tmp_path: Path):
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    files = [tmp_path / "one.json", tmp_path / "two.json", tmp_path / "twin.json"]
    for file, pipeline in zip(files, [reader("one", b, a), reader("two", a, b), reader("one", a, b)], strict=True):
        file.write_text(json.dumps(pipeline, indent=1))
    cli = CliRunner()
    for file in files:
        assert cli.invoke(app, ["check", str(file)]).exit_code == 0
    result = cli.invoke(app, ["check", *map(str, files)])
    assert result.exit_code == 1
    assert f"{files[1]}:5:3: pipelines read each other's tables in a cycle" in result.output
    assert f"{files[2]}:2:10: the name 'one' is taken by {files[0]}" in result.output
    assert "2 errors" in result.output


class FromNowhere(Extract):
    """Can't say what it reads."""

    method: ClassVar[str] = "fromNowhere"

    def dataset(self):
        raise RuntimeError("no such place")


def install(monkeypatch: pytest.MonkeyPatch, group: str, **modules: str) -> None:
    """Make entry points known, as installed packages do."""
    points = EntryPoints(EntryPoint(name, value, group) for name, value in modules.items())
    monkeypatch.setattr(registry, "entry_points", lambda group: points.select(group=group))
    registry.registered.cache_clear()


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    for name, text in {
        "absent_library": "import no_such_library\n",
        "exits": "raise SystemExit('no licence')\n",
        "no_method": "METHOD = 3\n",
        "twin": (
            "from pipeline_platform.connectors.rate.source import FromRate\n"
            "class Twin(FromRate):\n    method = 'fromKafka'\n"
        ),
    }.items():
        (tmp_path / f"plugin_{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    install(
        monkeypatch,
        "pipeline_platform.methods",
        fromAbsent="plugin_absent_library:FromAbsent",
        fromExits="plugin_exits:FromExits",
        fromNumber="plugin_no_method:METHOD",
        fromTwin="plugin_twin:Twin",
        fromNowhere=f"{__name__}:FromNowhere",
    )
    yield
    registry.registered.cache_clear()


def using(method: str) -> str:
    steps = [{"type": "extract", "method": method, "config": {}}]
    return json.dumps({"name": "uses_" + method, "mode": "batch", "steps": steps}, indent=1)


@pytest.mark.usefixtures("plugins")
def test_a_plug_in_that_fails_is_left_out_and_named_for_its_method(define: MakeDefinitions, tmp_path: Path):
    reasons = {
        "fromAbsent": "ModuleNotFoundError: No module named 'no_such_library'",
        "fromExits": "SystemExit: no licence",
        "fromNumber": "is not a method: expected a subclass of Extract",
        "fromTwin": "another method of the type extract is called 'fromKafka'",
    }
    definitions = define(
        rate_to_delta("good", tmp_path / "t"), texts={f"{method}.json": using(method) for method in reasons}
    )
    assert "good/to_delta_lake" in keys_of(definitions)
    for method, reason in reasons.items():
        told = description_of(definitions, f"broken/{method}")
        assert f"unknown method '{method}' (the plug-in '{method}'" in told
        assert reason in told
    checked = CliRunner().invoke(app, ["check", str(tmp_path / "pipelines" / "good.json")])
    assert (checked.exit_code, checked.output) == (0, "")
    misspelled = tmp_path / "misspelled.json"
    misspelled.write_text(using("fromRat"))
    assert "did you mean 'fromRate'?" in CliRunner().invoke(app, ["check", str(misspelled)]).output


@pytest.mark.usefixtures("plugins")
def test_a_plug_in_that_fails_when_it_is_asked_breaks_its_pipeline_alone(define: MakeDefinitions, tmp_path: Path):
    definitions = define(rate_to_delta("good", tmp_path / "t"), texts={"bad.json": using("fromNowhere")})
    assert keys_of(definitions) == {"good/from_rate", "good/to_delta_lake", "broken/bad"}
    assert "no such place" in description_of(definitions, "broken/bad")


def test_what_dagster_refuses_though_check_took_it_breaks_its_pipeline_alone(
    define: MakeDefinitions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("pipeline_platform.config.pipeline_keys.reserved_name", lambda name: None)
    definitions = define(rate_to_delta("class", tmp_path / "u"), rate_to_delta("good", tmp_path / "t"))
    assert keys_of(definitions) == {"good/from_rate", "good/to_delta_lake", "broken/class"}
    assert "class.json:2:11: Dagster does not accept this pipeline" in description_of(definitions, "broken/class")


@pytest.mark.parametrize("what", ["absent", "file"])
def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path, what: str):
    folder = tmp_path / what
    (tmp_path / "file").touch()
    with pytest.raises(PipelineConfigurationException, match="can't be read") as error:
        project_definitions(folder)
    assert "PIPELINES_DIR" in str(error.value)
    for command in ("streams", "metrics"):
        result = CliRunner().invoke(app, [command, str(folder)])
        assert result.exit_code == 1
        assert f"the folder of pipelines '{folder}' can't be read" in result.output


def test_a_broken_file_can_t_be_materialized_and_its_check_fails_when_the_definitions_are_loaded(
    define: MakeDefinitions, tmp_path: Path
):
    definitions = define(rate_to_delta("good", tmp_path / "t"), texts={"bad.json": '{"name": "bad", "mode": 3}'})
    key = dg.AssetKey(["broken", "bad"])
    graph = definitions.get_repository_def().asset_graph
    assert key in graph.get_all_asset_keys()
    assert key not in graph.executable_asset_keys
    sensor = definitions.get_sensor_def("broken_files")
    assert sensor.default_status == dg.DefaultSensorStatus.RUNNING
    with dg.DagsterInstance.ephemeral() as instance:
        said = sensor.evaluate_tick(dg.build_sensor_context(instance=instance))
        [event] = said.asset_events
        assert isinstance(event, dg.AssetCheckEvaluation)
        assert (event.asset_key, event.passed) == (key, False)
        assert "bad.json:1:1: expected 'steps'" in str(event.description)
        assert event.metadata["problems"].value == 2
        again = sensor.evaluate_tick(dg.build_sensor_context(instance=instance, cursor=said.cursor))
        assert not again.asset_events
        by_hand = definitions.get_implicit_global_asset_job_def().get_subset(
            asset_check_selection={dg.AssetCheckKey(key, "file_is_valid")}, asset_selection=set()
        )
        [evaluation] = by_hand.execute_in_process(instance=instance).get_asset_check_evaluations()
        assert not evaluation.passed


@pytest.mark.parametrize("value", ["1", "true", "True"])
def test_a_broken_file_is_an_error_of_the_code_location_where_that_is_asked_for(
    define: MakeDefinitions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
):
    monkeypatch.setenv("PIPELINE_PLATFORM_STRICT", value)
    good = rate_to_delta("good", tmp_path / "t")
    assert "good/to_delta_lake" in keys_of(define(good))
    with pytest.raises(PipelineConfigurationException, match=r"bad\.json:1:2: not JSON"):
        define(good, texts={"bad.json": "{"})
    monkeypatch.setenv("PIPELINE_PLATFORM_STRICT", "0")
    assert "good/to_delta_lake" in keys_of(define(good, texts={"bad.json": "{"}))


def test_a_strictness_that_is_neither_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PIPELINE_PLATFORM_STRICT", "perhaps")
    with pytest.raises(PipelineConfigurationException, match="neither true nor false"):
        project_definitions(tmp_path)


def test_a_schedule_says_its_time_zone(define: MakeDefinitions, tmp_path: Path):
    berlin = {"schedule": "30 6 * * *", "scheduleTimezone": "Europe/Berlin"}
    definitions = define(
        {**rate_to_delta("in_utc", tmp_path / "a"), "schedule": "0 2 * * *"},
        {**rate_to_delta("in_berlin", tmp_path / "b"), **berlin},
    )
    schedules = {one.name: one for one in definitions.schedules or [] if isinstance(one, dg.ScheduleDefinition)}
    assert schedules["in_utc_schedule"].execution_timezone == "UTC"
    assert "in the time zone UTC" in str(schedules["in_utc_schedule"].description)
    assert schedules["in_berlin_schedule"].execution_timezone == "Europe/Berlin"
    assert "in the time zone Europe/Berlin" in str(schedules["in_berlin_schedule"].description)


def test_a_stream_can_only_be_run_as_a_whole(define: MakeDefinitions, tmp_path: Path):
    definitions = define(rate_to_delta("flow", tmp_path / "t") | {"mode": "streaming"})
    job = definitions.get_implicit_global_asset_job_def()
    with pytest.raises(dg.DagsterInvalidSubsetError):
        job.get_subset(asset_selection={dg.AssetKey(["flow", "from_rate"])})


UPSTREAM = dg.AssetKey(["sales", "to_delta_lake"])
SALES: dict[str, Any] = {
    "name": "sales",
    "mode": "batch",
    "steps": [
        {"type": "extract", "method": "fromRate", "config": {"rowsPerSecond": 1}},
        {"type": "load", "method": "toDeltaLake", "config": {"path": "lake/sales"}},
    ],
}
TEXT = json.dumps(SALES, indent=2)


def with_own_of_everything(definitions: dg.Definitions, key: dg.AssetKey = UPSTREAM) -> dg.Definitions:
    """A person's own assets, jobs, schedules and sensors, which name a step and the job of a pipeline."""

    @dg.asset(ins={"table": dg.AssetIn(key, input_manager_key="delta_tables", metadata={"columns": ["value"]})})
    def report(table: Any) -> None: ...

    @dg.asset(deps=[key])
    def after() -> None: ...

    @dg.sensor(job_name="sales")
    def by_name() -> None: ...

    by_key = dg.define_asset_job("by_key", dg.AssetSelection.assets(key, "after"))
    own = dg.Definitions(
        assets=[report, after],
        jobs=[by_key],
        schedules=[dg.ScheduleDefinition(name="nightly", job_name="sales", cron_schedule="0 0 * * *")],
        sensors=[by_name, dg.AutomationConditionSensorDefinition("own", target=dg.AssetSelection.assets(key))],
    )
    both = dg.Definitions.merge(definitions, own)
    assert {"report", "after"} <= keys_of(both)
    return both


@pytest.mark.parametrize(
    "text",
    [
        TEXT.replace('"batch"', '"often"'),
        TEXT.replace('"batch",', '"batch"'),
        TEXT.replace("fromRate", "fromRat"),
        TEXT.replace('"type": "load",', ""),
        TEXT.replace('"path"', '"pth"'),
        TEXT[:-20],
        "<<<<<<< HEAD\n" + TEXT,
    ],
)
def test_what_a_person_s_own_assets_jobs_and_sensors_name_is_there_though_its_file_is_broken(
    define: MakeDefinitions, tmp_path: Path, text: str
):
    broken = define(rate_to_delta("good", tmp_path / "t"), texts={"orders.json": text})
    definitions = with_own_of_everything(broken)
    [spec] = [spec for spec in definitions.resolve_all_asset_specs() if spec.key == UPSTREAM]
    assert (spec.group_name, [dep.asset_key.to_user_string() for dep in spec.deps]) == ("broken", ["broken/orders"])
    assert "orders.json" in str(spec.description)
    job = definitions.resolve_job_def("sales")
    for run in (job, definitions.resolve_job_def("by_key")):
        done = run.execute_in_process(raise_on_error=False)
        assert not done.success
        [failure] = done.get_step_failure_events()
        assert "orders.json is not loaded:" in str(failure.step_failure_data.user_failure_data)
    whole = definitions.resolve_implicit_global_asset_job_def()
    done = whole.execute_in_process(asset_selection=[dg.AssetKey("report")], raise_on_error=False)
    [failure] = done.get_step_failure_events()
    told = str(failure.step_failure_data.error)
    assert re.search(r"the table of sales/to_delta_lake can't be found: .*orders\.json is not loaded:", told)
    assert "next: correct the file, and reload the definitions" in told


def test_the_steps_of_a_broken_file_with_for_each_and_a_template_are_told_too(define: MakeDefinitions, tmp_path: Path):
    steps = [{"template": "../rows.json", "with": {"rows": 1}}, SALES["steps"][1] | {"name": "table"}]
    each = {**SALES, "name": "load_${var:shop}", "variables": {"shop": {}}, "steps": steps, "mode": "often"}
    (tmp_path / "rows.json").write_text(
        json.dumps({"variables": {"rows": {"type": "integer"}}, "steps": [SALES["steps"][0]]})
    )
    definitions = define(texts={"each.json": json.dumps(each | {"forEach": [{"shop": "a"}, {"shop": "b"}]})})
    assert keys_of(definitions) == {"broken/each"}
    keys = {spec.key.to_user_string() for spec in definitions.resolve_all_asset_specs()}
    assert {f"load_{shop}/{step}" for shop in "ab" for step in ("from_rate", "table")} <= keys


def test_the_steps_of_a_pipeline_that_has_the_name_of_another_are_those_of_the_other(
    define: MakeDefinitions, tmp_path: Path
):
    twin: dict[str, Any] = rate_to_delta("good", tmp_path / "u") | {"mode": "often"}
    twin["steps"][1]["name"] = "twin"
    definitions = define(rate_to_delta("good", tmp_path / "t"), texts={"twin.json": json.dumps(twin)})
    assert keys_of(definitions) == {"good/from_rate", "good/to_delta_lake", "broken/twin"}
    assert "good/twin" in {spec.key.to_user_string() for spec in definitions.resolve_all_asset_specs()}
    assert [job.name for job in definitions.get_repository_def().get_all_jobs()].count("good") == 1


def test_pipelines_in_many_cycles_all_get_their_reason_and_the_rest_loads(tmp_path: Path):
    folder = tmp_path / "pipelines"
    folder.mkdir()
    for index in range(20):
        a, b = f"/t/{index}a", f"/t/{index}b"
        (folder / f"{index:02}a.json").write_text(json.dumps(reader(f"a{index}", b, a)))
        (folder / f"{index:02}b.json").write_text(json.dumps(reader(f"b{index}", a, b)))
    project = load_project(folder, method_registry())
    assert {pipeline.name for pipeline in project.pipelines} == {f"a{index}" for index in range(20)}
    assert len(project.broken) == 20
