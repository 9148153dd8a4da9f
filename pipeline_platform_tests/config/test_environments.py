"""Environments: what their pipelines write lies beside production, what they read may be production's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar, Self

import pytest

from pipeline_platform.config.environments import ENVIRONMENT_VARIABLE
from pipeline_platform.config.loader import load_pipeline, load_pipelines
from pipeline_platform.config.method_registry import MethodRegistry
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.redirection import NotRedirected, Redirection
from pipeline_platform.config.shared_files import SharedFiles
from pipeline_platform.config.step import StepConfig
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.orchestration.project import load_project
from pipeline_platform.registry import method_registry
from pipeline_platform.steps.dataset import Dataset
from pipeline_platform.steps.load import Load
from pipeline_platform.testing.reading import read_tests
from pipeline_platform_tests.config.reading import Json, extract, load, pipeline, validate

ORDERS = pipeline(extract(), load(path="lake/orders"), name="orders")
DEV = {"prefix": "dev_"}


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "dev")
    (tmp_path / "pipelines").mkdir()
    return tmp_path


def say(*, environments: Any = None, **keys: Any) -> None:
    """Write the environments: those that are given, or one that is called dev."""
    text = json.dumps({"environments": environments or {"dev": {**DEV, **keys}}}, indent=2)
    Path("environments.json").write_text(text)


def write(value: Json) -> Path:
    path = Path("pipelines") / f"{value['name']}.json"
    path.write_text(json.dumps(value, indent=2))
    return path


def read(value: Json, **values: Any) -> PipelineConfig:
    return load_pipeline(write(value), method_registry(), values=values)


def refused(value: Json, registry: MethodRegistry | None = None) -> list[str]:
    with pytest.raises(PipelineConfigurationException) as found:
        load_pipelines(write(value), registry or method_registry())
    return [
        f"{problem.file}:{problem.line} {problem.message}" + (f" ({problem.hint})" if problem.hint else "")
        for problem in found.value.problems
    ]


def sinks() -> list[type[StepConfig]]:
    return sorted(set(method_registry()["load"].values()), key=lambda method: method.method)


@pytest.mark.parametrize("sink", sinks(), ids=lambda sink: sink.method)
def test_no_sink_of_the_registry_is_written_where_production_has_it(sink: type[StepConfig]) -> None:
    assert sink.example is not None
    kept = {"quarantinePath": "lake/bad", "onMalformed": "quarantine"} if "quarantine_path" in sink.model_fields else {}
    named = {"catalogTable": "sales.orders"} if "catalog_table" in sink.model_fields else {}
    step = load(sink.method, **sink.example, **kept, **named, checkpointLocation="checkpoints/here")
    value = pipeline(
        extract(), validate("validateNulls", notNullColumns=["a"], onFailure="quarantine", quarantinePath="q"), step
    )
    shared = SharedFiles.outside_environments(method_registry(), Path.cwd())
    production = load_pipeline(write(value), method_registry(), shared=shared)
    say()
    found = read(value)
    assert not {writer.place for writer in found.writers} & {writer.place for writer in production.writers}
    assert len(found.writers) == len(production.writers) >= 2
    before, after = production.steps[-1].config, found.steps[-1].config
    assert isinstance(after, Load)
    assert after.checkpoint_location == "dev_checkpoints/here"
    # Nothing but the places is another: the config is the file's.
    changed = {key for key, text in after.as_config().items() if text != before.as_config()[key]}
    assert changed <= {"path", "bucket", "table", "topic", "quarantinePath", "checkpointLocation", "catalogTable"}
    assert all("dev_" in str(after.as_config()[key]) for key in changed)


@pytest.mark.parametrize(
    ("written", "there"),
    [
        ("lake/orders", "dev_lake/orders"),
        ("./lake//orders/", "dev_lake/orders"),
        ("orders", "dev_orders"),
        ("../lake/orders", "../dev_lake/orders"),
        ("../../lake/orders", "../../dev_lake/orders"),
        ("s3://shop/lake/orders", "s3://shop/dev_lake/orders"),
        ("s3a://shop/orders", "s3://shop/dev_orders"),
        ("abfss://box@account.dfs.core.windows.net/lake/x", "abfss://box@account.dfs.core.windows.net/dev_lake/x"),
        ("lake/day=${partition:key}", "dev_lake/day=${partition:key}"),
        ("/data/lake/orders", "/data/dev/lake/orders"),
        ("file:///data/lake/orders", "file:///data/dev/x/orders"),
        ("s3a://big/lake", "s3://big-dev/lake"),
        ("s3://big/lake/orders", "s3://other/orders"),
        ("s3://bigger/lake", "s3://bigger/dev_lake"),
    ],
)
def test_a_path_gets_the_prefix_where_its_first_folder_begins_unless_paths_say_another_place(
    written: str, there: str
) -> None:
    paths = {
        "/data": "/data/dev",
        "file:///data/lake": "file:///data/dev/x",
        "s3://big": "s3://big-dev",
        "s3a://big/lake/orders": "s3://other/orders",
    }
    assert Redirection("dev_", paths).path(written) == there


@pytest.mark.parametrize(
    "written",
    [*["/data/lake", "file:/data/lake", "s3://shop"], *["s3://shop/", "..", ".", "../.."], "${env:LAKE}/orders"],
)
def test_a_path_without_a_folder_of_its_own_is_refused(written: str) -> None:
    with pytest.raises(NotRedirected):
        Redirection("dev_", {}).path(written)


def test_names_of_tables_keep_their_schema_and_their_quotes() -> None:
    say()

    def table(method: str, name: str) -> str:
        config: Any = read(pipeline(extract(), load(method, table=name, host="db"))).steps[-1].config
        return config.table

    assert table("toPostgres", "orders") == "dev_orders"
    assert table("toPostgres", "shop.orders") == "shop.dev_orders"
    assert table("toPostgres", '"Shop"."the.Orders"') == '"Shop"."dev_the.Orders"'
    assert table("toMySQL", "`shop`.`orders`") == "`shop`.`dev_orders`"
    # Databases cut off what is longer, and two tables would be one.
    [problem] = refused(pipeline(extract(), load("toPostgres", table="t" * 61, host="db")))
    assert "longer than 63 bytes" in problem


def test_a_subject_of_the_schema_registry_is_not_that_of_production() -> None:
    say()
    registry = {"url": "http://registry", "subject": "orders-value"}
    step = load("toKafka", topic="orders", valueFormat="avro", schemaRegistry=registry, **{"bootstrap.servers": "x:1"})
    config: Any = read(pipeline(extract(), step)).steps[-1].config
    assert (config.topic, config.schema_registry.subject) == ("dev_orders", "dev_orders-value")


class _Silent(Load):
    method: ClassVar[str] = "toElsewhere"
    place: str = "here"

    def dataset(self) -> Dataset:
        return Dataset("elsewhere", self.place)


class _Lying(_Silent):
    """Says that it is redirected, and is not."""

    def redirected(self, to: Redirection) -> Self:
        return self


class _Failing(_Silent):
    def redirected(self, to: Redirection) -> Self:
        raise KeyError("nothing")


class _Swapping(_Silent):
    """Is redirected to what another pipeline writes in production."""

    def redirected(self, to: Redirection) -> Self:
        return self.with_place(to, place="there")


def test_a_sink_of_another_package_that_stays_in_production_is_refused() -> None:
    say()
    known = method_registry()

    def told(method: type[Load]) -> str:
        registry = MethodRegistry({**known, "load": {**known["load"], "toElsewhere": method}})
        write(pipeline(extract(), load("toElsewhere", place="there"), name="other"))
        [problem] = refused(pipeline(extract(), load("toElsewhere", place="here")), registry)
        return problem

    assert "'toElsewhere' does not say how its sink gets another place" in told(_Silent)
    assert "its sink would be here, which production writes" in told(_Lying)
    assert "KeyError('nothing')" in told(_Failing)
    assert "its sink would be there, which production writes" in told(_Swapping)


def test_a_sink_or_a_name_that_production_has_already_is_refused() -> None:
    say()
    write(pipeline(extract(), load(path="dev_lake/orders"), name="others"))
    assert "its sink would be dev_lake/orders, which production writes" in refused(ORDERS)[0]
    write(pipeline(extract(), load(path="lake/others"), name="others"))
    write(pipeline(extract(), load(path="lake/more"), name="dev_orders"))
    assert "the pipeline would be called 'dev_orders' (another pipeline has that name)" in refused(ORDERS)[0]


@pytest.mark.parametrize(
    ("paths", "beside", "told"),
    [
        ({"lake/orders": "lake"}, "lake/other", "its sink would be lake, and production writes lake/o"),
        ({"lake/orders": "out/orders"}, "out", "would be out/orders, and production writes out: it is within that"),
        ({"lake": "dev_lake/sub"}, "dev_lake", "production writes dev_lake: it is within that"),
        ({"lake/orders": "dev_lake"}, "dev_lake/sub", "production writes dev_lake/sub: it is around that"),
        ({}, "dev_lake/orders/sub", "its sink would be dev_lake/orders, and production writes dev_lake/orders/sub"),
        ({"lake": "link"}, "there/orders", "production writes there/orders: by a symbolic link, they are one"),
        ({"lake": "z", "y": "z"}, "y/orders", "in production they are lake/orders and y/orders (say under 'paths'"),
        ({"lake": "z", "y": "z/orders"}, "y/a", "that of 'others' would be z/orders/a; in production they are"),
    ],
)
def test_a_sink_is_refused_that_shares_files_with_production_or_with_what_production_has_apart(
    paths: dict[str, str], beside: str, told: str
) -> None:
    Path("there").mkdir()
    Path("link").symlink_to("there")
    say(paths=paths)
    write(pipeline(extract(), load(path=beside), name="others"))
    [problem] = refused(ORDERS)
    assert told in problem


def test_sinks_may_lie_beside_those_of_production_and_share_a_table_that_they_share_there() -> None:
    say(paths={"lake": "lake/dev"})
    write(pipeline(extract(), load(path="lake/orders", mode="append"), name="others"))
    write(pipeline(extract(), load(path="lake/orders_of_today"), name="today"))
    config: Any = read(pipeline(extract(), load(path="lake/orders", mode="append"), name="orders")).steps[-1].config
    assert config.path == "lake/dev/orders"


def test_what_a_pipeline_of_the_project_writes_is_read_from_the_environment_and_else_from_production() -> None:
    say(shared=["lake/customers", "shared_topic"])
    write(ORDERS)
    write(pipeline(extract(), load(path="lake/customers"), name="customers"))
    write(pipeline(extract(), load("toFiles", path="s3://shop/out", format="csv"), name="files"))
    found = read(
        pipeline(
            extract("fromDeltaLake", path="./lake/orders", registerAs="orders"),
            extract("fromDeltaLake", path="lake/customers", registerAs="customers"),
            extract("fromDeltaLake", path="lake/elsewhere", registerAs="elsewhere"),
            extract("fromDeltaLake", path="lake/orders", version=3, registerAs="before"),
            extract("fromFiles", path="s3a://shop/out/part*", format="csv", registerAs="parts"),
            load(path="lake/report"),
            name="report",
        )
    )
    steps: list[Any] = list(found.steps)
    assert [step.config.path for step in steps] == [
        "dev_lake/orders",
        "lake/customers",
        "lake/elsewhere",
        "lake/orders",
        "s3://shop/dev_out/part*",
        "dev_lake/report",
    ]
    assert [step.production.path if step.production else None for step in steps[:5]] == [
        "./lake/orders",
        None,
        None,
        None,
        "s3a://shop/out/part*",
    ]
    assert steps[0].note == "'orders' reads production's lake/orders, which dev does not have yet"
    assert steps[3].note == "'before' reads production's lake/orders"


def test_a_stream_has_its_checkpoint_its_state_and_its_name_beside_production() -> None:
    say()
    value = pipeline(extract("fromRate", rowsPerSecond=1), load(path="lake/x"), mode="streaming", name="visits")
    found = read(value)
    assert (found.name, found.place_apart) == ("dev_visits", "dev")
    assert found.streaming.checkpoint_root == "dev_checkpoints"
    assert all(step.location.pipeline == "dev_visits" for step in found.steps)
    assert found.command_arguments == "pipelines/visits.json --env dev"
    value["streaming"] = {"checkpointRoot": "/checkpoints"}
    assert "'checkpointRoot': '/checkpoints' is an absolute path" in refused(value)[0]


def test_a_value_of_a_variable_is_that_of_the_run_or_else_of_the_environment_or_else_of_the_file() -> None:
    say(variables={"size": 5, "name": "x", "others": True})
    variables = {"size": {"type": "integer", "default": 1}, "name": {}, "own": {"default": "file"}}
    value = {**ORDERS, "variables": variables}
    found = read(value)
    assert found.values == {"size": 5, "name": "x", "own": "file"}
    assert found.variables["size"].default == 5
    assert read(value, size=7).values["size"] == 7
    say(variables={"size": "many"})
    assert refused(value)[-1] == "environments.json:6 the variable 'size': expected an integer, not 'many'"


def test_without_a_prefix_an_environment_is_production_with_other_values(monkeypatch: pytest.MonkeyPatch) -> None:
    say(environments={"dev": {"variables": {"size": 5}}})
    found = read({**ORDERS, "variables": {"size": {"type": "integer"}}})
    config: Any = found.steps[-1].config
    assert (found.name, config.path, found.values, found.place_apart) == ("orders", "lake/orders", {"size": 5}, None)
    # A part of the rows would replace the table of production.
    say(environments={"dev": {"limit": 5}})
    assert refused(ORDERS) == [
        "environments.json:4 'limit' needs a 'prefix': without one, the environment writes where production does"
    ]


def test_nobody_is_in_an_environment_that_the_project_does_not_have(monkeypatch: pytest.MonkeyPatch) -> None:
    assert refused(ORDERS) == [
        "environments.json:1 the environment 'dev' is asked for, and there is no such file to say what it is "
        "(write one, or name no environment)"
    ]
    say(environments={"test": DEV, "staging": DEV})
    assert refused(ORDERS) == ["environments.json:2 there is no environment 'dev' (valid: staging, test)"]
    # Otherwise its broken files would be assets with the keys of production.
    with pytest.raises(PipelineConfigurationException):
        load_project(Path("pipelines"), method_registry())
    monkeypatch.delenv(ENVIRONMENT_VARIABLE)
    assert read(ORDERS).name == "orders"
    text = {"default": "test", "environments": {"test": DEV, "production": {}}}
    Path("environments.json").write_text(json.dumps(text))
    assert read(ORDERS).name == "dev_orders"
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "production")
    assert read(ORDERS).name == "orders"


def test_mistakes_in_the_file_are_told_at_their_lines() -> None:
    Path("environments.json").write_text(
        '{"default": "dev",\n "environments": {"dev": {"prefix": "Dev-",\n  "path": {},\n  "limit": 0}}}'
    )
    assert refused(ORDERS) == [
        "environments.json:2 must match ^[a-z][a-z0-9_]*$",
        "environments.json:3 unknown key 'path' (did you mean 'paths'?)",
        "environments.json:4 must be greater than 0",
    ]
    Path("environments.json").write_text("[]")
    assert refused(ORDERS) == ["environments.json:1 expected an object with 'environments', not a list"]
    say(paths={"lake": "./lake/"})
    assert refused(ORDERS) == ["environments.json:6 leads to itself, which would be production"]


def test_broken_pipelines_of_an_environment_have_not_the_names_of_production() -> None:
    say()
    write(ORDERS)
    write(pipeline(extract(), load("toFiles", path="/abs", format="csv"), name="broken"))
    write(pipeline(extract("fromNowhere"), load(), name="other"))
    project = load_project(Path("pipelines"), method_registry())
    assert [one.name for one in project.pipelines] == ["dev_orders"]
    assert [outline.name for file in project.broken for outline in file.outlines] == ["dev_broken", "dev_other"]


def test_tests_of_pipelines_are_those_of_production_wherever_they_are_run() -> None:
    say(variables={"size": 5})
    value = {**ORDERS, "variables": {"size": {"type": "integer", "default": 1}}}
    write(value)
    Path("pipelines/tests").mkdir()
    test = {"name": "x", "given": {"from_files": [{"a": 1}]}, "expect": {"to_delta_lake": {"count": 1}}}
    file = Path("pipelines/tests/orders.json")
    file.write_text(json.dumps({"pipeline": "../orders.json", "tests": [test]}))
    [found] = read_tests(file, method_registry())
    assert (found.pipeline.name, found.pipeline.values) == ("orders", {"size": 1})
