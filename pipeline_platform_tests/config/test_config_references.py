"""`configRef`: chains, what wins, and references that lead nowhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline_platform.config.loader import load_pipeline
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.registry import method_registry
from pipeline_platform_tests.config.reading import Json, problems_of


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "shared").mkdir()
    return tmp_path


def write(project: Path, name: str, value: Any) -> Path:
    file = project / name
    file.write_text(value if isinstance(value, str) else json.dumps(value, indent=2))
    return file


def pipeline_with(project: Path, reference: Any, **config: Any) -> Path:
    step: Json = {"type": "extract", "method": "fromFiles", "configRef": reference}
    if config:
        step["config"] = config
    return write(project, "pipelines/flights.json", {"name": "flights", "mode": "batch", "steps": [step]})


def config_of(file: Path) -> dict[str, Any]:
    pipeline: PipelineConfig = load_pipeline(file, method_registry())
    return pipeline.steps[0].config.as_config()


def test_a_referenced_file_is_the_config(project: Path):
    write(project, "shared/csv.json", {"path": "in", "format": "csv"})
    assert config_of(pipeline_with(project, "../shared/csv.json")) == {"path": "in", "format": "csv"}


def test_what_stands_in_config_wins(project: Path):
    write(project, "shared/csv.json", {"path": "in", "format": "csv"})
    assert config_of(pipeline_with(project, "../shared/csv.json", path="mine"))["path"] == "mine"


def test_references_are_followed_each_from_its_own_file_and_the_nearer_wins(project: Path):
    write(project, "shared/csv.json", {"configRef": "base.json", "path": "near"})
    write(project, "shared/base.json", {"path": "far", "format": "csv", "delimiter": ";"})
    config = config_of(pipeline_with(project, "../shared/csv.json", delimiter="|"))
    assert config == {"path": "near", "format": "csv", "delimiter": "|"}


def test_a_mistake_in_a_referenced_file_is_reported_in_that_file(project: Path):
    shared = write(project, "shared/csv.json", '{\n  "path": "in",\n  "format": "cvs",\n  "headr": true\n}')
    wrong_format, wrong_key = problems_of(pipeline_with(project, "../shared/csv.json"))
    assert (wrong_format.file, wrong_format.line, wrong_format.column) == (shared, 3, 13)
    assert (wrong_key.file, wrong_key.line, wrong_key.column) == (shared, 4, 3)


def test_a_mistake_in_a_file_that_is_referenced_twice_is_reported_once(project: Path):
    write(project, "shared/csv.json", {"path": "in", "format": "cvs"})
    step = {"type": "extract", "method": "fromFiles", "configRef": "../shared/csv.json"}
    file = write(project, "pipelines/flights.json", {"name": "a", "mode": "batch", "steps": [step, step]})
    assert len(problems_of(file)) == 1


def test_a_frame_that_a_referenced_file_names_wrongly_is_reported_in_that_file(project: Path):
    shared = write(project, "shared/filter.json", '{\n  "condition": "a > 1",\n  "input": "nobody"}')
    steps = [
        {"type": "extract", "method": "fromRate", "config": {"rowsPerSecond": 1}},
        {"type": "transform", "method": "filterRows", "configRef": "../shared/filter.json"},
    ]
    (problem,) = problems_of(write(project, "pipelines/a.json", {"name": "a", "mode": "batch", "steps": steps}))
    assert (problem.file, problem.line, problem.column) == (shared, 3, 12)


def test_mistakes_of_the_pipeline_and_of_its_references_are_reported_together(project: Path):
    shared = write(project, "shared/csv.json", {"path": "in", "format": "cvs"})
    file = pipeline_with(project, "../shared/csv.json", cache="maybe")
    assert [problem.file for problem in problems_of(file)] == [file, shared]


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("../shared/nothing.json", "the referenced file '../shared/nothing.json' does not exist"),
        ("../shared", "'../shared' is a folder: expected the path of a file"),
        ("../../outside.json", "'../../outside.json' is outside the project folder"),
        ("/etc/passwd", "'/etc/passwd' is outside the project folder"),
        ("flights.json", "'flights.json' is a circular reference: that file leads back here"),
        ("", "expected 'configRef' to be the path of a JSON file"),
        ("a\0b", "expected 'configRef' to be the path of a JSON file"),
        (3, "expected 'configRef' to be the path of a JSON file"),
        ("x" * 5000, "the referenced file can't be read"),
    ],
)
def test_a_reference_that_leads_nowhere_is_reported_where_it_stands(project: Path, reference: Any, message: str):
    file = pipeline_with(project, reference)
    (problem,) = problems_of(file)
    assert problem.message.startswith(message)
    assert problem.file == file
    assert problem.line == 8


def test_a_link_that_leaves_the_project_is_refused(project: Path, tmp_path_factory: pytest.TempPathFactory):
    outside = write(tmp_path_factory.mktemp("outside"), "secret.json", {"path": "in", "format": "csv"})
    (project / "shared" / "link.json").symlink_to(outside)
    (problem,) = problems_of(pipeline_with(project, "../shared/link.json"))
    assert "is outside the project folder" in problem.message


def test_a_cycle_is_reported_in_the_file_that_closes_it(project: Path):
    write(project, "shared/a.json", {"configRef": "b.json"})
    second = write(project, "shared/b.json", {"configRef": "../shared/a.json"})
    (problem,) = problems_of(pipeline_with(project, "../shared/a.json"))
    assert problem.file == second
    assert problem.message == "'../shared/a.json' is a circular reference: that file leads back here"


@pytest.mark.parametrize(
    ("text", "message"),
    [("[1]", "expected a config object, not a list"), ("{", "not JSON"), ("", "the file is empty")],
)
def test_a_referenced_file_that_is_no_config_is_reported_in_that_file(project: Path, text: str, message: str):
    shared = write(project, "shared/csv.json", text)
    (problem,) = problems_of(pipeline_with(project, "../shared/csv.json"))
    assert problem.file == shared
    assert problem.message.startswith(message)


def test_a_file_is_shown_as_it_was_given(project: Path, monkeypatch: pytest.MonkeyPatch):
    write(project, "shared/csv.json", {"path": "in", "format": "cvs"})
    pipeline_with(project, "../shared/csv.json")
    monkeypatch.chdir(project)
    (problem,) = problems_of(Path("pipelines/flights.json"))
    assert str(problem).startswith("shared/csv.json:3:13: ")
