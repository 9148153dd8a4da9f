"""A data contract as Dagster shows it."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from pipeline_platform.config.loader import load_pipeline
from pipeline_platform.orchestration.contracts import with_descriptions
from pipeline_platform.orchestration.project_definitions import project_definitions
from pipeline_platform.orchestration.specs import code_versions
from pipeline_platform.registry import method_registry
from pipeline_platform_tests.config.contracts import project, table


def test_the_asset_of_a_load_shows_its_contract_and_has_a_check_for_it(tmp_path: Path) -> None:
    contract = table("{name: id, description: Number of the order.}", "{name: note}") + (
        "team: [{username: ada, role: owner}, {username: ben}]\n"
    )
    file = project(tmp_path, contract)
    definitions = project_definitions(file.parent)
    specs = {spec.key.path[-1]: spec for spec in definitions.resolve_all_asset_specs()}
    shown = {name: value for name, value in specs["to_delta_lake"].metadata.items() if name.startswith("contract/")}
    assert shown == {
        "contract/id": "orders",
        "contract/version": "1.2.0",
        "contract/schema": "orders",
        "contract/status": "active",
        "contract/team": "ada",
    }
    assert not any(name.startswith("contract") for name in specs["from_files"].metadata)
    [check] = definitions.resolve_asset_graph().asset_check_keys
    assert check == dg.AssetCheckKey(dg.AssetKey(["flights", "to_delta_lake"]), "to_delta_lake_contract")

    pipeline = load_pipeline(file, method_registry())
    said = with_descriptions(pipeline, pipeline.steps[1], {"Id": "← from_files.id", "note": "← from_files.note"})
    assert said == {"Id": "Number of the order. ← from_files.id", "note": "← from_files.note"}


def test_a_load_is_another_one_when_its_contract_says_something_else(tmp_path: Path) -> None:
    def version(properties: str) -> str:
        pipeline = load_pipeline(project(tmp_path, table(properties)), method_registry())
        return code_versions(pipeline)[1]

    once = version("{name: id, required: true}")
    assert version("{name: id, required: true, description: Said otherwise., tags: [a]}") == once
    assert version("{name: id, required: true, logicalType: integer}") != once
    assert version("{name: id, unique: true}") != once
    pipeline = load_pipeline(project(tmp_path, table("{name: id}")), method_registry())
    assert [file.suffixes for file in pipeline.sources] == [[".odcs", ".yaml"]]
