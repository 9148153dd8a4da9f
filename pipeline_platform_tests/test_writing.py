"""What helps to write pipelines: a project to begin with, lists of pipelines and of methods, examples that run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession
from typer.testing import CliRunner, Result

from pipeline_platform.cli import app
from pipeline_platform.config.method_registry import MethodRegistry
from pipeline_platform.config.methods import example_of, methods_of
from pipeline_platform.config.reference import reference_page
from pipeline_platform.config.schema import pipeline_schema
from pipeline_platform.config.step import StepConfig
from pipeline_platform.engine.batch import BatchRun
from pipeline_platform.registry import method_registry
from pipeline_platform.transforms.filter_rows import FilterRows
from pipeline_platform_tests.config.method_examples import FRAMES
from pipeline_platform_tests.config.reading import Json, load, pipeline, read, transform

BAD = '{"name": "bad", "mode": "batch", "steps": [{"type": "extract", "method": "fromFile"}]}'


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new project, which is the folder that commands are run in."""
    folder = tmp_path / "tea shop"
    assert run("init", folder).exit_code == 0
    monkeypatch.chdir(folder)
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_init_overwrites_nothing_and_gives_no_examples_to_who_has_pipelines(tmp_path: Path):
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'mine'\n")
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "mine.json").write_text("mine")
    mine = files_of(tmp_path)
    first = run("init", tmp_path)
    assert first.exit_code == 0
    assert "kept     pyproject.toml" in first.output
    assert "pipelines/orders.json" not in first.output
    assert "countries.json" not in str(files_of(tmp_path).keys())
    assert "root_module" in first.output
    made = files_of(tmp_path)
    assert made.items() >= mine.items()
    (tmp_path / "README.md").write_text("mine too")
    made = files_of(tmp_path)
    second = run("init", tmp_path)
    assert "created" not in second.output
    assert "kept     README.md" in second.output
    assert files_of(tmp_path) == made


@pytest.mark.parametrize(
    ("folder", "module"),
    [
        ("json", "json_project"),
        ("2 go", "project_2_go"),
        ("class", "project_class"),
        ("ä", "shop"),
        ("My-Shop", "my_shop"),
    ],
)
def test_the_package_of_a_new_project_has_a_name_that_python_takes(folder: str, module: str, tmp_path: Path):
    for _ in range(2):
        assert run("init", tmp_path / folder).exit_code == 0
    assert (tmp_path / folder / module / "definitions.py").is_file()
    assert f'root_module = "{module}"' in (tmp_path / folder / "pyproject.toml").read_text()
    assert len([*(tmp_path / folder).glob("*/definitions.py")]) == 1


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("pyproject.toml", "[tool.dg.project]\nroot_module = 'mine'\n", "dg scaffold defs pipeline_platform.Pipe"),
        ("src/mine/__init__.py", "", "dg scaffold defs pipeline_platform.PipelineComponent pipelines"),
        ("pyproject.toml", "[tool", "pyproject.toml can't be read"),
    ],
)
def test_init_leaves_a_project_alone_whose_package_is_another_one(name: str, text: str, told: str, tmp_path: Path):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(text)
    mine = files_of(tmp_path)
    done = run("init", tmp_path)
    assert done.exit_code == 1
    assert told in done.output
    assert files_of(tmp_path) == mine


def test_a_project_that_can_t_be_made_is_told(tmp_path: Path):
    (tmp_path / "file").touch()
    done = run("init", tmp_path / "file")
    assert done.exit_code == 1
    assert "the project can't be made" in done.output
    assert not done.exception or isinstance(done.exception, SystemExit)


def test_list_tells_what_each_pipeline_reads_and_writes_and_what_is_broken(shop: Path):
    (shop / "pipelines" / "bad.json").write_text(BAD)
    daily = {"type": "daily", "start": "2026-01-01", "column": "timestamp"}
    rows_of_days = [changed("fromRate"), load(path="lake/days", mode="overwrite", catalogTable="sales.days")]
    days = {"partitions": daily, "schedule": "@hourly", "scheduleTimezone": "Asia/Tokyo", "automation": "onSchedule"}
    (shop / "pipelines" / "days.json").write_text(json.dumps(pipeline(*rows_of_days, **{**days, "name": "days"})))
    listed = run("list", "--json")
    assert listed.exit_code == 1
    bad, countries, days, orders = json.loads(listed.stdout)
    assert bad["file"] == "pipelines/bad.json"
    assert "unknown method 'fromFile'" in bad["errors"][0]
    assert (orders["name"], orders["mode"], len(orders["steps"]), orders["schedule"]) == ("orders", "batch", 5, None)
    assert countries["schedule"] == "0 6 * * *"
    lake = (shop / "lake").as_uri()
    assert countries["reads"] == [f"{lake}/orders", f"{(shop / 'data').as_uri()}/customers.csv"]
    assert (orders["writes"], countries["writes"]) == ([f"{lake}/orders"], [f"{lake}/countries"])
    table = run("list")
    assert table.exit_code == 1
    rows = {line.split()[0]: line.split() for line in table.output.splitlines() if line.strip()}
    assert rows["countries"] == ["countries", "batch", "0", "6", "*", "*", "*", "5", "lake/orders", "lake/countries"]
    assert (days["partitions"], days["automation"]) == ("daily", "onSchedule")
    assert " ".join(rows["days"]) == "days batch, daily @hourly Asia/Tokyo, onSchedule 2 – lake/days as sales.days"
    assert (days["catalog_tables"], orders["catalog_tables"]) == ({f"{lake}/days": "sales.days"}, {})
    assert rows["bad.json"] == ["bad.json", "broken"]
    assert "pipelines/bad.json:1:" in table.output


def test_list_of_an_empty_folder_says_how_to_begin(tmp_path: Path):
    done = run("list", tmp_path)
    assert done.exit_code == 0
    assert "pipeline-platform init" in done.output
    assert run("list", tmp_path / "nowhere").exit_code == 1


def test_check_takes_folders_beside_files(shop: Path, tmp_path: Path):
    shutil.copy("pipelines/orders.json", tmp_path / "again.json")
    done = run("check", "pipelines", tmp_path / "again.json", "pipelines/orders.json")
    assert done.exit_code == 1
    assert "the name 'orders' is taken by pipelines/orders.json" in done.output
    assert done.output.endswith("1 error\n")
    (tmp_path / "empty").mkdir()
    empty = run("check", "pipelines", tmp_path / "empty")
    assert empty.exit_code == 1
    assert "there is no pipeline file in the folder" in empty.output
    # The format's own schema, which `init` writes there, is no pipeline.
    above = run("check", ".")
    assert above.exit_code == 1
    assert "you may mean pipelines" in " ".join(above.output.split())


def test_methods_lists_every_method_and_tells_all_about_one():
    listed = run("methods").output
    for method in methods_of(method_registry()):
        assert f"  {method.method} " in listed
        told = run("methods", method.method).output
        assert json.dumps(method.example)[1:12] in told
        keys = [field.alias or name for name, field in method.model_fields.items()]
        assert all(f"\n  {key}: " in told for key in keys)
    assert "  condition: string, required\n    A Spark SQL condition." in run("methods", "filterRows").output
    assert 'trigger: string, default "5 seconds"' in run("methods", "toKafka").output
    assert "Also called coalesceData" in run("methods", "coalesceData").output


def test_a_method_of_another_package_without_docstring_and_example_is_listed_too(monkeypatch: pytest.MonkeyPatch):
    bare = type("Bare", (FilterRows,), {"method": "bare", "example": None, "__module__": __name__})
    known = method_registry()
    added = MethodRegistry({**known, "transform": {**known["transform"], "bare": bare}}, known.misnomers)
    monkeypatch.setattr("pipeline_platform.cli.methods.method_registry", lambda: added)
    assert "\n  bare\n" in run("methods").output
    assert run("methods", "bare").output.startswith("bare (transform)\n")
    assert "Example" not in run("methods", "bare").output
    assert '"bare"' in json.dumps(pipeline_schema(added)["$defs"]["transform"])
    assert "### bare\n" in reference_page(added)


@pytest.mark.parametrize(("name", "meant"), [("fromFile", "fromFiles"), ("fromCsv", "fromFiles"), ("x", "lists all")])
def test_methods_of_an_unknown_name_says_what_was_probably_meant(name: str, meant: str):
    done = run("methods", name)
    assert done.exit_code == 1
    assert f"unknown method '{name}'" in done.output
    assert meant in done.output


EXAMPLES = {method.method: example_of(method) for method in methods_of(method_registry())}
ROWS = {
    "filterRows": 4,
    "enrichData": 5,
    "joinDataFrames": 5,
    "aggregateData": 4,
    "reshapeData": 4,
    "unionDataFrames": 6,
    "toAvroSchema": 1,
    "evolveAvroSchema": 5,
    "repartition": 5,
    "coalesce": 5,
    "repartitionByColumns": 5,
    "sqlQuery": 2,
    "deduplicate": 5,
}
"""How many rows each transform makes of the five orders, counted by hand."""


# To compile code for so few rows takes longer than to do without.
FOR_A_FEW_ROWS = {
    "spark.sql.codegen.wholeStage": False,
    "spark.sql.shuffle.partitions": 1,
    "spark.sql.adaptive.enabled": False,
}


def changed(name: str, **config: Any) -> Json:
    step = EXAMPLES[name]
    assert step is not None
    return {**step, "config": {**step["config"], **config}}


def counted(frames: Sequence[str], path: str) -> list[Json]:
    """Steps that write how many rows each of the frames has, in one Spark job."""
    query = " UNION ALL ".join(f"SELECT '{name}' AS frame, count(*) AS n FROM {name}" for name in frames)
    return [transform("sqlQuery", query=query), load("toFiles", path=path, format="json")]


def counts_in(path: str) -> dict[str, int]:
    lines = [json.loads(line) for file in Path(path).glob("*.json") for line in file.read_text().splitlines()]
    return {line["frame"]: line["n"] for line in lines}


def test_the_examples_that_need_no_server_run_in_a_new_project(shop: Path, spark: SparkSession):
    def of_type(step_type: str) -> list[type[StepConfig]]:
        return [method for method in methods_of(method_registry()) if method.step_type == step_type]

    transforms = [method.method for method in of_type("transform")]
    assert transforms == [*ROWS]
    by_name = {"joinDataFrames", "unionDataFrames", "sqlQuery"}
    inputs: dict[str, dict[str, str]] = {name: {} if name in by_name else {"input": "orders"} for name in transforms}
    writing = pipeline(
        *FRAMES,
        *(changed(name, registerAs=name, **inputs[name]) for name in transforms),
        *counted(transforms, "out/rows"),
        *(changed(name, input="orders") for name in ("toFiles", "toDeltaLake", "toAvro")),
        *(changed(method.method, input="orders") for method in of_type("validate")),
        sparkConf=FOR_A_FEW_ROWS,
    )
    written = BatchRun(read(writing), spark).run()
    assert written.status == "COMPLETED"
    assert counts_in("out/rows") == ROWS
    assert DeltaTable("lake/orders").to_pyarrow_table().num_rows == 5
    reading = ("fromFiles", "fromDeltaLake", "fromAvro", "fromRate")
    again = pipeline(
        *(changed(name, registerAs=name) for name in reading), *counted(reading, "out/read"), sparkConf=FOR_A_FEW_ROWS
    )
    assert BatchRun(read(again), spark).run().status == "COMPLETED"
    assert counts_in("out/read") == {"fromFiles": 5, "fromDeltaLake": 5, "fromAvro": 5, "fromRate": 600}
