"""The JSON Schema of a pipeline file, made from the same models that read it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from pipeline_platform.config.pipeline import PipelineKeys
from pipeline_platform.config.step import STEP_TYPES, MethodRegistry, StepConfig

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def pipeline_schema(registry: MethodRegistry) -> dict[str, Any]:
    """The JSON Schema, draft 2020-12, of a pipeline file with these methods.

    It holds what can be said of a key by itself; what depends on several keys or steps only the loader knows.
    """
    methods = list(methods_of(registry))
    references, definitions = models_json_schema(
        [(PipelineKeys, "validation"), *((method, "validation") for method in methods)],
        ref_template="#/$defs/{model}",
        schema_generator=PropertySchema,
    )
    defined: dict[str, Any] = definitions["$defs"]

    def definition_of(model: type[Any]) -> dict[str, Any]:
        return defined[references[model, "validation"]["$ref"].rpartition("/")[2]]

    steps = [_step(method, registry, references[method, "validation"], definition_of(method)) for method in methods]
    keys = definition_of(PipelineKeys)
    for name in [name for name, definition in defined.items() if definition is keys]:
        del defined[name]
    return {
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
                "prefixItems": [{"$ref": "#/$defs/step", "properties": {"type": {"const": "extract"}}}],
                "items": {"$ref": "#/$defs/step"},
            },
        },
        "required": [*keys["required"], "steps"],
        "additionalProperties": False,
        "$defs": {"step": {"oneOf": steps}, **dict(sorted(defined.items()))},
    }


def methods_of(registry: MethodRegistry) -> Iterator[type[StepConfig]]:
    """Every method once, aliases left out, by step type."""
    for step_type in STEP_TYPES:
        yield from dict.fromkeys(registry[step_type].values())


class PropertySchema(GenerateJsonSchema):
    """Makes no titles of key names: they would say each key twice."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def _step(
    method: type[StepConfig],
    registry: MethodRegistry,
    reference: dict[str, Any],
    definition: dict[str, Any],
) -> dict[str, Any]:
    names = [name for name, model in registry[method.step_type].items() if model is method]
    required = definition.pop("required", [])
    definition.pop("title", None)
    step: dict[str, Any] = {
        "title": method.method,
        "description": definition.pop("description", ""),
        "type": "object",
        "properties": {
            "type": {"const": method.step_type},
            "method": {"const": names[0]} if len(names) == 1 else {"enum": names},
            "name": {
                "description": "Name of the step and of its asset; by default `registerAs`, or made from the method.",
                "type": "string",
                "pattern": "^[A-Za-z_][A-Za-z0-9_]*$",
            },
            "config": reference,
            "configRef": {
                "description": "Path, relative to this file, of a JSON object with the config; keys in 'config' "
                "override it.",
                "type": "string",
                "minLength": 1,
            },
        },
        "required": ["type", "method"],
        "additionalProperties": False,
    }
    if required:
        # A referenced file may have the keys that are needed.
        complete = {"properties": {"config": {"required": required}}, "required": ["config"]}
        step["anyOf"] = [{"required": ["configRef"]}, complete]
    return step
