"""Many pipelines of one file in Dagster: each with assets, a job and a schedule of its own."""

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from typer.testing import CliRunner

from pipeline_platform.cli import app
from pipeline_platform.config.loader import load_pipelines
from pipeline_platform.engine.streaming.other_streams import former_selves, sinks_of, sources_of
from pipeline_platform.engine.streaming.stream_state import StreamState
from pipeline_platform.orchestration.asset_view import AssetView
from pipeline_platform.orchestration.group_run import CurrentView
from pipeline_platform.orchestration.project import load_project
from pipeline_platform.orchestration.project_definitions import project_definitions
from pipeline_platform.registry import method_registry
from pipeline_platform_tests.orchestration.conftest import rate_to_delta
from pipeline_platform_tests.orchestration.test_broken_projects import keys_of
from pipeline_platform_tests.orchestration.test_own_assets import own_asset


def mirror(folder: Path, items: Any, **keys: Any) -> dict[str, Any]:
    """A file that loads generated rows into the table of each item."""
    pipeline = rate_to_delta("mirror", folder / "lake" / "${var:table}")
    pipeline["steps"][0]["config"]["rowsPerSecond"] = "${var:rows}"
    variables = {"table": {}, "rows": {"type": "integer", "default": 1}, "note": {"default": "none"}}
    return {**pipeline, "name": "mirror-${var:table}", "forEach": items, "variables": variables, **keys}


def in_folder(folder: Path, *files: dict[str, Any]) -> Path:
    (folder / "pipelines").mkdir(exist_ok=True)
    for number, file in enumerate(files):
        (folder / "pipelines" / f"{number}.json").write_text(json.dumps(file, indent=2))
    return folder / "pipelines"


ITEMS = [{"table": "orders", "rows": 2}, {"table": "customers"}]


def test_each_has_assets_a_group_a_job_and_a_schedule(tmp_path: Path):
    definitions = project_definitions(in_folder(tmp_path, mirror(tmp_path, ITEMS, schedule="${var:rows} 6 * * *")))
    tables = ("mirror_orders", "mirror_customers")
    assert keys_of(definitions) == {f"{name}/{step}" for name in tables for step in ("from_rate", "to_delta_lake")}
    assert {spec.group_name for spec in definitions.resolve_all_asset_specs()} == set(tables)
    schedules = [one for one in definitions.schedules or [] if isinstance(one, dg.ScheduleDefinition)]
    assert {(one.job_name, one.cron_schedule) for one in schedules} == {
        ("mirror_orders", "2 6 * * *"),
        ("mirror_customers", "1 6 * * *"),
    }


def test_a_run_loads_its_own_table_and_can_t_be_given_that_of_another(tmp_path: Path):
    definitions = project_definitions(in_folder(tmp_path, mirror(tmp_path, ITEMS)))
    job = definitions.resolve_job_def("mirror_orders")
    with dg.instance_for_test() as instance:
        given = {"ops": {"run_mirror_orders": {"config": {"note": "by hand"}}}}
        assert job.execute_in_process(instance=instance, run_config=given).success
        wrong = {"ops": {"run_mirror_orders": {"config": {"table": "customers"}}}}
        with pytest.raises(dg.DagsterInvalidConfigError, match="unexpected config entry"):
            job.execute_in_process(instance=instance, run_config=wrong)
    assert DeltaTable(tmp_path / "lake" / "orders").to_pyarrow_table().num_rows == 120
    assert not (tmp_path / "lake" / "customers").exists()


def test_an_own_asset_takes_the_table_of_the_item(tmp_path: Path):
    for place, table in enumerate(("orders", "customers")):
        write_deltalake(tmp_path / "lake" / table, pa.table({"id": [place]}))
    seen: list[Any] = []
    definitions = project_definitions(in_folder(tmp_path, mirror(tmp_path, ITEMS)))
    for name in ("orders", "customers"):
        asset = own_asset(pa.Table, seen, dg.AssetKey([f"mirror_{name}", "to_delta_lake"]))
        job = dg.Definitions.merge(definitions, dg.Definitions(assets=[asset])).resolve_implicit_global_asset_job_def()
        job.execute_in_process(asset_selection=[*asset.keys])
    assert [table.to_pydict() for table in seen] == [{"id": [0]}, {"id": [1]}]


def test_what_clashes_of_a_file_is_told_together_and_the_others_load(tmp_path: Path):
    own = [rate_to_delta(f"mirror_{name}", tmp_path / name) for name in ("orders", "returns")]
    items = [*ITEMS, {"table": "returns"}]
    project = load_project(in_folder(tmp_path, *own, mirror(tmp_path, items)), method_registry())
    assert [one.name for one in project.pipelines] == ["mirror_orders", "mirror_returns", "mirror-customers"]
    [broken] = project.broken
    assert broken.pipelines == ("mirror-orders", "mirror-returns")
    assert [one.message.partition(" is taken")[0] for one in broken.problems] == [
        "the name 'mirror-orders'",
        "the name 'mirror-returns'",
    ]
    assert "mirror_customers/to_delta_lake" in keys_of(project_definitions(tmp_path / "pipelines"))
    assert [one.name for one in project.without([broken]).pipelines] == [
        "mirror_orders",
        "mirror_returns",
        "mirror-customers",
    ]


def test_a_pipeline_that_reads_what_another_of_its_file_writes_depends_on_it(tmp_path: Path):
    chain = {
        "name": "chain_${var:to}",
        "mode": "batch",
        "variables": {"from": {}, "to": {}},
        "forEach": [{"from": "a", "to": "b"}, {"from": "b", "to": "c"}],
        "steps": [
            {"type": "extract", "method": "fromDeltaLake", "config": {"path": "/lake/${var:from}"}},
            {"type": "load", "method": "toDeltaLake", "config": {"path": "/lake/${var:to}"}},
        ],
    }
    definitions = project_definitions(in_folder(tmp_path, chain))
    assert keys_of(definitions)
    specs = {spec.key.to_user_string(): spec for spec in definitions.resolve_all_asset_specs()}
    deps = {dep.asset_key.to_user_string() for dep in specs["chain_c/from_delta_lake"].deps}
    assert deps == {"chain_b/to_delta_lake"}


def test_two_hundred_pipelines_of_a_file_are_read_in_a_moment(tmp_path: Path):
    items = [{"table": f"t{number}"} for number in range(200)]
    folder = in_folder(tmp_path, mirror(tmp_path, items))
    project_definitions(in_folder(tmp_path, mirror(tmp_path, items[:1])))
    in_folder(tmp_path, mirror(tmp_path, items))
    began = time.process_time()
    assert len(load_project(folder, method_registry()).pipelines) == 200
    read = time.process_time() - began
    definitions = project_definitions(folder)
    assert time.process_time() - began - read < 6
    assert len([*(definitions.jobs or [])]) == 200
    assert read < 2


def streams_of(folder: Path, items: Any, **keys: Any) -> Path:
    return in_folder(folder, mirror(folder, items, mode="streaming", **keys))


def test_a_stream_is_no_former_self_of_another_of_its_file(tmp_path: Path):
    file = streams_of(tmp_path, ITEMS, steps=rate_to_delta("x", tmp_path / "one")["steps"]) / "0.json"
    orders, customers = load_pipelines(file, method_registry())
    now = datetime.now(UTC)
    states = [
        StreamState(
            pipeline=name,
            run_id="1",
            file=str(file),
            sources=sources_of(customers),
            sinks=sinks_of(customers),
            checkpoint=f"file:///{name}",
            started=now,
            heartbeat=now,
            phase="running",
        )
        for name in (customers.name, "before")
    ]
    assert [state.pipeline for state in former_selves(orders, states)] == ["before"]


def test_commands_for_streams_act_on_the_one_that_is_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    streams_of(tmp_path, ITEMS)
    file, cli = "pipelines/0.json", CliRunner()
    for command in ("stop", "resume", "reset-checkpoint"):
        unclear = cli.invoke(app, [command, file])
        assert (unclear.exit_code, "choose one, as in --var table=orders" in unclear.stderr) == (1, True)
        chosen = cli.invoke(app, [command, file, "--var", "table=customers"])
        assert chosen.exit_code == 0, chosen.stderr
        assert command == "reset-checkpoint" or f"{file} --var table=customers" in chosen.stderr
    unclear = cli.invoke(app, ["run", file])
    assert "a stream runs until it is stopped" in unclear.stderr
    listed = json.loads(cli.invoke(app, ["streams", "--json"]).stdout)
    assert [row["stream"] for row in listed] == ["mirror-orders", "mirror-customers"]


def test_a_group_sees_an_item_that_is_added_to_the_list(tmp_path: Path):
    folder = streams_of(tmp_path, "tables.csv")
    (folder / "tables.csv").write_text("table\norders\n")

    def load() -> AssetView:
        return AssetView(load_project(folder, method_registry()))

    views = CurrentView(folder, load(), load)
    first = views.now()
    assert views.now() is first
    for text, names in (("table\norders\nreturns\n", ["orders", "returns"]), ("tabel\n", []), ("table\na\n", ["a"])):
        (folder / "tables.csv").write_text(text)
        for _ in range(2):
            assert [one.name for one in views.now().project.pipelines] == [f"mirror-{name}" for name in names]


def test_the_project_is_read_anew_when_its_defaults_or_a_template_change(tmp_path: Path):
    template = {"steps": [{"type": "load", "method": "toDeltaLake", "config": {"path": "lake/a"}}]}
    (tmp_path / "load.json").write_text(json.dumps(template))
    pipeline = rate_to_delta("rates", tmp_path / "lake")
    pipeline["steps"][-1:] = [{"template": "../load.json"}]
    folder = in_folder(tmp_path, pipeline)

    def load() -> AssetView:
        return AssetView(load_project(folder, method_registry()))

    views = CurrentView(folder, load(), load)
    assert views.now() is views.now()
    for path, value in (
        (folder / "defaults.json", {"metadata": {"team": "near"}}),
        (tmp_path / "defaults.json", {"metadata": {"owner": "far@example.com"}}),
        (tmp_path / "load.json", {"description": "new", **template}),
    ):
        before = views.now()
        path.write_text(json.dumps(value))
        assert views.now() is not before
    [found] = views.now().project.pipelines
    assert found.metadata.owners() == ["far@example.com", "team:near"]
