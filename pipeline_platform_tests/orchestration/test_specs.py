"""What Dagster knows of an asset before it runs."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline_platform.orchestration.project_definitions import project_definitions
from pipeline_platform_tests.config.reading import extract, load, pipeline


def test_the_asset_of_a_table_in_a_catalog_has_the_table_s_name(tmp_path: Path) -> None:
    named = load(path=str(tmp_path / "lake"), catalogTable="sales.orders")
    (tmp_path / "orders.json").write_text(json.dumps(pipeline(extract(), named)))
    specs = {spec.key.path[-1]: spec for spec in project_definitions(tmp_path).resolve_all_asset_specs()}
    assert specs["to_delta_lake"].metadata["dagster/table_name"] == "sales.orders"
    assert "dagster/table_name" not in specs["from_files"].metadata
