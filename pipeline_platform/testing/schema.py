"""The JSON Schema of a file of tests, for editors."""

from __future__ import annotations

from typing import Any

from pipeline_platform.config.schema import DRAFT, PropertySchema, for_editors
from pipeline_platform.testing.file_format import TestFile

_ROWS = {"type": "array", "items": {"type": "object"}}
_TEST = {"name": "$1", "given": {"$2": [{"$3": "$4"}]}, "expect": {"$5": [{"$6": "$7"}]}}


def tests_schema() -> dict[str, Any]:
    """The JSON Schema, draft 2020-12, of a file of tests."""
    made = TestFile.model_json_schema(schema_generator=PropertySchema)
    for definition in (made, *made["$defs"].values()):
        # Names of classes.
        definition.pop("title", None)
    case: dict[str, Any] = made["$defs"]["TestCase"]["properties"]
    for key, short in (("given", [_ROWS]), ("expect", [_ROWS, {"type": "integer", "minimum": 0}])):
        # What the reader makes an object of, the models have no word for.
        case[key]["additionalProperties"] = {"anyOf": [*short, case[key]["additionalProperties"]]}
    made["properties"]["tests"]["items"] = {
        **made["properties"]["tests"]["items"],
        "defaultSnippets": [{"label": "a test", "body": _TEST}],
    }
    return for_editors({"$schema": DRAFT, "title": "Tests of a pipeline", **made})
