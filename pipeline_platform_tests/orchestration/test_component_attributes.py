"""What a component may change of its assets and ops: Dagster's own tests for components, on `PipelineComponent`."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster.components.core.component_tree import ComponentTreeException
from dagster.components.testing.test_cases import TestOpCustomization, TestTranslation, TestTranslationBatched
from dagster.components.testing.utils import create_defs_folder_sandbox
from deltalake import DeltaTable

from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.orchestration.component import PipelineComponent
from pipeline_platform_tests.orchestration.conftest import rate_to_delta, validation

LOAD = dg.AssetKey(["example", "to_delta_lake"])


def built(*pipelines: dict[str, Any], **attributes: Any) -> tuple[PipelineComponent, dg.Definitions]:
    """A component with these attributes, and what it gives Dagster, of these pipelines or the scaffolded one."""
    contents = {"type": "pipeline_platform.PipelineComponent", "attributes": {"path": ".", **attributes}}
    with create_defs_folder_sandbox() as sandbox:
        path = sandbox.scaffold_component(component_cls=PipelineComponent, defs_yaml_contents=contents)
        if pipelines:
            (path / "example.json").unlink()
        for pipeline in pipelines:
            (path / f"{pipeline['name']}.json").write_text(json.dumps(pipeline))
        with sandbox.load_component_and_build_defs(path) as (component, definitions):
            assert isinstance(component, PipelineComponent)
            return component, definitions


def spec_of(definitions: dg.Definitions, key: dg.AssetKey) -> dg.AssetSpec:
    (spec,) = (spec for spec in definitions.resolve_all_asset_specs() if spec.key == key)
    return spec


def chain_of(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def assert_translated(
    attributes: dict[str, Any],
    assertion: Callable[[dg.AssetSpec], bool],
    key_modifier: Callable[[dg.AssetKey], dg.AssetKey] | None,
) -> None:
    key = key_modifier(LOAD) if key_modifier is not None else LOAD
    assert assertion(spec_of(built(translation=attributes)[1], key))


class TestEachAttribute(TestTranslation):
    def test_translation(self, attributes: Any, assertion: Any, key_modifier: Any) -> None:
        assert_translated(attributes, assertion, key_modifier)


class TestAllAttributes(TestTranslationBatched):
    def test_translation(self, attributes: Any, assertion: Any, key_modifier: Any) -> None:
        assert_translated(attributes, assertion, key_modifier)


class TestTheOp(TestOpCustomization):
    def test_op_customization(self, attributes: Any, assertion: Any) -> None:
        component, definitions = built(op=attributes)
        assert component.op is not None
        assert assertion(component.op)
        (assets,) = definitions.resolve_asset_graph().assets_defs_for_keys([LOAD])
        assert assets.op.name == attributes.get("name", "run_example")
        assert assets.op.tags == attributes.get("tags", {})


def test_keys_that_are_translated_connect_the_assets_and_are_what_a_run_reports(tmp_path: Path):
    first = rate_to_delta("first", tmp_path / "first", validation("validateNulls", notNullColumns=["value"]))
    second = rate_to_delta("second", tmp_path / "second")
    second["steps"][0] = {"type": "extract", "method": "fromDeltaLake", "config": {"path": str(tmp_path / "first")}}
    _, definitions = built(first, second, translation={"key": "{{ pipeline }}_{{ step }}"})
    read = spec_of(definitions, dg.AssetKey("second_from_delta_lake"))
    assert [dep.asset_key for dep in read.deps] == [dg.AssetKey("first_to_delta_lake")]
    done = definitions.resolve_job_def("first").execute_in_process()
    assert {event.asset_key for event in done.get_asset_materialization_events()} == {
        dg.AssetKey("first_from_rate"),
        dg.AssetKey("first_to_delta_lake"),
    }
    assert {check.asset_key for check in done.get_asset_check_evaluations()} == {
        dg.AssetKey("first_from_rate"),
        dg.AssetKey("first_to_delta_lake"),
    }
    assert DeltaTable(tmp_path / "first").to_pyarrow_table().num_rows == 60


@pytest.mark.parametrize("assets", ["steps", "tables"])
def test_of_two_pipelines_with_an_asset_of_one_key_the_later_one_is_left_out_and_told(assets: str, tmp_path: Path):
    orders, returns, named = (rate_to_delta(name, tmp_path / name) for name in ("orders", "returns", "stock"))
    named["steps"][0]["name"], named["steps"][1]["name"] = "generated", "stock"
    # Reads what the other one of the same key writes, so that its asset would depend on itself.
    returns["steps"][0] = {"type": "extract", "method": "fromDeltaLake", "config": {"path": str(tmp_path / "orders")}}
    translation = {"key": "warehouse/{{ step }}"}
    _, definitions = built(orders, returns, named, assets=assets, translation=translation)
    dg.Definitions.validate_loadable(definitions)
    keys = {spec.key.to_user_string() for spec in definitions.resolve_all_asset_specs()}
    assert {"warehouse/to_delta_lake", "warehouse/stock", "broken/returns"} <= keys
    told = spec_of(definitions, dg.AssetKey(["broken", "returns"])).description or ""
    assert "its load 'to_delta_lake' has the asset key 'warehouse/to_delta_lake'" in told
    assert "which the load 'to_delta_lake' of 'orders' (" in told
    assert "orders.json) has too (give the step a 'name'" in told
    assert "returns.json:" in told


def test_two_steps_of_a_pipeline_with_one_key_are_told_too(tmp_path: Path):
    _, definitions = built(rate_to_delta("orders", tmp_path / "orders"), translation={"key": "{{ pipeline }}"})
    dg.Definitions.validate_loadable(definitions)
    told = spec_of(definitions, dg.AssetKey(["broken", "orders"])).description or ""
    assert "its load 'to_delta_lake' has the asset key 'orders', which the extract 'from_rate' has too" in told


@pytest.mark.parametrize(
    ("translation", "told", "hint"),
    [
        ({"group_name": "{{ pipeline }}"}, '"my-sales" is not a valid asset group name', "pipeline.replace('-', '_')"),
        ({"tags": {"a": "{{ 'x y' if '-' in pipeline else '' }}"}}, "Invalid tag value: x y", "correct 'translation'"),
        (
            {"description": "{{ nope if '-' in pipeline else '' }}"},
            "fails: 'nope' is undefined",
            "correct 'translation'",
        ),
        ("{{ 3 if '-' in pipeline else spec }}", "<class 'int'>", "correct 'translation'"),
    ],
)
def test_a_translation_that_fails_for_one_pipeline_leaves_that_one_out_with_the_reason_and_a_hint(
    tmp_path: Path, translation: Any, told: str, hint: str
):
    pipelines = [rate_to_delta(name, tmp_path / name) for name in ("good", "my-sales")]
    _, definitions = built(*pipelines, translation=translation)
    dg.Definitions.validate_loadable(definitions)
    assert spec_of(definitions, dg.AssetKey(["good", "to_delta_lake"]))
    description = spec_of(definitions, dg.AssetKey(["broken", "my_sales"])).description or ""
    assert "my-sales.json:1:" in description
    assert "its extract 'from_rate' can't be an asset: 'translation' in " in description
    assert "defs.yaml" in description
    assert told in description
    assert hint in description


def test_the_hint_for_a_name_with_a_dash_is_right(tmp_path: Path):
    translation = {"group_name": "{{ pipeline.replace('-', '_') }}"}
    _, definitions = built(rate_to_delta("my-sales", tmp_path / "t"), translation=translation)
    assert spec_of(definitions, dg.AssetKey(["my_sales", "to_delta_lake"])).group_name == "my_sales"


@pytest.mark.parametrize("attributes", [{"translation": {"description": "{{ nope }}"}}, {"op": {"pool": "a b"}}])
def test_what_fails_for_every_pipeline_is_one_error_of_the_component(tmp_path: Path, attributes: dict[str, Any]):
    pipelines = [rate_to_delta(name, tmp_path / name) for name in ("a", "b")]
    with pytest.raises(ComponentTreeException) as refused:
        built(*pipelines, **attributes)
    [cause] = [cause for cause in chain_of(refused.value) if isinstance(cause, PipelineConfigurationException)]
    assert re.search(r"all 2 pipelines .* 'nope' is undefined|none of the 2 pipelines .*Pool \"a b\"", str(cause))


def test_a_file_that_breaks_makes_no_error_of_the_component_of_what_is_left_out(tmp_path: Path):
    left_out = [rate_to_delta(name, tmp_path / name) for name in ("my-sales", "my-orders")]
    _, definitions = built(*left_out, {"name": "good"}, translation={"group_name": "{{ pipeline }}"})
    for name in ("my_sales", "my_orders", "good"):
        assert spec_of(definitions, dg.AssetKey(["broken", name]))


def test_a_broken_file_is_an_error_where_that_is_asked_for_also_if_a_translation_breaks_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PIPELINE_PLATFORM_STRICT", "1")
    pipelines = [rate_to_delta(name, tmp_path / name) for name in ("good", "my-sales")]
    with pytest.raises(ComponentTreeException) as refused:
        built(*pipelines, translation={"group_name": "{{ pipeline }}"})
    assert re.search(
        "not everything can be loaded:(.|\n)*is not a valid asset group name", str(refused.value.__cause__)
    )


def test_the_deps_of_a_translation_may_make_no_cycle(tmp_path: Path):
    pipelines = [rate_to_delta(name, tmp_path / name) for name in ("a", "b", "good")]
    deps = "{{ {'a': 'b/to_delta_lake', 'b': 'a/to_delta_lake'}.get(pipeline, 'elsewhere') }}"
    _, definitions = built(*pipelines, translation={"deps": [deps]})
    dg.Definitions.validate_loadable(definitions)
    assert spec_of(definitions, dg.AssetKey(["a", "to_delta_lake"]))
    told = spec_of(definitions, dg.AssetKey(["broken", "b"])).description or ""
    assert "depend on each other in a cycle: b/to_delta_lake <- a/to_delta_lake <- b/to_delta_lake" in told


def test_a_translation_may_give_the_key_of_a_source_or_of_a_broken_file(tmp_path: Path):
    rows = {"type": "extract", "method": "fromFiles", "config": {"path": "/rows", "format": "json"}}
    reader = rate_to_delta("reader", tmp_path / "reader") | {"steps": [rows]}
    named, bad = rate_to_delta("named", tmp_path / "named"), {"name": "bad"}
    named["steps"][0]["name"], named["steps"][1]["name"] = "rows", "bad"
    key = "{{ {'rows': 'files/rows', 'bad': 'broken/bad'}.get(step, pipeline) }}"
    _, definitions = built(reader, named, bad, translation={"key": key})
    dg.Definitions.validate_loadable(definitions)
    keys = {spec.key.to_user_string() for spec in definitions.resolve_all_asset_specs()}
    assert {"files/rows", "sources/files/rows", "broken/bad", "broken/bad_"} <= keys
    assert [dep.asset_key for dep in spec_of(definitions, dg.AssetKey("reader")).deps] == [
        dg.AssetKey(["sources", "files", "rows"])
    ]


def project_of(folders: dict[str, dict[str, Any]], *pipelines: tuple[str, dict[str, Any]]) -> dg.Definitions:
    """A project with components in folders, with these attributes and pipelines, resolved as a code server does."""
    with create_defs_folder_sandbox() as sandbox:
        for folder, attributes in folders.items():
            contents = {"type": "pipeline_platform.PipelineComponent", "attributes": attributes}
            path = sandbox.scaffold_component(PipelineComponent, folder, defs_yaml_contents=contents)
            for example in path.glob("*.json"):
                example.unlink()
        for folder, pipeline in pipelines:
            (sandbox.defs_folder_path / folder / f"{pipeline['name']}.json").write_text(json.dumps(pipeline))
        with sandbox.build_all_defs() as definitions:
            dg.Definitions.validate_loadable(definitions)
            definitions.get_repository_def().get_all_jobs()
            return definitions


def test_components_of_one_project_are_told_apart_by_their_names(tmp_path: Path):
    def pipelines(of: str) -> list[tuple[str, dict[str, Any]]]:
        stream: dict[str, Any] = rate_to_delta(f"{of}_stream", tmp_path / f"{of}_stream") | {"mode": "streaming"}
        watching: dict[str, Any] = rate_to_delta(f"{of}_watching", tmp_path / f"{of}_watching") | {
            "automation": "onUpstream"
        }
        shared = {"path": str(tmp_path / "rows.csv"), "format": "csv", "watch": True}
        watching["steps"][0] = {"type": "extract", "method": "fromFiles", "config": shared}
        return [(of, pipeline) for pipeline in (stream, watching, {"name": f"{of}_broken", "mode": "batch"})]

    both = project_of({"a": {}, "b": {"name": "b"}}, *pipelines("a"), *pipelines("b"))
    each = {"streams", "broken_files", "new_data", "automation"}
    assert {sensor.name for sensor in both.sensors or ()} == {"alerts", *each, *(f"{name}_b" for name in each)}


@pytest.mark.parametrize(
    ("names", "told", "advice"),
    [
        (({}, {}), "both have no 'name'", "give one of them a 'name' under 'attributes', such as 'name: south'"),
        (({"name": "x"}, {"name": "x"}), "both have the 'name' 'x'", "give one of them another 'name'"),
    ],
)
def test_two_components_with_the_same_name_are_an_error_that_names_both(
    names: tuple[dict[str, Any], dict[str, Any]], told: str, advice: str
):
    with pytest.raises(ComponentTreeException) as refused:
        project_of({"north": names[0], "south": names[1]})
    cause = str(refused.value.__cause__)
    assert re.search(r"north/defs\.yaml and in .*south/defs\.yaml " + told, cause)
    assert advice in cause


@pytest.mark.parametrize("names", [({}, {"name": "s"}), ({"name": "n"}, {"name": "s"})])
def test_components_may_read_the_same_source_and_each_other_s_tables(
    names: tuple[dict[str, Any], dict[str, Any]], tmp_path: Path
):
    source = {"type": "extract", "method": "fromFiles", "config": {"path": "/rows", "format": "json"}}
    north, south, onward = (rate_to_delta(name, tmp_path / name) for name in ("north", "south", "onward"))
    north["steps"][0] = south["steps"][0] = source
    onward["steps"][0] = {"type": "extract", "method": "fromDeltaLake", "config": {"path": str(tmp_path / "north")}}
    definitions = project_of(
        {"north": names[0], "south": names[1]}, ("north", north), ("south", south), ("south", onward)
    )
    assert "no pipeline of this project writes it" in str(spec_of(definitions, dg.AssetKey(["files", "rows"])))
    for name in ("north", "south"):
        read = spec_of(definitions, dg.AssetKey([name, "from_files"]))
        assert [dep.asset_key.to_user_string() for dep in read.deps] == ["files/rows"]


def test_a_pipeline_with_a_name_or_a_key_of_another_component_is_left_out_and_the_others_load(tmp_path: Path):
    by_name, by_key = rate_to_delta("twin", tmp_path / "b"), rate_to_delta("other", tmp_path / "c")
    by_key["steps"][1]["name"] = "taken"
    north = rate_to_delta("twin", tmp_path / "a")
    north["steps"][1]["name"] = "taken"
    translation = {"key": "n/{{ step }}"}
    definitions = project_of(
        {
            "north": {"translation": translation},
            "south": {"name": "s", "translation": translation},
        },
        ("north", north),
        ("south", by_name),
        ("south", by_key),
        ("north", {"name": "bad"}),
        ("south", {"name": "bad"}),
    )
    keys = {spec.key.to_user_string() for spec in definitions.resolve_all_asset_specs()}
    assert {"n/from_rate", "n/taken", "broken/bad", "broken/bad_s", "broken/twin_s", "broken/other_s"} <= keys
    told = {
        name: str(spec_of(definitions, dg.AssetKey(["broken", f"{name}_s"])).description) for name in ("twin", "other")
    }
    assert re.search(r"the name 'twin' is taken by the component in .*north/defs\.yaml", told["twin"])
    assert re.search(r"has the asset key 'n/.*', which the component in .*north/defs\.yaml has too", told["other"])


def test_a_second_component_is_scaffolded_with_a_name_and_a_pipeline_of_its_own():
    with create_defs_folder_sandbox() as sandbox:
        for folder in ("flows", "more-flows"):
            sandbox.scaffold_component(PipelineComponent, folder)
        with sandbox.build_all_defs() as definitions:
            dg.Definitions.validate_loadable(definitions)
            keys = {spec.key.to_user_string() for spec in definitions.resolve_all_asset_specs()}
    assert {"example/to_delta_lake", "more_flows/to_delta_lake"} <= keys
    assert not any(key.startswith("broken/") for key in keys)


def test_an_op_has_a_name_of_its_own_only_where_it_is_alone(tmp_path: Path):
    pipelines = [rate_to_delta(name, tmp_path / name) for name in ("a", "b")]
    with pytest.raises(ComponentTreeException) as refused:
        built(*pipelines, op={"name": "mine"})
    causes = [cause for cause in chain_of(refused.value) if isinstance(cause, dg.DagsterInvalidDefinitionError)]
    assert "'name' of 'op' is for a folder with one pipeline" in str(causes[-1])


def test_a_range_can_not_be_one_run_where_a_step_needs_the_key(tmp_path: Path):
    by_key = rate_to_delta("by_key", tmp_path / "${partition:key}", mode="overwrite")
    by_key["partitions"] = {"type": "daily", "start": "2024-01-01", "column": "timestamp"}
    definitions = built(by_key, op={"backfill_policy": {"type": "single_run"}})[1]
    broken = spec_of(definitions, dg.AssetKey(["broken", "by_key"]))
    assert "step 2 (toDeltaLake) uses the partition otherwise than as the bounds" in (broken.description or "")
