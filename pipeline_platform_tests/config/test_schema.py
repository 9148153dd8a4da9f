"""The JSON Schema and the reference page say what the models say."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pipeline_platform.config.editor_snippets import step_snippets
from pipeline_platform.config.methods import example_of, json_text, methods_of
from pipeline_platform.config.reference import reference_page
from pipeline_platform.config.schema import pipeline_schema
from pipeline_platform.config.step import STEP_TYPES, StepConfig
from pipeline_platform.registry import method_registry
from pipeline_platform.transforms.filter_rows import FilterRows
from pipeline_platform_tests.config.method_examples import pipeline_around
from pipeline_platform_tests.config.reading import (
    Json,
    extract,
    load,
    messages_of,
    pipeline,
    read,
    transform,
    validate,
)
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


def test_a_template_in_place_of_a_step_fits_the_schema_and_so_do_the_files_that_pipelines_share():
    use = {"template": "../templates/mirror.json", "with": {"table": "orders", "parts": 3}}
    VALIDATOR.validate(pipeline(use))
    VALIDATOR.validate(pipeline(extract(), use, load()))
    for wrong in ({**use, "type": "load"}, {"template": 3}, {**extract(), "with": {}}, {**use, "with": {"a": []}}):
        assert not VALIDATOR.is_valid(pipeline(extract(), wrong))
    defaults = {"metadata": {"owner": "a@b.de"}, "methods": {"fromPostgres": {"host": "db"}, "coalesceData": {}}}
    template = {"variables": {"table": {"type": "string"}}, "steps": [extract(), use]}
    for name, value in (("defaults", defaults), ("template", template)):
        of_file = jsonschema.Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": SCHEMA["$defs"]})
        of_file.validate(value)
        assert not of_file.is_valid({**value, "mode": "batch"})


def test_every_key_of_the_schema_and_of_the_reference_is_explained():
    unexplained = [
        f"{name}.{key}"
        for name, definition in SCHEMA["$defs"].items()
        if name not in ("step", *STEP_TYPES)
        for key, value in definition["properties"].items()
        if not value.get("description")
    ]
    for kind in STEP_TYPES:
        names = SCHEMA["$defs"][kind]["properties"]["method"]
        offered = names["anyOf"][0] if "anyOf" in names else names
        described = dict(zip(offered["enum"], offered["enumDescriptions"], strict=True))
        unexplained += [name for name, told in described.items() if not told]
    assert not unexplained


@pytest.mark.parametrize(
    ("step", "pointer", "told"),
    [
        (extract(pth="in", format="csv"), ["steps", 1, "config"], ["'path' is a required property", "'pth' was un"]),
        (transform("filterRows", condition="a", columns=[]), ["steps", 1, "config"], ["'columns' was unexpected"]),
        (transform("filterRow", condition="a"), ["steps", 1, "method"], ["is not valid under any"]),
        (load("fromFiles"), ["steps", 1, "method"], ["is not one of ['toFiles'"]),
        ({"type": "load", "method": "toDeltaLake"}, ["steps", 1], ["'config' is a required property"]),
        ({**load(), "typ": "load"}, ["steps", 1], ["'typ' was unexpected"]),
        ({"type": "sink", "method": "toDeltaLake"}, ["steps", 1, "type"], ["is not one of ['extract', "]),
        ({"method": "toDeltaLak"}, ["steps", 1, "method"], ["is not valid under any"]),
    ],
)
def test_an_error_in_a_step_is_about_its_own_method_alone(step: Json, pointer: list[str | int], told: list[str]):
    errors = sorted(VALIDATOR.iter_errors(pipeline(extract(), step)), key=lambda error: error.message)
    of_step = [error for error in errors if [*error.absolute_path] == pointer]
    assert len(of_step) == len(told), [error.message for error in errors]
    assert all(part in error.message for part, error in zip(told, of_step, strict=True)), of_step
    others = [error.message for error in errors if error not in of_step]
    assert others == (["'type' is a required property"] if "type" not in step else [])


@pytest.mark.parametrize("method", [*methods_of(method_registry())], ids=lambda method: method.method)
def test_a_method_has_an_example_that_loads_and_fits_the_schema(method: type[StepConfig]):
    step = example_of(method)
    assert step is not None
    assert json.loads(json_text(step)) == step
    file = pipeline_around(step)
    read(file)
    VALIDATOR.validate(file)


def test_the_reference_and_the_editor_show_the_same_example():
    page = reference_page(method_registry())
    for method in methods_of(method_registry()):
        fence = f"```json\n{json_text(example_of(method))}\n```"
        section = page.partition(f"### {method.method}\n")[2].partition("\n### ")[0]
        assert fence in section
        names = SCHEMA["$defs"][method.step_type]["properties"]["method"]
        offered = names["anyOf"][0] if "anyOf" in names else names
        shown = dict(zip(offered["enum"], offered["markdownEnumDescriptions"], strict=True))
        assert shown[method.method].endswith(fence)


def filled_in(value: Any) -> Any:
    """What a snippet's body becomes in an editor when each placeholder is left as it is."""

    def text(value: Any) -> str:
        if isinstance(value, dict):
            return "{" + ",".join(f"{json.dumps(key)}:{text(item)}" for key, item in value.items()) + "}"
        if isinstance(value, list):
            return "[" + ",".join(map(text, value)) + "]"
        return value[1:] if isinstance(value, str) and value.startswith("^") else json.dumps(value)

    placeholders = re.sub(r"\$\{\d+:((?:[^\\}]|\\.)*)\}", lambda found: re.sub(r"\\(.)", r"\1", found[1]), text(value))
    return json.loads(placeholders.replace("$0", ""))


def test_a_snippet_makes_the_example_of_its_method():
    steps = SCHEMA["properties"]["steps"]
    made = {snippet["label"]: filled_in(snippet["body"]) for snippet in steps["items"]["defaultSnippets"]}
    assert made == {method.method: example_of(method) for method in methods_of(method_registry())}
    # Between the quotes, so that they stay when something is typed there.
    bodies = {snippet["label"]: snippet["body"]["config"] for snippet in steps["items"]["defaultSnippets"]}
    assert bodies["filterRows"] == {"condition": '^"${1:quantity > 0}"'}
    assert bodies["fromRate"] == {"rowsPerSecond": "^${1:10}"}
    first = [snippet["body"]["type"] for snippet in steps["prefixItems"][0]["defaultSnippets"]]
    assert set(first) == {"extract"}
    for snippet in SCHEMA["defaultSnippets"]:
        whole = filled_in(snippet["body"])
        assert whole.pop("steps") == []
        VALIDATOR.validate({**whole, "steps": [extract()]})


def test_a_value_with_what_a_snippet_gives_a_meaning_to_stays_as_it_is():
    value = {"path": "${env:IN:-a}/\\d", "names": ["^x", 'say "hi"', ""], "n": 1.5, "flag": True}
    method = type("Sharp", (FilterRows,), {"example": value, "__module__": __name__})
    assert filled_in(step_snippets([method])[0]["body"]["config"]) == value


def test_a_file_may_name_its_schema_for_the_editor():
    named = {"$schema": "../pipeline.schema.json", **pipeline(extract())}
    assert read(named).summary() == read(pipeline(extract())).summary()
    VALIDATOR.validate(named)
    assert messages_of({**named, "$schema": 1}) == ["expected a string, not a number"]


def test_the_reference_has_every_method_with_its_keys():
    page = reference_page(method_registry())
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
