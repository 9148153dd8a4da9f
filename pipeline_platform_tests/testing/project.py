"""Files of pipelines and of their tests, as the tests of both write them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline_platform.registry import method_registry
from pipeline_platform.testing.reading import PipelineTest, read_tests

ORDERS: dict[str, Any] = {
    "name": "orders",
    "mode": "batch",
    "variables": {"least": {"type": "number", "default": 0}},
    "steps": [
        {
            "type": "extract",
            "method": "fromFiles",
            "name": "raw",
            "config": {
                "path": "nowhere/orders.csv",
                "format": "csv",
                "schema": "id BIGINT, customer STRING, amount DECIMAL(9,2), day DATE",
                "registerAs": "orders",
            },
        },
        {
            "type": "extract",
            "method": "fromDeltaLake",
            "name": "customers",
            "config": {"path": "s3a://nowhere/customers", "registerAs": "customers"},
        },
        {
            "type": "validate",
            "method": "validateNulls",
            "name": "has_customer",
            "config": {"input": "orders", "notNullColumns": ["customer"], "onFailure": "quarantine"},
        },
        {
            "type": "validate",
            "method": "validateBusinessRules",
            "name": "is_paid",
            "config": {"input": "orders", "rules": [{"name": "paid", "rule": "amount >= 0"}]},
        },
        {
            "type": "transform",
            "method": "sqlQuery",
            "name": "per_customer",
            "config": {
                "query": "SELECT c.country, sum(o.amount) AS total, count(*) AS orders, max(current_date()) AS made "
                "FROM orders o JOIN customers c ON c.name = o.customer WHERE o.amount >= ${var:least} "
                "GROUP BY c.country"
            },
        },
        {
            "type": "load",
            "method": "toDeltaLake",
            "name": "totals",
            "config": {"path": "s3a://nowhere/totals", "mode": "overwrite"},
        },
    ],
}


def write_tests(folder: Path, *tests: Mapping[str, Any], pipeline: Mapping[str, Any] = ORDERS) -> Path:
    """A file of tests, one in a line, with its pipeline."""
    (folder / "tests").mkdir(exist_ok=True)
    (folder / f"{pipeline['name']}.json").write_text(json.dumps(pipeline))
    file = folder / "tests" / f"{pipeline['name']}.json"
    lines = ",\n".join(json.dumps(test) for test in tests)
    file.write_text(f'{{"pipeline": "../{pipeline["name"]}.json", "tests": [\n{lines}]}}')
    return file


def read_from(folder: Path, *tests: Mapping[str, Any], pipeline: Mapping[str, Any] = ORDERS) -> list[PipelineTest]:
    """The tests as they are read from such a file."""
    return read_tests(write_tests(folder, *tests, pipeline=pipeline), method_registry())
