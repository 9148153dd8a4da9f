"""What can be told of the pipelines of a file that is not loaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline_platform.config.outline import read_outlines
from pipeline_platform.config.shared_files import SharedFiles
from pipeline_platform.registry import method_registry

PIPELINE = {
    "name": "sales",
    "mode": "batch",
    "steps": [
        {"type": "extract", "method": "fromRate", "config": {"rowsPerSecond": 1}},
        {"type": "load", "method": "toDeltaLake", "name": "table", "config": {"path": "lake/sales"}},
    ],
}
TEXT = json.dumps(PIPELINE, indent=2)


@pytest.mark.parametrize(
    "text",
    [
        TEXT.replace('"batch",', '"batch"'),
        TEXT.replace('"batch"', '"batch'),
        TEXT.replace("},", "}"),
        TEXT.replace('"mode":', '"mode"'),
        TEXT.replace("]", "],"),
        TEXT.replace('"mode"', '// which: {\n"mode"'),
        TEXT.replace('"mode": "batch",', '<<<<<<< HEAD\n"mode": "batch",\n=======\n"mode": "streaming",\n>>>>>>> x'),
        TEXT.removesuffix("]\n}"),
        TEXT.replace("1}", "${rows}}"),
    ],
    ids=["comma", "quote", "commas", "colon", "one more", "a comment", "a merge conflict", "the end", "no value"],
)
def test_names_are_read_where_something_of_the_json_is_wrong(text: str, tmp_path: Path) -> None:
    file = tmp_path / "pipelines" / "sales.json"
    file.parent.mkdir()
    file.write_text(text)
    (outline,) = read_outlines(file, SharedFiles.of(method_registry(), tmp_path))
    assert outline.name == "sales"
    assert [(step.name, step.type) for step in outline.steps] == [("from_rate", "extract"), ("table", "load")]


@pytest.mark.parametrize("text", ["", "\0", "[" * 5_000, '{"a":' * 5_000, "no JSON at all"])
def test_of_a_file_that_says_nothing_nothing_is_told(text: str, tmp_path: Path) -> None:
    file = tmp_path / "sales.json"
    file.write_text(text)
    assert [outline.steps for outline in read_outlines(file, SharedFiles.of(method_registry(), tmp_path))] in ([], [()])
