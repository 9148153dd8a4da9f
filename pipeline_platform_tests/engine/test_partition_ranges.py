"""A range of partitions leaves what one run for each would leave, be it one run or several, as DuckDB computes it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from devtools.pipelines import StepValue, extract, load, pipeline_of, transform
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.engine.batch import BatchRun
from pipeline_platform.orchestration.project import side_by_side
from pipeline_platform.resources.partitions import chosen_partitions

DAYS = [date(2024, 1, day) for day in range(1, 11)]
# The third day has no rows, so that six rows before one are not six days.
ROWS = [
    {"id": n, "sold": f"{DAYS[n % 10]}T{n % 24:02}:00:00Z", "shop": f"s{n % 3}", "amount": n * 7 % 11}
    for n in range(80)
    if n % 10 != 2
]
SHOPS = [{"shop": "s0", "city": "Kiel"}, {"shop": "s1", "city": "Bonn"}, {"shop": "s9", "city": "Ulm"}]
OWN = "sold >= '${partition:start}' AND sold < '${partition:end}'"
BACK = "sold >= DATE '${partition:start}' - INTERVAL 3 DAYS AND sold < '${partition:end}'"
DAY = transform("enrichData", columns={"day": "CAST(sold AS DATE)"}, registerAs="dated")
OF_DAYS = "SELECT CAST(sold AS DATE) AS day, sum(amount) AS total FROM sales WHERE {back} GROUP BY CAST(sold AS DATE)"
WINDOW = "SELECT day, sum(total) OVER (ORDER BY day RANGE BETWEEN INTERVAL 3 DAYS PRECEDING AND CURRENT ROW) AS total"


@dataclass(frozen=True)
class Shape:
    """Steps between two sources and a load.

    Args:
        is_one_run: Whether a range is.
        steps: The steps.
        query: What one run leaves, in DuckDB's SQL; `own` and `back` are the conditions on its rows.
    """

    is_one_run: bool
    steps: tuple[StepValue, ...]
    query: str


SHAPES = {
    "days by city": Shape(
        True,
        (
            transform("filterRows", condition=OWN, input="sales"),
            DAY,
            transform("joinDataFrames", inputDataFrames=["dated", "shops"], joinColumn=["shop"], joinType="left"),
            transform("aggregateData", groupBy=["day", "city"], aggregations={"total": "sum(amount)"}),
        ),
        "SELECT CAST(sold AS DATE) AS day, city, sum(amount) AS total FROM sales LEFT JOIN shops USING (shop) "
        "WHERE {own} GROUP BY ALL",
    ),
    "a moving sum": Shape(
        True,
        (transform("sqlQuery", query=f"{WINDOW} FROM ({OF_DAYS.format(back=BACK)})"),),
        f"{WINDOW} FROM ({OF_DAYS})",
    ),
    "the best of a shop": Shape(
        False,
        (
            transform("filterRows", condition=OWN, input="sales"),
            DAY,
            transform("deduplicate", columns=["shop"], orderBy=["amount DESC", "id"]),
        ),
        "SELECT id, sold, shop, amount, CAST(sold AS DATE) AS day FROM sales WHERE {own} "
        "QUALIFY row_number() OVER (PARTITION BY shop ORDER BY amount DESC, id) = 1",
    ),
    "a sum over some days": Shape(
        False,
        (
            transform(
                "sqlQuery",
                query=f"SELECT max(CAST(sold AS DATE)) AS day, sum(amount) AS total FROM sales WHERE {BACK}",
            ),
        ),
        "SELECT max(CAST(sold AS DATE)) AS day, sum(amount) AS total FROM sales WHERE {back}",
    ),
}


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def one_run_for_each(shape: Shape, sales: str, shops: str) -> list[tuple[Any, ...]]:
    """What DuckDB leaves that computes one day after the other."""
    found: list[tuple[Any, ...]] = []
    with duckdb.connect() as connection:
        columns = "{id: 'INT', sold: 'TIMESTAMP', shop: 'VARCHAR', amount: 'INT'}"
        connection.execute(f"CREATE VIEW sales AS FROM read_json('{sales}', columns = {columns})")
        connection.execute(f"CREATE VIEW shops AS FROM read_json('{shops}')")
        for day in DAYS[3:7]:
            until = f"sold < '{day + timedelta(days=1)}'"
            own, back = f"sold >= '{day}' AND {until}", f"sold >= '{day - timedelta(days=3)}' AND {until}"
            query = shape.query.format(own=own, back=back)
            found += connection.execute(f"SELECT * FROM ({query}) WHERE day = '{day}'").fetchall()
    return [tuple(map(str, row)) for row in found]


def in_table(path: Path) -> list[tuple[Any, ...]]:
    table = DeltaTable(path).to_pyarrow_table()
    rows = (row.values() for row in table.to_pylist())
    return [tuple(str(value).removesuffix("+00:00") for value in row) for row in rows]


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_range_leaves_what_one_run_for_each_day_leaves(shape: Shape, spark: SparkSession, tmp_path: Path):
    sales, shops = write(tmp_path / "sales.json", ROWS), write(tmp_path / "shops.json", SHOPS)
    expected = sorted(one_run_for_each(shape, sales, shops))
    partitions = {"type": "daily", "start": "2024-01-01", "end": "2024-01-11", "column": "day", "lookback": 3}

    def loaded(name: str, *ranges: tuple[date, date]) -> list[tuple[Any, ...]]:
        sources = [
            extract("fromFiles", path=shops, format="json", registerAs="shops"),
            extract(
                "fromFiles",
                path=sales,
                format="json",
                schema="id INT, sold TIMESTAMP, shop STRING, amount INT",
                registerAs="sales",
            ),
        ]
        sink = load("toDeltaLake", path=str(tmp_path / name), mode="overwrite")
        pipeline = pipeline_of([*sources, *shape.steps, sink], partitions=partitions)
        assert pipeline.loads_ranges == shape.is_one_run
        for first, last in ranges:
            for partition in chosen_partitions(pipeline, str(first), str(last)):
                BatchRun(pipeline, spark, partition=partition).run()
        return sorted(in_table(tmp_path / name))

    assert loaded("range", (DAYS[3], DAYS[6])) == expected
    if shape.is_one_run:
        assert loaded("days", *((day, day) for day in DAYS[3:7])) == expected


def test_a_pipeline_loses_rows_to_a_partition_beside_which_it_may_not_be_and_none_to_one_beside_which_it_may(
    spark: SparkSession, tmp_path: Path
):
    rows = write(tmp_path / "rows.json", [{"id": n, "shop": shop} for n, shop in enumerate("abc")])
    read = extract("fromFiles", path=rows, format="json", schema="id INT, shop STRING")

    def by_shop(name: str, *keys: str) -> PipelineConfig:
        divided = {"type": "static", "keys": list(keys), "column": "shop"}
        return pipeline_of([read, load("toDeltaLake", path=table, mode="overwrite")], name=name, partitions=divided)

    def run(pipeline: PipelineConfig, key: str | None = None) -> None:
        [partition] = chosen_partitions(pipeline, key, key) if key is not None else [None]
        BatchRun(pipeline, spark, partition=partition).run()

    table = str(tmp_path / "out")
    first, beside, late = (
        by_shop("first", "a", "b"),
        by_shop("beside", "c"),
        pipeline_of([read, load("toDeltaLake", path=table)]),
    )
    assert [one.name for one in side_by_side([first, beside, late])[0]] == ["first", "beside"]
    for pipeline, key in ((first, "a"), (beside, "c"), (late, None), (first, "a")):
        run(pipeline, key)
    # Of shop a, the row that `late` had added is gone.
    assert sorted(in_table(tmp_path / "out")) == [("0", "a"), ("1", "b"), ("2", "c"), ("2", "c")]
