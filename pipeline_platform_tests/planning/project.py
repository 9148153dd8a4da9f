"""A project of which the tests change one thing at a time."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Files = dict[str, Any]
"""What is in the files of a folder of pipelines, by their path in it."""


def step(kind: str, method: str, name: str, **config: Any) -> dict[str, Any]:
    return {"type": kind, "method": method, "name": name, "config": config}


def load(name: str, **config: Any) -> dict[str, Any]:
    return step("load", "toDeltaLake", name, **{"path": f"lake/{name}", "mode": "overwrite", **config})


def table(name: str) -> dict[str, Any]:
    return step("extract", "fromDeltaLake", f"{name}_read", path=f"lake/{name}", registerAs=name)


def pipeline(name: str, *steps: dict[str, Any], **keys: Any) -> dict[str, Any]:
    return {"name": name, "mode": "batch", **keys, "steps": list(steps)}


PROJECT: Files = {
    # Read by report with some of its columns; customers by people, with all of them.
    "orders.json": pipeline(
        "orders",
        step(
            "extract",
            "fromFiles",
            "raw",
            path="in/orders.csv",
            format="csv",
            schema="id BIGINT, customer STRING, country STRING, amount INT, note STRING, day DATE",
        ),
        step("transform", "enrichData", "priced", columns={"gross": "amount * 2"}),
        load("orders", overwriteSchema=True),
        variables={"unused": {"default": "a"}},
    ),
    "report.json": pipeline(
        "report",
        table("orders"),
        step(
            "transform",
            "sqlQuery",
            "revenue",
            query="SELECT country, sum(gross) AS revenue, count(*) AS orders FROM orders WHERE amount > 0 "
            "GROUP BY country",
            registerAs="revenue",
        ),
        load("report", overwriteSchema=True),
    ),
    "big.json": pipeline(
        "big",
        table("report"),
        step("transform", "filterRows", "enough", condition="revenue > ${var:least}"),
        load("big", overwriteSchema=True),
        variables={"least": {"type": "integer", "default": 100}},
    ),
    "customers.json": pipeline(
        "customers",
        step(
            "extract", "fromFiles", "raw", path="in/c.csv", format="csv", schema="id BIGINT, name STRING, city STRING"
        ),
        step("validate", "validateNulls", "has_name", notNullColumns=["name"], onFailure="fail"),
        load("customers", mode="merge", mergeKeys=["id"]),
    ),
    "people.json": pipeline(
        "people",
        table("customers"),
        step("transform", "sqlQuery", "everything", query="SELECT * FROM customers"),
        load("people", overwriteSchema=True),
    ),
    "strict.json": pipeline(
        "strict",
        step("extract", "fromFiles", "raw", path="in/s.csv", format="csv", schema="id INT, name STRING"),
        load("strict", mode="append"),
    ),
    "visits.json": {
        **pipeline(
            "visits",
            step(
                "extract",
                "fromKafka",
                "clicks",
                topic="clicks",
                valueFormat="json",
                valueSchema="page STRING, at TIMESTAMP, ms INT",
                credentialPath="secret/data/kafka",
            ),
            step(
                "transform",
                "aggregateData",
                "by_minute",
                groupBy=["page"],
                aggregations={"visits": "count(*)", "slowest": "max(ms)"},
                window={"column": "at", "duration": "1 minute"},
                watermark={"column": "at", "delay": "10 seconds"},
            ),
            step("load", "toDeltaLake", "visits", path="lake/visits"),
        ),
        "mode": "streaming",
    },
    "daily.json": pipeline(
        "daily",
        step(
            "extract", "fromFiles", "raw", path="in/${partition:key}.csv", format="csv", schema="day DATE, sold BIGINT"
        ),
        load("daily"),
        partitions={"type": "daily", "start": "2024-01-01", "end": "2024-02-01", "column": "day"},
    ),
    "new_rows.json": pipeline(
        "new_rows",
        step(
            "extract",
            "fromDeltaLake",
            "events",
            path="raw/events",
            incremental={"cursorColumn": "id"},
        ),
        load("new_rows", mode="append", mergeSchema=True),
    ),
    "moved.json": pipeline(
        "moved",
        step("extract", "fromFiles", "raw", path="in/m.csv", format="csv", schema="id INT, x INT, y INT"),
        step("transform", "filterRows", "positive", condition="x > 0"),
        step("transform", "deduplicate", "once", columns=["id"]),
        step("validate", "validateNulls", "has_y", notNullColumns=["y"], onFailure="quarantine"),
        step("transform", "enrichData", "more", columns={"z": "x + y"}),
        step("transform", "enrichData", "less", columns={"w": "x - y"}),
        load("moved", overwriteSchema=True),
    ),
    "bare.json": pipeline(
        "bare",
        step(
            "extract",
            "fromFiles",
            "raw",
            path="in/bare.csv",
            format="csv",
            header=False,
            schema="id INT, country STRING, city STRING",
        ),
        step("transform", "enrichData", "more", columns={"id": "id * 2", "y": "id + 1"}),
        load("bare", overwriteSchema=True),
    ),
    "out.json": pipeline(
        "out",
        step("extract", "fromFiles", "raw", path="in/o.csv", format="csv", schema="id INT, country STRING"),
        step("load", "toFiles", "out", path="lake/out", format="json", mode="overwrite"),
    ),
    "back.json": pipeline(
        "back",
        step("extract", "fromFiles", "out_read", path="lake/out", format="json", schema="id INT, country STRING"),
        load("back"),
    ),
    "unknown.json": pipeline(
        "unknown",
        step("extract", "fromFiles", "nowhere", path="nowhere", format="parquet"),
        step("transform", "enrichData", "more", columns={"a": "b + 1"}),
        load("unknown"),
    ),
    "templates/copy.json": {
        "variables": {"name": {}},
        "steps": [
            step("extract", "fromFiles", "raw", path="in/${var:name}.csv", format="csv", schema="id INT, x INT, y INT"),
            step("transform", "filterRows", "positive", condition="x > 0"),
            load("${var:name}", overwriteSchema=True),
        ],
    },
    **{
        f"{name}.json": {
            "name": name,
            "mode": "batch",
            "steps": [{"template": "templates/copy.json", "with": {"name": name}}],
        }
        for name in ("red", "green", "blue")
    },
    "tests/new_rows.json": {
        "pipeline": "../new_rows.json",
        "tests": [
            {
                "name": "all are loaded",
                "given": {"events": {"schema": "id BIGINT, changed TIMESTAMP, what STRING", "rows": []}},
                "expect": {"new_rows": {"count": 0}},
            }
        ],
    },
}

Edit = Callable[[Files], object]


def changed(edit: Edit, before: Files = PROJECT) -> Files:
    """The project, or another one, with a change."""
    files = copy.deepcopy(before)
    edit(files)
    return files


def write(folder: Path, files: Files) -> Path:
    """Write the files of a folder of pipelines."""
    for name, value in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value if isinstance(value, str) else json.dumps(value, indent=1))
    return folder
