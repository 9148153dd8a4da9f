"""What a component may change of its assets and ops: Dagster's own tests for components, on `PipelineComponent`."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster.components.core.component_tree import ComponentTreeException
from dagster.components.testing.test_cases import TestOpCustomization, TestTranslation, TestTranslationBatched
from dagster.components.testing.utils import create_defs_folder_sandbox
from deltalake import DeltaTable

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


def test_components_of_one_project_are_told_apart_by_their_names(tmp_path: Path):
    def folder(of: str, **attributes: Any) -> dg.Definitions:
        stream: dict[str, Any] = rate_to_delta(f"{of}_stream", tmp_path / f"{of}_stream") | {"mode": "streaming"}
        watching: dict[str, Any] = rate_to_delta(f"{of}_watching", tmp_path / f"{of}_watching") | {
            "automation": "onUpstream"
        }
        shared = {"path": str(tmp_path / "rows.csv"), "format": "csv", "watch": True}
        watching["steps"][0] = {"type": "extract", "method": "fromFiles", "config": shared}
        broken = {"name": f"{of}_broken", "mode": "batch"}
        return built(stream, watching, broken, **attributes)[1]

    both = dg.Definitions.merge(folder("a"), folder("b", name="b"))
    dg.Definitions.validate_loadable(both)
    each = {"streams", "broken_files", "new_data", "automation"}
    assert {sensor.name for sensor in both.sensors or ()} == {"alerts", *each, *(f"{name}_b" for name in each)}


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
