"""The JSON Schema and the reference page say what the models say."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pipeline_platform.config.reference import reference_page
from pipeline_platform.config.schema import methods_of, pipeline_schema
from pipeline_platform.registry import method_registry
from pipeline_platform_tests.config.reading import Json, extract, load, pipeline, read, validate
from pipeline_platform_tests.config.valid_files import FILES

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = sorted((ROOT / "pipelines").glob("*.json"))
SCHEMA = pipeline_schema(method_registry())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def test_the_schema_is_one_of_draft_2020_12():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_the_valid_files_use_every_method():
    used = {type(step.config) for file in FILES for step in read(file).steps}
    assert used == set(methods_of(method_registry()))


@pytest.mark.parametrize("file", FILES, ids=range(len(FILES)))
def test_a_valid_file_fits_the_schema(file: Json):
    read(file)
    VALIDATOR.validate(file)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_fits_the_schema(path: Path):
    VALIDATOR.validate(json.loads(path.read_text()))


FREE_KEYS = {
    *("sparkConf", "properties", "columns", "aggregations", "startingOffsets"),
    *("avroSchema", "targetSchema", "valueSchema", "writerSchemas"),
}
"""Keys whose objects have names that people give."""


def objects_of(value: Any, key: str = "") -> Iterator[dict[str, Any]]:
    """Every object that has keys of the format's own."""
    if key in FREE_KEYS:
        return
    if isinstance(value, dict):
        if key != "ranges":
            yield value
        for name, item in value.items():
            yield from objects_of(item, name)
    elif isinstance(value, list):
        for item in value:
            yield from objects_of(item)


@pytest.mark.parametrize("file", FILES, ids=range(len(FILES)))
def test_an_unknown_key_anywhere_does_not_fit_the_schema(file: Json):
    for place in range(len(list(objects_of(file)))):
        wrong = copy.deepcopy(file)
        list(objects_of(wrong))[place]["noSuchKey"] = 1
        assert not VALIDATOR.is_valid(wrong), place


@pytest.mark.parametrize(
    "wrong",
    [
        {"mode": "batch", "steps": [extract()]},
        {"name": "a", "mode": "batch", "steps": []},
        {"name": "a b", "mode": "batch", "steps": [extract()]},
        pipeline(load()),
        pipeline(extract(path="in")),
        pipeline(extract(path="in", format="cvs")),
        pipeline({"type": "extract", "method": "fromFiles"}),
        pipeline({**extract(), "type": "load"}),
        pipeline(extract("fromRate", rowsPerSecond="ten")),
        pipeline(extract("fromRate", rowsPerSecond=0)),
        pipeline(extract(), validate("validateRanges", ranges={"a": 1})),
    ],
)
def test_a_file_with_a_mistake_does_not_fit_the_schema(wrong: Json):
    assert not VALIDATOR.is_valid(wrong)


def test_a_referenced_config_may_have_the_keys_that_are_needed():
    step = {"type": "extract", "method": "fromFiles", "configRef": "../shared/csv.json"}
    VALIDATOR.validate(pipeline(step))
    VALIDATOR.validate(pipeline({**step, "config": {"path": "in"}}))
    assert not VALIDATOR.is_valid(pipeline({**step, "config": {"pathh": "in"}}))


def test_every_key_of_the_schema_and_of_the_reference_is_explained():
    unexplained = [
        f"{name}.{key}"
        for name, definition in SCHEMA["$defs"].items()
        if name != "step"
        for key, value in definition["properties"].items()
        if not value.get("description")
    ]
    unexplained += [step["title"] for step in SCHEMA["$defs"]["step"]["oneOf"] if not step["description"]]
    assert not unexplained


def test_the_reference_has_every_method_with_its_keys():
    page = reference_page(method_registry())
    for method in methods_of(method_registry()):
        assert f"### {method.method}\n" in page
    assert "| `path` | string | required | Local path or URI of the table. |" in page
    assert "| `fetchSize` | integer | `10000` | Rows per round trip. |" in page
    assert "| `watermark.delay` | string | required | How long to wait for late rows. |" in page
    assert "Also called `coalesceData`." in page


def remade(name: str, content: str, command: str) -> None:
    path = ROOT / "docs" / name
    committed = path.read_text() if path.exists() else None
    assert committed == content, f"docs/{name} is stale; remake it: {command} > docs/{name}"


def test_the_committed_schema_is_not_stale():
    content = json.dumps(SCHEMA, indent=2, ensure_ascii=False) + "\n"
    remade("pipeline.schema.json", content, "pipeline-platform schema")


def test_the_committed_reference_is_not_stale():
    remade("reference.md", reference_page(method_registry()), "pipeline-platform reference")
