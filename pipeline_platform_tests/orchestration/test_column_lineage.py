"""Where each column comes from, across steps and pipelines, as Dagster shows it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pyspark.sql import SparkSession

from pipeline_platform.orchestration.project_definitions import project_definitions

ORDERS = [
    {"id": 1, "person": 7, "quantity": 2, "price": 4.5},
    {"id": 2, "person": 8, "quantity": 1, "price": 3.0},
    {"id": 3, "person": 7, "quantity": -1, "price": 3.0},
]
PEOPLE = [{"person": 7, "name": "anna", "city": "Ulm"}, {"person": 8, "name": "ben", "city": "Bern"}]

Lineage = dict[str, set[str]]
"""For each column the columns it comes from, as `step.column` in the same pipeline or `pipeline/step.column`."""


def step(kind: str, method: str, **config: Any) -> dict[str, Any]:
    return {"type": kind, "method": method, "config": config}


def sales(folder: Path) -> dict[str, Any]:
    def read(name: str) -> dict[str, Any]:
        return step("extract", "fromFiles", path=str(folder / f"{name}.json"), format="json", registerAs=name)

    def written(name: str, frame: str) -> dict[str, Any]:
        return step("load", "toDeltaLake", path=str(folder / name), input=frame, queryName=name)

    return {
        "name": "sales",
        "mode": "batch",
        "steps": [
            read("orders"),
            step(
                "validate",
                "validateRanges",
                ranges={"quantity": {"min": 0}},
                onFailure="quarantine",
                quarantinePath=str(folder / "bad"),
            ),
            read("people"),
            step(
                "transform",
                "joinDataFrames",
                inputDataFrames=["orders", "people"],
                joinColumn="person",
                registerAs="bought",
            ),
            step(
                "transform",
                "enrichData",
                columns={"total": "quantity * price", "town": "upper(city)", "big": "total > 5"},
                registerAs="priced",
            ),
            step(
                "transform",
                "aggregateData",
                groupBy=["town"],
                aggregations={
                    "spent": "sum(total)",
                    "dearest": "max(price * quantity)",
                    "orders": "count(*)",
                    "id": "max",
                },
                registerAs="towns",
            ),
            written("by_town", "towns"),
            step(
                "transform",
                "reshapeData",
                input="priced",
                operation="pivot",
                pivotColumn="city",
                groupByColumns=["name"],
                aggregateColumn="quantity",
                pivotValues=["Ulm", "Bern"],
                registerAs="cities",
            ),
            step(
                "transform",
                "sqlQuery",
                query="SELECT name, CAST(Ulm AS DOUBLE) AS amount FROM cities WHERE Ulm IS NOT NULL",
                registerAs="ulm",
            ),
            step(
                "transform",
                "sqlQuery",
                query="WITH known AS (SELECT name AS who, price FROM people p JOIN orders o ON o.person = p.person) "
                "SELECT who AS name, sum(price) OVER (PARTITION BY who) AS amount FROM known",
                registerAs="paid",
            ),
            step("transform", "unionDataFrames", inputDataFrames=["ulm", "paid"], registerAs="amounts"),
            written("all_amounts", "amounts"),
        ],
    }


def report(folder: Path) -> dict[str, Any]:
    return {
        "name": "report",
        "mode": "batch",
        "steps": [
            step("extract", "fromDeltaLake", path=str(folder / "by_town"), registerAs="towns"),
            step(
                "transform",
                "sqlQuery",
                query="SELECT town AS place, spent / orders AS mean FROM towns",
                registerAs="means",
            ),
            step("load", "toDeltaLake", path=str(folder / "report")),
        ],
    }


EXPECTED: dict[str, Lineage] = {
    "sales/bought": {
        "person": {"orders.person"},
        "id": {"orders.id"},
        "quantity": {"orders.quantity"},
        "price": {"orders.price"},
        "name": {"people.name"},
        "city": {"people.city"},
    },
    "sales/priced": {
        "person": {"bought.person"},
        "id": {"bought.id"},
        "quantity": {"bought.quantity"},
        "price": {"bought.price"},
        "name": {"bought.name"},
        "city": {"bought.city"},
        "total": {"bought.quantity", "bought.price"},
        "town": {"bought.city"},
        "big": {"bought.quantity", "bought.price"},
    },
    "sales/towns": {
        "town": {"priced.town"},
        "spent": {"priced.total"},
        "dearest": {"priced.price", "priced.quantity"},
        "orders": set(),
        "id_max": {"priced.id"},
    },
    "sales/cities": {
        "name": {"priced.name"},
        "Ulm": {"priced.quantity", "priced.city"},
        "Bern": {"priced.quantity", "priced.city"},
    },
    "sales/ulm": {"name": {"cities.name"}, "amount": {"cities.Ulm"}},
    "sales/paid": {"name": {"people.name"}, "amount": {"orders.price", "people.name"}},
    "sales/amounts": {"name": {"ulm.name", "paid.name"}, "amount": {"ulm.amount", "paid.amount"}},
    "sales/to_delta_lake": {
        "town": {"towns.town"},
        "spent": {"towns.spent"},
        "dearest": {"towns.dearest"},
        "orders": {"towns.orders"},
        "id_max": {"towns.id_max"},
    },
    "sales/to_delta_lake_2": {"name": {"amounts.name"}, "amount": {"amounts.amount"}},
    "report/towns": {
        "town": {"sales/to_delta_lake.town"},
        "spent": {"sales/to_delta_lake.spent"},
        "dearest": {"sales/to_delta_lake.dearest"},
        "orders": {"sales/to_delta_lake.orders"},
        "id_max": {"sales/to_delta_lake.id_max"},
    },
    "report/means": {"place": {"towns.town"}, "mean": {"towns.spent", "towns.orders"}},
    "report/to_delta_lake": {"place": {"means.place"}, "mean": {"means.mean"}},
}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, spark: SparkSession) -> dict[str, Lineage]:
    """The column lineage of every asset after both pipelines have run."""
    folder = tmp_path_factory.mktemp("lineage")
    for name, rows in (("orders", ORDERS), ("people", PEOPLE)):
        (folder / f"{name}.json").write_text("\n".join(map(json.dumps, rows)))
    pipelines = folder / "pipelines"
    pipelines.mkdir()
    for pipeline in (sales(folder), report(folder)):
        (pipelines / f"{pipeline['name']}.json").write_text(json.dumps(pipeline))
    definitions = project_definitions(pipelines)
    found: dict[str, Lineage] = {}
    with dg.DagsterInstance.ephemeral() as instance:
        for name in ("sales", "report"):
            result = definitions.get_job_def(name).execute_in_process(instance=instance)
            for event in result.get_asset_materialization_events():
                made = event.materialization
                lineage: Any = made.metadata["dagster/column_lineage"].value
                found[made.asset_key.to_user_string()] = {
                    column: {f"{dep.asset_key.to_user_string()}.{dep.column_name}" for dep in deps}
                    for column, deps in lineage.deps_by_column.items()
                }
    return found


def test_each_column_of_each_asset_names_the_columns_it_comes_from(recorded: dict[str, Lineage]):
    sources = {"sales/orders", "sales/people"}
    assert recorded.keys() == EXPECTED.keys() | sources
    for asset, lineage in EXPECTED.items():
        pipeline = asset.partition("/")[0]
        expected = {
            column: {origin if "/" in origin else f"{pipeline}/{origin}" for origin in origins}
            for column, origins in lineage.items()
        }
        assert recorded[asset] == expected, asset


def test_a_column_of_the_last_table_is_followed_back_to_the_columns_of_the_first_files(
    recorded: dict[str, Lineage],
):
    def origins(asset: str, column: str) -> set[str]:
        if asset not in recorded:
            return {f"{asset.rpartition('/')[2]}.{column}"}
        ways = [origin.rpartition(".") for origin in recorded[asset][column]]
        return set().union(*(origins(above, name) for above, _, name in ways))

    assert origins("report/to_delta_lake", "mean") == {"orders_json.quantity", "orders_json.price"}
    assert origins("report/to_delta_lake", "place") == {"people_json.city"}
    assert origins("sales/to_delta_lake_2", "amount") == {
        "orders_json.quantity",
        "orders_json.price",
        "people_json.city",
        "people_json.name",
    }
