"""The component in a `dg` project of its own, in a fresh environment with the wheel that users get."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from pipeline_platform_tests.orchestration.conftest import rate_to_delta
from pipeline_platform_tests.wheel import Installed

_NOT_INHERITED = ("VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE")
PYPROJECT = """
[project]
name = "shop"
version = "0.1.0"

[tool.dg]
directory_type = "project"

[tool.dg.project]
root_module = "shop"
"""
DEFINITIONS = """
from pathlib import Path

from dagster import definitions, load_from_defs_folder


@definitions
def defs():
    return load_from_defs_folder(path_within_project=Path(__file__).parent)
"""
OTHER = """
import dagster as dg


@dg.asset(deps=[dg.AssetKey(["example", "to_delta_lake"])])
def report() -> None:
    return None
"""


class Project:
    """A project as `create-dagster` makes it, with an asset of its own.

    Args:
        folder: An empty folder.
        programs: Of the environment.
    """

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder = folder
        self._programs = programs
        self.flows = folder / "src" / "shop" / "defs" / "flows"
        (folder / "src" / "shop" / "defs").mkdir(parents=True)
        (folder / "home").mkdir()
        (folder / "home" / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
        (folder / "pyproject.toml").write_text(PYPROJECT)
        (folder / "src" / "shop" / "__init__.py").touch()
        (folder / "src" / "shop" / "definitions.py").write_text(DEFINITIONS)
        (folder / "src" / "shop" / "defs" / "other.py").write_text(OTHER)

    def dg(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `dg` in the project."""
        environment = {
            # Without their bytecode each of the programs takes seconds longer to start.
            **{name: value for name, value in os.environ.items() if name not in _NOT_INHERITED},
            "PATH": f"{self._programs}:{os.environ['PATH']}",
            "PYTHONPATH": str(self.folder / "src"),
            "DAGSTER_HOME": str(self.folder / "home"),
            "SPARK_MASTER": "local[2]",
        }
        return subprocess.run(
            [str(self._programs / "dg"), *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
            cwd=self.folder,
            env=environment,
        )

    def has_component(self, attributes: dict[str, Any]) -> None:
        """Write a component with these attributes, and a pipeline."""
        self.flows.mkdir()
        component = {"type": "pipeline_platform.PipelineComponent", "attributes": attributes}
        # JSON is YAML as well.
        (self.flows / "defs.yaml").write_text(json.dumps(component))
        (self.flows / "example.json").write_text(json.dumps(rate_to_delta("example", "data/lake/example")))

    def assets(self) -> dict[str, dict[str, Any]]:
        """What `dg` lists, by key."""
        listed = self.dg("list", "defs", "--json")
        assert listed.returncode == 0, listed.stderr
        return {asset["asset_key"]: asset for asset in json.loads(listed.stdout)["assets"]}


@pytest.fixture
def project(tmp_path: Path, installed: Installed) -> Project:
    return Project(tmp_path, installed.programs)


def test_what_is_scaffolded_checks_out_and_runs_beside_the_project_s_own_assets(project: Project):
    scaffolded = project.dg("scaffold", "defs", "pipeline_platform.PipelineComponent", "flows")
    assert scaffolded.returncode == 0, scaffolded.stderr
    for what in ("yaml", "defs"):
        checked = project.dg("check", what)
        assert checked.returncode == 0, checked.stdout + checked.stderr
    assets = project.assets()
    assert {"example/from_rate", "example/to_delta_lake", "report"} <= assets.keys()
    assert "example/to_delta_lake" in assets["report"]["dependency_keys"]
    launched = project.dg("launch", "--job", "example")
    assert launched.returncode == 0, launched.stderr[-3000:]
    assert DeltaTable(project.folder / "data" / "lake" / "example").to_pyarrow_table().num_rows == 600


def test_a_translation_gives_the_assets_attributes_of_the_team_s(project: Project):
    translation = {"group_name": "team_{{ pipeline }}", "tags": {"method": "{{ method }}"}, "owners": ["team:shop"]}
    project.has_component({"path": ".", "translation": translation})
    assets = project.assets()
    assert {assets[key]["group_name"] for key in ("example/from_rate", "example/to_delta_lake")} == {"team_example"}
    assert {"key": "method", "value": "toDeltaLake"} in assets["example/to_delta_lake"]["tags"]
    assert assets["report"]["group_name"] != "team_example"


@pytest.mark.parametrize(
    ("attributes", "told"),
    [
        ({"path": "nowhere"}, "which does not exist"),
        ({"pth": "."}, "pth"),
    ],
)
def test_a_mistake_in_the_component_is_told(project: Project, attributes: dict[str, Any], told: str):
    project.has_component(attributes)
    checked = project.dg("check", "defs")
    assert checked.returncode != 0
    assert told in " ".join((checked.stdout + checked.stderr).split())
