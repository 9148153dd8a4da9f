"""Whatever `check` accepts, Dagster loads: shown on mutated pipelines, of which thousands stand side by side.

The number comes from `MUTATED_PIPELINES`; before a release it should be 10000.
"""

from __future__ import annotations

import os
from pathlib import Path

import dagster as dg

from pipeline_platform.config.loader import load_pipeline
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.orchestration.project_definitions import project_definitions
from pipeline_platform.registry import method_registry
from pipeline_platform_tests.config.valid_files import FILES
from pipeline_platform_tests.mutated import example_files, mutated_texts

ROOT = Path(__file__).parent.parent.parent
COUNT = int(os.environ.get("MUTATED_PIPELINES", "600"))
IN_A_FOLDER = 250
"""Files that stand in one folder."""


def problems_of(path: Path) -> list[str]:
    """What `check` says of a file."""
    try:
        load_pipeline(path, method_registry())
    except PipelineConfigurationException as error:
        return [str(problem) for problem in error.problems] or ["no reason is given"]
    return []


def test_what_check_accepts_of_mutated_pipelines_dagster_loads(tmp_path: Path):
    accepted = 0
    files = [*FILES, *example_files(ROOT / "pipelines")]
    for index, text in enumerate(mutated_texts(files, COUNT, "pipelines")):
        folder = tmp_path / f"project{index // IN_A_FOLDER}" / "pipelines"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{index:05}.json"
        path.write_text(text, encoding="utf-8", errors="surrogatepass")
        accepted += not problems_of(path)
    assert accepted > COUNT / 10
    loaded = 0
    for project in sorted(tmp_path.iterdir()):
        definitions = project_definitions(project / "pipelines")
        dg.Definitions.validate_loadable(definitions)
        specs = definitions.resolve_all_asset_specs()
        groups = {spec.group_name for spec in specs}
        loaded += len(groups) - len({"broken", "sources"} & groups)
        refused = [spec for spec in specs if "Dagster does not accept" in str(spec.description)]
        assert not refused, refused[0].description
    # Some have the name of another, or read in a cycle.
    assert loaded > accepted / 2
