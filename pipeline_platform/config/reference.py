"""The reference page of the format: every method with its keys, made from the models that read them."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from pydantic import BaseModel

from pipeline_platform.config.defaults import DEFAULT_KEYS, DEFAULTS_FILE
from pipeline_platform.config.environments import ENVIRONMENTS_FILE, EnvironmentKeys
from pipeline_platform.config.method_registry import MethodRegistry
from pipeline_platform.config.methods import KINDS, description_of, example_of, json_text, methods_of, names_of
from pipeline_platform.config.pipeline_keys import PipelineKeys
from pipeline_platform.config.schema import PropertySchema
from pipeline_platform.config.step import STEP_TYPES, StepConfig
from pipeline_platform.config.templates import TemplateKeys

_INTRODUCTION = """\
# Reference

Generated from the code by `pipeline-platform reference`; edit the docstrings there.

A pipeline is one JSON file. A step is `{"type": …, "method": …, "config": {…}}`. It may have a `name`, which is that of
its asset too; by default `registerAs`, or one made from the method. Instead of `config`, or in addition to
it, `configRef` names a JSON file, relative to this one, that holds the config; keys in `config` override it.
`{"template": …, "with": {…}}` stands for the [steps of a template](#a-template).
Booleans and numbers may be written as strings, and `${env:NAME}` or `${env:NAME:-default}` may stand in any string.

The examples are steps for the project that `pipeline-platform init` makes. `orders`, `customers` and `returns` are
frames that earlier steps have registered. `pipeline-platform methods NAME` shows the same at the terminal.
"""


_DEFAULTS = f"""\
## The defaults of a folder

`{DEFAULTS_FILE}` in a folder of pipelines, or in the one above it, has what the pipelines get where they say nothing
themselves: {", ".join(f"`{key}`" for key in DEFAULT_KEYS)} as in a pipeline,
and `methods`, the keys of each method, such as `{{"fromPostgres": {{"credentialPath": "shop/reader"}}}}`.
See [say it once](how-to/say-it-once.md).
"""
_TEMPLATE = """\
## A template

A JSON file with steps, which a pipeline names among its own, as
`{"template": "templates/mirror.json", "with": {"table": "orders"}}`.
"""


_ENVIRONMENTS = f"""\
## An environment

`{ENVIRONMENTS_FILE}` in the folder above that of the pipelines has, under `environments`, what is different in each of
them, by its name; `default` names the one of those who name none. See [environments](how-to/environments.md).
"""


@dataclass(frozen=True)
class KeyRow:
    """A key as people read it.

    Args:
        key: With the way to it, if it is a key within another one, such as `window.column`.
        type: In words.
        default: As JSON, `required`, or nothing.
        meaning: In Markdown.
    """

    key: str
    type: str
    default: str
    meaning: str

    def __str__(self) -> str:
        cells = (f"`{self.key}`", self.type, self.default, self.meaning)
        return "| " + " | ".join(" ".join(cell.split()).replace("|", r"\|") for cell in cells) + " |"


def reference_page(registry: MethodRegistry) -> str:
    """The reference page, in Markdown, of the format with these methods."""
    parts = [_INTRODUCTION, "## The file\n", _table([*rows_of(PipelineKeys), _STEPS])]
    parts += [_DEFAULTS, _TEMPLATE, _table([*rows_of(TemplateKeys), _STEPS])]
    parts += [_ENVIRONMENTS, _table(rows_of(EnvironmentKeys))]
    for step_type in STEP_TYPES:
        methods = [method for method in methods_of(registry) if method.step_type == step_type]
        shared = _shared_keys(methods)
        parts.append(f"## {step_type}\n\n{KINDS[step_type]}\n")
        if shared:
            parts.append(f"Every {step_type} takes:\n")
            parts.append(_table(row for row in rows_of(methods[0]) if row.key.partition(".")[0] in shared))
        parts.extend(_method_section(method, shared, registry) for method in methods)
    return "\n".join(parts)


_STEPS = KeyRow("steps", "list of steps", "required", "Run in order; the first is an extract.")


def _shared_keys(methods: Sequence[type[StepConfig]]) -> set[str]:
    """The keys that all methods of a kind have from a class they share."""
    keys = [
        {field.alias or name for name, field in method.model_fields.items() if _owner(method, name) in _bases(methods)}
        for method in methods
    ]
    return set[str].intersection(*keys) if keys else set()


def _bases(methods: Sequence[type[StepConfig]]) -> set[type]:
    return set[type].intersection(*(set(inspect.getmro(method)) for method in methods))


def _owner(model: type[BaseModel], field: str) -> type:
    return next(owner for owner in inspect.getmro(model) if field in inspect.get_annotations(owner))


def _method_section(method: type[StepConfig], shared: set[str], registry: MethodRegistry) -> str:
    aliases = [name for name in names_of(method, registry) if name != method.method]
    lines = [f"### {method.method}\n", f"{description_of(method)}\n"]
    if aliases:
        lines.append(f"Also called {', '.join(f'`{alias}`' for alias in aliases)}.\n")
    if method.other_keys:
        lines.append(
            f"Other keys are passed on as they are, such as {', '.join(f'`{key}`' for key in method.other_keys)}.\n"
        )
    if (step := example_of(method)) is not None:
        lines.append(f"```json\n{json_text(step)}\n```\n")
    rows = [row for row in rows_of(method) if row.key.partition(".")[0] not in shared]
    return "\n".join([*lines, _table(rows)]) if rows else "\n".join(lines)


def _table(rows: Iterator[KeyRow] | Sequence[KeyRow]) -> str:
    lines = ["| key | type | default | meaning |", "|---|---|---|---|", *map(str, rows)]
    return "\n".join(lines) + "\n"


def rows_of(model: type[BaseModel]) -> Iterator[KeyRow]:
    """One row for each key, and for each key within it; the model's own before those it inherits."""
    schema = model.model_json_schema(schema_generator=PropertySchema)
    definitions = schema.get("$defs", {})
    required = set(schema.get("required", []))
    for owner in inspect.getmro(model):
        for name in inspect.get_annotations(owner):
            if name in model.model_fields and _owner(model, name) is owner:
                key = model.model_fields[name].alias or name
                yield from _key_rows(key, schema["properties"][key], key in required, definitions)


def _key_rows(key: str, schema: dict[str, Any], required: bool, definitions: dict[str, Any]) -> Iterator[KeyRow]:
    yield KeyRow(key, _type(schema, definitions), _default(schema, required), schema.get("description", ""))
    for path, definition in _objects(schema, definitions):
        needed = definition.get("required", [])
        for inner, inner_schema in definition.get("properties", {}).items():
            yield from _key_rows(f"{key}{path}.{inner}", inner_schema, inner in needed, definitions)


def _objects(schema: dict[str, Any], definitions: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects with keys of their own that a value may hold, each with the way to it."""
    if "$ref" in schema:
        yield "", definitions[schema["$ref"].rpartition("/")[2]]
    elif "properties" in schema:
        yield "", schema
    for alternative in schema.get("anyOf", []):
        yield from _objects(alternative, definitions)
    for word, mark in (("items", "[]"), ("additionalProperties", ".*")):
        if isinstance(schema.get(word), dict):
            for path, definition in _objects(schema[word], definitions):
                yield f"{mark}{path}", definition


def _default(schema: dict[str, Any], required: bool) -> str:
    if required:
        return "required"
    default: Any = schema.get("default")
    if default is None or default in ([], {}) or "$ref" in schema:
        return ""
    return f"`{json.dumps(default, ensure_ascii=False)}`"


def _type(schema: dict[str, Any], definitions: dict[str, Any]) -> str:
    alternatives = cast("list[dict[str, Any]]", schema.get("anyOf", []))
    if alternatives:
        names = [_type(alternative, definitions) for alternative in alternatives if not _is_spelling(alternative)]
        return " or ".join(dict.fromkeys(name for name in names if name != "null"))
    if "$ref" in schema:
        return "object"
    if "enum" in schema:
        return " | ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if schema.get("type") == "array":
        return f"list of {_plural(_type(schema.get('items', {}), definitions))}"
    if schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_plural(_type(schema['additionalProperties'], definitions))}"
    kinds = schema.get("type", "any")
    return kinds if isinstance(kinds, str) else " or ".join(kinds)


def _is_spelling(schema: dict[str, Any]) -> bool:
    """Whether it only is another way to write a value, such as a number in a string."""
    return schema.get("type") == "string" and "pattern" in schema


def _plural(name: str) -> str:
    return f"{name}s" if name in ("string", "object", "integer", "number", "boolean") else name
