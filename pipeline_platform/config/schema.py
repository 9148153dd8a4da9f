"""The JSON Schema of a pipeline file, made from the same models that read it, for editors and other programs.

What JSON Schema has no word for is said in those of VS Code's language service, which other editors use as well:
`enumDescriptions`, `markdownDescription` and `defaultSnippets`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from pydantic import BaseModel
from pydantic._internal._docs_extraction import extract_docstrings_from_cls
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from pipeline_platform.config.dagster_names import PIPELINE_NAME
from pipeline_platform.config.defaults import DEFAULT_KEYS
from pipeline_platform.config.editor_snippets import PIPELINES, config_snippet, step_snippets
from pipeline_platform.config.environments import EnvironmentsFile
from pipeline_platform.config.method_registry import MethodRegistry
from pipeline_platform.config.methods import (
    KINDS,
    description_of,
    example_of,
    json_text,
    methods_of,
    names_of,
    summary_of,
)
from pipeline_platform.config.pipeline_keys import PipelineKeys
from pipeline_platform.config.step import StepConfig
from pipeline_platform.config.templates import TEMPLATE_KEYS, TemplateKeys
from pipeline_platform.config.variables import VARIABLE_NAME

DRAFT = "https://json-schema.org/draft/2020-12/schema"
# In a template, a variable may be a part of it.
_STEP_NAME = rf"^([A-Za-z_]|\$\{{var:{VARIABLE_NAME}\}})([A-Za-z0-9_]|\$\{{var:{VARIABLE_NAME}\}})*$"
_NAME_WITH_VARIABLES = rf"^({PIPELINE_NAME[1:-2]}|\$\{{var:{VARIABLE_NAME}\}})+$"
_PLAIN = frozenset({"default", "const", "enum", "defaultSnippets"})
"""Keywords whose values are data, and no schemas."""


class PropertySchema(GenerateJsonSchema):
    """Makes no titles of key names, which would say each key twice, and no defaults that say nothing.

    What a key is for, it takes from the docstring of its field. Pydantic would do that itself, by
    `use_attribute_docstrings`, but then it reads the source of every model whenever a process starts.
    """

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        made = super().model_schema(schema)
        model: type[BaseModel] = schema["cls"]
        described = _docstrings(model)
        for name, field in model.model_fields.items():
            found: dict[str, Any] | None = made.get("properties", {}).get(field.alias or name)
            if found is not None and name in described:
                found.setdefault("description", described[name])
        return made

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        made = super().default_schema(schema)
        # An editor would write these into the file. Of a model, its keys say their defaults.
        if made.get("default") is None or isinstance(made["default"], dict):
            made.pop("default", None)
        return made


def _docstrings(model: type[BaseModel]) -> dict[str, str]:
    """The docstrings of a model's fields, its own before those it inherits."""
    found: dict[str, str] = {}
    for owner in reversed(model.__mro__):
        if issubclass(owner, BaseModel) and owner is not BaseModel:
            found |= _docstrings_in(owner)
    return found


@functools.cache
def _docstrings_in(model: type[BaseModel]) -> Mapping[str, str]:
    return extract_docstrings_from_cls(model, use_inspect=True)


def pipeline_schema(registry: MethodRegistry) -> dict[str, Any]:
    """The JSON Schema, draft 2020-12, of a pipeline file with these methods.

    It holds what can be said of a key by itself; what depends on several keys or steps only the loader knows.
    """
    methods = list(methods_of(registry))
    references, definitions = models_json_schema(
        [
            (PipelineKeys, "validation"),
            (TemplateKeys, "validation"),
            (EnvironmentsFile, "validation"),
            *((method, "validation") for method in methods),
        ],
        ref_template="#/$defs/{model}",
        schema_generator=PropertySchema,
    )
    defined: dict[str, Any] = definitions["$defs"]

    def definition_of(model: type[Any]) -> dict[str, Any]:
        return defined[references[model, "validation"]["$ref"].rpartition("/")[2]]

    keys = definition_of(PipelineKeys)
    # Which names there may be depends on another key.
    del keys["properties"]["name"]["pattern"]
    template, environments = definition_of(TemplateKeys), definition_of(EnvironmentsFile)
    for name in [name for name, definition in defined.items() if definition in (keys, template, environments)]:
        del defined[name]
    for definition in defined.values():
        # Names of classes.
        definition.pop("title", None)
    environments.pop("title", None)
    by_type = {kind: [method for method in methods if method.step_type == kind] for kind in KINDS}
    kinds: dict[str, Any] = {}
    for kind, of_kind in by_type.items():
        cases = [
            _config_of(method, registry, references[method, "validation"], definition_of(method)) for method in of_kind
        ]
        kinds[kind] = {"properties": {"method": _names(of_kind, registry)}, "allOf": cases}
    extracts = step_snippets(by_type["extract"])
    schema: dict[str, Any] = {
        "$schema": DRAFT,
        "title": "Pipeline",
        "description": "A data pipeline that runs on Spark as Dagster assets.",
        "type": "object",
        "properties": {
            **keys["properties"],
            "steps": {
                "description": "Run in order; the first is an extract.",
                "type": "array",
                "minItems": 1,
                "prefixItems": [
                    {
                        "allOf": [{"$ref": "#/$defs/step"}, {"properties": {"type": {"const": "extract"}}}],
                        "defaultSnippets": extracts,
                    }
                ],
                "items": {"allOf": [{"$ref": "#/$defs/step"}], "defaultSnippets": step_snippets(methods)},
            },
        },
        "required": [*keys["required"], "steps"],
        "additionalProperties": False,
        "if": {"properties": {"forEach": {"type": ["array", "string"]}}, "required": ["forEach"]},
        "then": {"properties": {"name": {"pattern": _NAME_WITH_VARIABLES}}},
        "else": {"properties": {"name": {"pattern": PIPELINE_NAME}}},
        "defaultSnippets": PIPELINES,
        "$defs": {
            "step": _step(methods, registry),
            **kinds,
            "defaults": _defaults(
                keys["properties"],
                {name: references[method, "validation"] for method in methods for name in names_of(method, registry)},
            ),
            "template": _template(template["properties"]),
            "environments": environments,
            **dict(sorted(defined.items())),
        },
    }
    return for_editors(schema)


def _defaults(keys: Mapping[str, Any], methods: Mapping[str, Any]) -> dict[str, Any]:
    """The defaults of a folder: some keys of a pipeline, and of each method those of its config."""
    return {
        "type": "object",
        "properties": {
            **{key: keys[key] for key in ("$schema", *DEFAULT_KEYS)},
            "methods": {
                "description": "The keys of each method that its steps get where they say nothing themselves.",
                "type": "object",
                "properties": methods,
                "additionalProperties": False,
            },
        },
        "additionalProperties": False,
    }


def _template(keys: Mapping[str, Any]) -> dict[str, Any]:
    steps = {"description": "Its steps.", "type": "array", "minItems": 1, "items": {"$ref": "#/$defs/step"}}
    return {
        "type": "object",
        "properties": {**keys, "steps": steps},
        "required": ["steps"],
        "additionalProperties": False,
    }


def _step(methods: Sequence[type[StepConfig]], registry: MethodRegistry) -> dict[str, Any]:
    """A step of any type, with what follows from its type, and from its method within that.

    Each case is an `if`, so that a mistake in a step is one error, and not one for each method that it is not.
    """
    return {
        "type": "object",
        "properties": {
            "type": {
                "description": "What kind of step it is.",
                "enum": list(KINDS),
                "enumDescriptions": list(KINDS.values()),
            },
            "method": {"description": "What the step does.", "type": "string"},
            "name": {
                "description": "Name of the step and of its asset; by default `registerAs`, or made from the method.",
                "type": ["string", "null"],
                "pattern": _STEP_NAME,
            },
            "config": {"description": "The keys of the method.", "type": "object"},
            "configRef": {
                "description": "Path, relative to this file, of a JSON object with the config; keys in 'config' "
                "override it.",
                "type": "string",
                "minLength": 1,
            },
            "template": {
                "description": "Path, relative to this file, of a template whose steps stand in place of this one.",
                "type": "string",
                "minLength": 1,
            },
            "with": {
                "description": "Values for the variables of the template.",
                "type": ["object", "null"],
                "additionalProperties": {"type": ["string", "number", "boolean"]},
            },
        },
        "additionalProperties": False,
        "if": {"required": ["template"]},
        "then": {"propertyNames": {"enum": [*TEMPLATE_KEYS]}},
        "else": {
            "properties": {"with": False},
            "required": ["type", "method"],
            "if": {"required": ["type"]},
            "then": {
                "allOf": [
                    {"if": {"properties": {"type": {"const": kind}}}, "then": {"$ref": f"#/$defs/{kind}"}}
                    for kind in KINDS
                ]
            },
            "else": {"properties": {"method": _names(methods, registry)}},
        },
    }


def _names(methods: Sequence[type[StepConfig]], registry: MethodRegistry) -> dict[str, Any]:
    """The schema of `method`, with what each one does."""
    aliases = [name for method in methods for name in names_of(method, registry) if name != method.method]
    names = {
        "enum": [method.method for method in methods],
        "enumDescriptions": [summary_of(method) for method in methods],
        "markdownEnumDescriptions": [_described(method) for method in methods],
    }
    # As a pattern, so that an editor does not offer old names.
    return {"anyOf": [names, {"pattern": _pattern(aliases)}]} if aliases else names


def _pattern(names: Sequence[str]) -> str:
    return f"^({'|'.join(map(re.escape, names))})$"


def _described(method: type[StepConfig]) -> str:
    parts = [_unwrapped(description_of(method))]
    if (step := example_of(method)) is not None:
        parts.append(f"```json\n{json_text(step)}\n```")
    return "\n\n".join(parts)


def _config_of(
    method: type[StepConfig], registry: MethodRegistry, reference: dict[str, Any], definition: dict[str, Any]
) -> dict[str, Any]:
    """What a step of this method has to be."""
    names = names_of(method, registry)
    required = definition.pop("required", [])
    definition["description"] = description_of(method)
    snippets = config_snippet(method)
    config = {**reference, "defaultSnippets": snippets} if snippets else reference
    then: dict[str, Any] = {"properties": {"config": config}}
    if required:
        # A referenced file may have the keys that are needed.
        complete = {"properties": {"config": {**config, "required": required}}, "required": ["config"]}
        then = {"if": {"required": ["configRef"]}, "then": then, "else": complete}
    given = {"const": names[0]} if len(names) == 1 else {"pattern": _pattern(names)}
    return {"if": {"properties": {"method": given}, "required": ["method"]}, "then": then}


def for_editors(value: Any) -> Any:
    """The same schema as an editor shows it best.

    Descriptions are without the line breaks of the code, and in Markdown where that is of use. A value that may be null
    says its type, for which an editor writes quotes or brackets.
    """
    if isinstance(value, list):
        return [for_editors(item) for item in cast("list[Any]", value)]
    if not isinstance(value, Mapping):
        return value
    made: dict[str, Any] = {}
    for key, item in cast("Mapping[str, Any]", value).items():
        made[key] = item if key in _PLAIN else for_editors(item)
        if key == "description" and isinstance(item, str):
            made[key] = _unwrapped(item)
            if "`" in item or "\n" in item:
                made["markdownDescription"] = made[key]
    match made.get("anyOf"):
        case [{"type": str(kind), **other}, {"type": "null"}] if "enum" not in other and "const" not in other:
            del made["anyOf"]
            return {**made, **other, "type": [kind, "null"]}
        case _:
            return made


def _unwrapped(text: str) -> str:
    return re.sub(r"(?<!\n)\n(?![\n*|-])", " ", text)
