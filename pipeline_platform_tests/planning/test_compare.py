"""What a change does, as an engineer who knows the pipelines would say it; one change at a time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from pipeline_platform.planning.changes import ChangePlan
from pipeline_platform.planning.compare import compare
from pipeline_platform.planning.revisions import Revision
from pipeline_platform.planning.versions import load_version
from pipeline_platform.registry import method_registry
from pipeline_platform_tests.planning.project import PROJECT, Edit, Files, changed, load, pipeline, step, table, write

BREAKING, DATA, SAFE = "breaking", "changes data", "safe"
ORDERS = "id BIGINT, customer STRING, country STRING, amount INT, note STRING, day DATE"


@dataclass(frozen=True)
class Case:
    """A change, and what comes of it: (severity, pipeline, what) of every change, texts, and what is run again."""

    edit: Edit
    changes: set[tuple[str, str, str]]
    texts: tuple[str, ...] = ()
    again: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


def config(file: str, index: int, **keys: Any) -> Edit:
    return lambda files: files[file]["steps"][index]["config"].update(keys)


def keys(file: str, **values: Any) -> Edit:
    return lambda files: files[file].update(values)


def insert(file: str, index: int, new: dict[str, Any]) -> Edit:
    return lambda files: files[file]["steps"].insert(index, new)


def both(*edits: Edit) -> Edit:
    return lambda files: [edit(files) for edit in edits]


def named(file: str, index: int, name: str) -> Edit:
    return lambda files: files[file]["steps"][index].update(name=name)


BELOW_ORDERS = ("orders", "report", "big")
CASES = {
    "a column that is read downstream is renamed": Case(
        config("orders.json", 0, schema=ORDERS.replace("country", "land")),
        {
            (BREAKING, "orders", "column removed"),
            (DATA, "orders", "column added"),
            (BREAKING, "report", "pipeline broken"),
        },
        (
            "column 'country' (string) is gone; read by report, step 2 (sqlQuery 'revenue'), "
            "now/pipelines/report.json:14",
            "step 2 (sqlQuery 'revenue'): A column",
        ),
        ("orders",),
        ("big",),
    ),
    "a column that is read downstream is renamed, and its reader with it": Case(
        both(
            config("orders.json", 1, columns={"total": "amount * 2"}),
            config(
                "report.json",
                1,
                query="SELECT country, sum(total) AS revenue, count(*) AS orders FROM orders WHERE amount > 0 "
                "GROUP BY country",
            ),
        ),
        {(DATA, "orders", "column renamed"), (SAFE, "report", "step")},
        ("column 'gross' is now 'total'", "no table changes by it"),
        ("orders",),
    ),
    "a column that nobody reads is renamed": Case(
        config("orders.json", 0, schema=ORDERS.replace("note", "remark")),
        {(DATA, "orders", "column removed"), (DATA, "orders", "column added")},
        ("column 'note' (string) is gone, and no pipeline reads it",),
        ("orders",),
    ),
    "a new filter": Case(
        insert("orders.json", 1, step("transform", "filterRows", "large", condition="amount > 5")),
        {(DATA, "orders", "rows")},
        ("the rows of lake/orders change: step 2 (filterRows 'large') is new (condition: amount > 5)",),
        BELOW_ORDERS,
    ),
    "a filter removed": Case(
        lambda files: files["big.json"]["steps"].pop(1),
        {(DATA, "big", "rows")},
        ("step 2 (filterRows 'enough') is gone",),
        ("big",),
    ),
    "a wider type": Case(
        config("orders.json", 0, schema=ORDERS.replace("id BIGINT", "id DECIMAL(20,0)")),
        {(DATA, "orders", "column retyped")},
        ("column 'id': bigint → decimal(20,0), which holds every value of it",),
        ("orders",),
    ),
    "a narrower type of a column that is read": Case(
        config("orders.json", 0, schema=ORDERS.replace("amount INT", "amount SMALLINT")),
        # amount * 2 is an INT all the same.
        {(BREAKING, "orders", "column retyped"), (DATA, "orders", "values")},
        ("column 'amount': int → smallint, which does not hold every value of it; read by report, step 2",),
        BELOW_ORDERS,
    ),
    "a narrower type of a column that nobody reads": Case(
        config("orders.json", 0, schema=ORDERS.replace("id BIGINT", "id INT")),
        {(DATA, "orders", "column retyped")},
        ("column 'id': bigint → int, which does not hold",),
        ("orders",),
    ),
    "a number that becomes a text": Case(
        config("orders.json", 0, schema=ORDERS.replace("amount INT", "amount STRING")),
        {(BREAKING, "orders", "column retyped"), (DATA, "orders", "column retyped")},
        ("compared, sorted and computed with as text",),
        BELOW_ORDERS,
    ),
    "an expression": Case(
        config("orders.json", 1, columns={"gross": "amount * 3"}),
        {(DATA, "orders", "values")},
        ("values of 'gross' change: amount * 2 → amount * 3",),
        BELOW_ORDERS,
    ),
    "an added column": Case(
        config("orders.json", 1, columns={"gross": "amount * 2", "half": "amount / 2"}),
        {(DATA, "orders", "column added")},
        ("column 'half' (double) is new",),
        ("orders",),
    ),
    "an added column that the table does not take": Case(
        config("strict.json", 0, schema="id INT, name STRING, more INT"),
        {(DATA, "strict", "column added"), (BREAKING, "strict", "load refused")},
        ("the table at lake/strict has no column 'more'",),
        ("strict",),
    ),
    "another type that the table does not take": Case(
        config("strict.json", 0, schema="id STRING, name STRING"),
        {(DATA, "strict", "column retyped"), (BREAKING, "strict", "load refused")},
        ("the column 'id' is string, and the table at lake/strict has it as int",),
        ("strict",),
    ),
    "a removed column that is not read": Case(
        config("orders.json", 0, schema=ORDERS.replace(", note STRING", "")),
        {(DATA, "orders", "column removed")},
        (),
        ("orders",),
    ),
    "a removed column that SELECT * reads": Case(
        config("customers.json", 0, schema="id BIGINT, name STRING"),
        {
            (BREAKING, "customers", "column removed"),
            (BREAKING, "customers", "load refused"),
            (DATA, "people", "column removed"),
        },
        ("column 'city' (string) is gone; read by people, step 3 (toDeltaLake 'people')",),
        ("customers", "people"),
    ),
    "another key of a merge": Case(
        config("customers.json", 2, mergeKeys=["id", "name"]),
        {(DATA, "customers", "merge keys")},
        ('\'mergeKeys\': ["id"] → ["id", "name"]',),
        ("customers", "people"),
    ),
    "another aggregate of a stream": Case(
        config("visits.json", 1, aggregations={"visits": "count(*)", "slowest": "min(ms)"}),
        {(BREAKING, "visits", "checkpoint"), (DATA, "visits", "values")},
        (
            "visits adds to what is there: empty the table before it starts over",
            "the stream will refuse to start",
            "values of 'slowest' change: max(ms) → min(ms)",
        ),
        ("visits",),
    ),
    "another watermark of a stream": Case(
        config("visits.json", 1, watermark={"column": "at", "delay": "30 seconds"}),
        {(DATA, "visits", "rows"), (SAFE, "visits", "checkpoint")},
        ("the checkpoint still fits",),
        ("visits",),
    ),
    "another trigger of a stream": Case(
        config("visits.json", 2, trigger="1 minute"),
        {(SAFE, "visits", "checkpoint"), (SAFE, "visits", "written otherwise")},
    ),
    "a stream renamed": Case(
        keys("visits.json", name="clicks"),
        {(SAFE, "clicks", "pipeline renamed"), (BREAKING, "clicks", "checkpoint")},
        ("the checkpoint is looked for in checkpoints/clicks, and was in checkpoints/visits",),
    ),
    "the description": Case(keys("orders.json", description="All orders."), {(SAFE, "orders", "description")}),
    "owner and tags": Case(
        keys("orders.json", metadata={"owner": "a@example.com", "tags": ["b"]}), {(SAFE, "orders", "metadata")}
    ),
    "the schedule": Case(
        keys("orders.json", schedule="0 6 * * *"),
        {(SAFE, "orders", "schedule")},
        ("the schedule: none → 0 6 * * *",),
    ),
    "SQL written otherwise": Case(
        config(
            "report.json",
            1,
            query="select country,\n SUM( gross ) as revenue, count(*) AS orders -- all\nfrom orders where amount>0\n"
            "group by Country",
        ),
        {(SAFE, "report", "written otherwise")},
    ),
    "a step in between renamed": Case(
        named("orders.json", 1, "with_gross"),
        {(SAFE, "orders", "step renamed")},
        ("'priced' is now called 'with_gross'",),
    ),
    "a load renamed": Case(
        named("orders.json", 2, "all_orders"), {(SAFE, "orders", "asset renamed")}, ("history under the old name",)
    ),
    "a registered frame renamed": Case(
        both(
            config("report.json", 0, registerAs="o"),
            config(
                "report.json",
                1,
                query="SELECT country, sum(gross) AS revenue, count(*) AS orders FROM o WHERE amount > 0 "
                "GROUP BY country",
            ),
        ),
        {(SAFE, "report", "written otherwise")},
    ),
    "a pipeline renamed": Case(
        keys("orders.json", name="sales"),
        {(SAFE, "sales", "pipeline renamed")},
        ("Dagster keeps runs and assets under the old name",),
    ),
    "another path, and the old one is read": Case(
        config("orders.json", 2, path="lake/sales"),
        {(BREAKING, "orders", "sink moved")},
        ("lake/orders is not written any more, but stays; it is lake/sales now", "report, step 1"),
        ("orders",),
    ),
    "another path that nobody reads": Case(
        config("big.json", 2, path="lake/huge"), {(DATA, "big", "sink moved")}, (), ("big",)
    ),
    "append becomes overwrite": Case(
        config("strict.json", 1, mode="overwrite"),
        {(DATA, "strict", "load mode")},
        ("'mode': append → overwrite",),
        ("strict",),
    ),
    "the partitions begin later": Case(
        keys("daily.json", partitions={"type": "daily", "start": "2024-01-10", "end": "2024-02-01", "column": "day"}),
        {(DATA, "daily", "partitions")},
        ("earlier ones are gone",),
        ("daily",),
    ),
    "the partitions are months": Case(
        keys("daily.json", partitions={"type": "monthly", "start": "2024-01-01", "end": "2024-02-01", "column": "day"}),
        {(DATA, "daily", "partitions")},
        ("the partitions are monthly, and were daily",),
        ("daily",),
    ),
    "another column of incremental": Case(
        config("new_rows.json", 0, incremental={"cursorColumn": "changed"}),
        {(BREAKING, "new_rows", "cursor")},
        ("the cursor is of the column 'id', and now 'changed' is read",),
    ),
    "another lag of incremental": Case(
        config("new_rows.json", 0, incremental={"cursorColumn": "id", "lag": 5}), {(DATA, "new_rows", "cursor")}
    ),
    "a validation that takes rows out": Case(
        insert(
            "big.json",
            1,
            step("validate", "validateRanges", "is_small", ranges={"revenue": {"max": 9}}, onFailure="quarantine"),
        ),
        {(DATA, "big", "quarantine")},
        ("rows that break it are taken out from now on",),
        ("big",),
    ),
    "a validation that only warns": Case(
        config("customers.json", 1, onFailure="warn"),
        {(DATA, "customers", "validation")},
        ("'onFailure': fail → warn: rows that stopped the run are loaded from now on",),
    ),
    "the default of a variable": Case(
        keys("big.json", variables={"least": {"type": "integer", "default": 200}}),
        {(DATA, "big", "rows"), (SAFE, "big", "variable")},
        ("revenue > 100 → revenue > 200",),
        ("big",),
    ),
    "a variable that nothing uses": Case(
        keys("orders.json", variables={"unused": {"default": "b"}}), {(SAFE, "orders", "variable")}
    ),
    "a template of three pipelines": Case(
        config("templates/copy.json", 1, condition="x > 1"),
        {(DATA, name, "rows") for name in ("red", "green", "blue")},
        ("now/pipelines/templates/copy.json:",),
        ("blue", "green", "red"),
    ),
    "a pipeline removed that another reads": Case(
        lambda files: files.pop("orders.json"),
        {(BREAKING, "orders", "sink removed")},
        ("lake/orders is not written any more, but read by report, step 1 (fromDeltaLake 'orders_read')",),
    ),
    "a pipeline removed that nobody reads": Case(
        lambda files: files.pop("big.json"), {(DATA, "big", "sink removed")}, ("no pipeline reads it",)
    ),
    "a pipeline added": Case(
        lambda files: files.update({"extra.json": pipeline("extra", table("big"), load("extra"))}),
        {(SAFE, "extra", "pipeline added")},
        ("it writes lake/extra",),
        ("extra",),
    ),
    "a contract": Case(
        both(
            config("customers.json", 2, contract="contracts/customers.yaml"),
            lambda files: files.update(
                {
                    "contracts/customers.yaml": "apiVersion: v3.1.0\nkind: DataContract\nid: customers\n"
                    "version: 1.0.0\nstatus: active\nschema:\n  - name: customers\n    properties:\n"
                    "      - {name: id, logicalType: integer, required: true}\n"
                }
            ),
        ),
        {(DATA, "customers", "contract"), (SAFE, "customers", "written otherwise")},
        ("a run with a row that breaks it loads nothing from now on",),
    ),
    "a join in place of a table": Case(
        both(
            insert("report.json", 1, table("customers")),
            config(
                "report.json",
                2,
                query="SELECT country, sum(gross) AS revenue, count(*) AS orders FROM orders "
                "JOIN customers ON orders.customer = customers.name WHERE amount > 0 GROUP BY country",
            ),
        ),
        {(DATA, "report", "rows")},
        ("step 2 (fromDeltaLake 'customers_read') is new",),
        ("report", "big"),
    ),
    "a query that selects columns alone": Case(
        both(
            config("orders.json", 1, registerAs="priced"),
            insert(
                "orders.json",
                2,
                step("transform", "sqlQuery", "chosen", query="SELECT id, country, amount, gross AS total FROM priced"),
            ),
            config(
                "report.json",
                1,
                query="SELECT country, sum(total) AS revenue, count(*) AS orders FROM orders WHERE amount > 0 "
                "GROUP BY country",
            ),
        ),
        {(DATA, "orders", "column renamed"), (DATA, "orders", "column removed"), (SAFE, "report", "step")}
        | {(SAFE, "orders", "written otherwise")},
        ("column 'gross' is now 'total'", "column 'note' (string) is gone"),
        ("orders",),
    ),
    "two steps change places": Case(
        lambda files: files["moved.json"]["steps"].insert(1, files["moved.json"]["steps"].pop(2)),
        {(DATA, "moved", "rows")},
        ("step 3 (filterRows 'positive') is at another place",),
        ("moved",),
    ),
    "two steps change places, and nothing comes of it": Case(
        lambda files: files["moved.json"]["steps"].insert(4, files["moved.json"]["steps"].pop(5)),
        {(SAFE, "moved", "step")},
    ),
    "the order of columns that need each other": Case(
        config("bare.json", 1, columns={"y": "id + 1", "id": "id * 2"}),
        {(DATA, "bare", "values")},
        ('values of \'y\' change: step 2 (enrichData \'more\'): \'columns\': {"id": "id * 2", "y": "id + 1"} → {"y',),
        ("bare",),
    ),
    "the order of the columns of a file without a header": Case(
        config("bare.json", 0, schema="id INT, city STRING, country STRING"),
        {(DATA, "bare", "values")},
        ("values of 'city' change", "values of 'country' change"),
        ("bare",),
    ),
    "the name of a column spelled otherwise": Case(
        config("out.json", 0, schema="id INT, Country STRING"),
        {(DATA, "out", "column spelled")},
        ("column 'country' is spelled 'Country' now",),
        ("out",),
    ),
    "another format of files that are read": Case(
        config("out.json", 1, format="parquet"),
        {(BREAKING, "out", "load format")},
        ("'format': json → parquet, but it is read otherwise by back, step 1 (fromFiles 'out_read')",),
        ("out", "back"),
    ),
    "another kind of table at the same place": Case(
        lambda files: files["out.json"]["steps"].__setitem__(1, load("out")),
        {(BREAKING, "out", "sink moved")},
        ("lake/out is written by toDeltaLake now, and was by toFiles, of which the data stays there",),
        ("out",),
    ),
    "a stream that ends by itself": Case(
        config("visits.json", 2, trigger="availableNow"),
        {(DATA, "visits", "trigger"), (SAFE, "visits", "checkpoint")},
        ("Dagster does not keep it running any more, and it runs only when someone starts it",),
    ),
    "a variable removed": Case(
        lambda files: files["orders.json"].pop("variables"),
        {(DATA, "orders", "variable")},
        ("the variable 'unused' is gone: a run that is given one is refused",),
    ),
    "how the files of a table are laid out": Case(
        config("orders.json", 2, partitionBy=["country"]), {(DATA, "orders", "load")}, (), ("orders",)
    ),
    "a source that nobody knows": Case(
        config("unknown.json", 1, columns={"a": "b + 2"}),
        {(DATA, "unknown", "step")},
        ("which ones can't be told",),
        ("unknown",),
        ("unknown",),
    ),
    "where bad rows are kept": Case(
        config("moved.json", 3, quarantinePath="lake/bad"), {(SAFE, "moved", "validation")}
    ),
    "how many partitions Spark makes": Case(
        insert("orders.json", 2, step("transform", "repartition", "spread", numPartitions=8)),
        {(SAFE, "orders", "step")},
        ("no table changes by it",),
    ),
}

FROM_TWO = "SELECT o.id, {} AS told FROM orders o LEFT JOIN customers c ON o.customer = c.name"


@dataclass(frozen=True)
class Rewrite:
    """A query in place of another one in report, and what comes of it there."""

    before: str
    now: str
    changes: set[tuple[str, str]]


VALUES, ROWS = {(DATA, "values")}, {(DATA, "rows")}
WRITTEN = {(SAFE, "written otherwise")}
REWRITES = {
    "a window that has a name": Rewrite(
        "SELECT id, rank() OVER w AS told FROM orders WINDOW w AS (ORDER BY amount)",
        "SELECT id, rank() OVER w AS told FROM orders WINDOW w AS (ORDER BY gross)",
        ROWS,
    ),
    "the same column of another table": Rewrite(FROM_TWO.format("o.id"), FROM_TWO.format("c.id"), VALUES),
    "the same column of the other one of two rows": Rewrite(
        "SELECT a.id, a.note AS told FROM orders a JOIN orders b ON a.id = b.amount",
        "SELECT a.id, b.note AS told FROM orders a JOIN orders b ON a.id = b.amount",
        ROWS,
    ),
    "a sample": Rewrite("SELECT id FROM orders", "SELECT id FROM orders TABLESAMPLE (10 PERCENT)", ROWS),
    "what a pivot computes": Rewrite(
        "SELECT * FROM orders PIVOT (max(gross) FOR country IN ('DE', 'FR'))",
        "SELECT * FROM orders PIVOT (min(gross) FOR country IN ('DE', 'FR'))",
        VALUES | ROWS,
    ),
    "columns of a table that are named": Rewrite(
        "SELECT b FROM orders AS o(a, b, c, d, e, f, g)",
        "SELECT b FROM orders AS o(a, c, b, d, e, f, g)",
        VALUES | ROWS,
    ),
    "another aggregate that sqlglot takes for the same": Rewrite(
        "SELECT country, percentile_cont(0.5) WITHIN GROUP (ORDER BY amount) AS told FROM orders GROUP BY country",
        "SELECT country, percentile_cont(0.5) WITHIN GROUP (ORDER BY amount DESC) AS told FROM orders GROUP BY country",
        VALUES,
    ),
    "another format": Rewrite(
        "SELECT date_format(day, 'yyyy') AS told FROM orders",
        "SELECT date_format(day, 'YYYY') AS told FROM orders",
        VALUES,
    ),
    "a format of a number": Rewrite(
        "SELECT to_char(amount, '999') AS told FROM orders", "SELECT to_char(amount, '000') AS told FROM orders", VALUES
    ),
    "the name of a field": Rewrite(
        "SELECT to_json(named_struct('A', id)) AS told FROM orders",
        "SELECT to_json(named_struct('a', id)) AS told FROM orders",
        VALUES,
    ),
    "the case of the name of a field": Rewrite(
        "SELECT to_json(struct(id, amount AS a)) AS told FROM orders",
        "SELECT to_json(struct(ID, amount AS a)) AS told FROM orders",
        VALUES,
    ),
    "how often a value counts": Rewrite(
        "SELECT country, percentile(amount, 0.5, id) AS told FROM orders GROUP BY country",
        "SELECT country, percentile(amount, 0.5) AS told FROM orders GROUP BY country",
        VALUES,
    ),
    "a column that the next one is computed of": Rewrite(
        "SELECT amount * 2 AS revenue, revenue + 1 AS told FROM orders",
        "SELECT amount * 3 AS revenue, revenue + 1 AS told FROM orders",
        VALUES,
    ),
    "another aggregate of another type": Rewrite(
        "SELECT country, sum(amount) AS told FROM orders GROUP BY country",
        "SELECT country, max(amount) AS told FROM orders GROUP BY country",
        VALUES | {(DATA, "column retyped")},
    ),
    "a pivot that is gone": Rewrite(
        "SELECT * FROM (SELECT country, amount FROM orders) PIVOT (max(amount) FOR country IN ('DE'))",
        "SELECT amount AS total FROM orders",
        ROWS | {(DATA, "column added"), (DATA, "column removed")},
    ),
    "another layout": Rewrite(
        "select id, cast(amount as int) as told, s.x from (select struct(id as x) s, id, amount from orders) "
        "where amount>0 group  by all",
        "SELECT /*+ COALESCE(2) */ id, -- which\n CAST(`amount` AS INT) AS told, S.x "
        "FROM (SELECT STRUCT(ID AS x) s, id, amount FROM orders) WHERE amount > 0 GROUP BY ALL;",
        WRITTEN,
    ),
}


def plan_of(edit: Edit, before: Files = PROJECT) -> ChangePlan:
    methods = method_registry()
    versions = [
        load_version(Revision(write(Path(name) / "pipelines", files), name), methods, may_be_empty=False)
        for name, files in (("before", before), ("now", changed(edit, before)))
    ]
    return compare(versions[0], versions[1], methods)


@pytest.mark.parametrize("name", CASES)
def test_a_change_is_told_as_an_engineer_would_tell_it(
    name: str, spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    case = CASES[name]
    plan = plan_of(case.edit)
    told = "\n".join(f"{one.severity.word} {one.text} {one.place}" for one in plan.changes)
    told += "\n".join(one.why for one in plan.reruns)
    assert {(one.severity.word, one.pipeline, one.what) for one in plan.changes} == case.changes, told
    for text in case.texts:
        assert text in told
    assert tuple(one.pipeline for one in plan.reruns) == case.again
    assert tuple(plan.unknown) == case.unknown
    assert not (tmp_path / "lake").exists()


@pytest.mark.parametrize("name", REWRITES)
def test_another_query_is_the_same_only_where_that_is_certain(
    name: str, spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rewrite = REWRITES[name]
    files = {key: PROJECT[key] for key in ("orders.json", "customers.json")}
    two = {
        "report.json": pipeline(
            "report",
            table("orders"),
            table("customers"),
            step("transform", "sqlQuery", "told", query=rewrite.before),
            load("report", overwriteSchema=True),
        )
    }
    plan = plan_of(config("report.json", 2, query=rewrite.now), {**files, **two})
    told = "\n".join(f"{one.severity.word} {one.text}" for one in plan.changes)
    assert {(one.severity.word, one.what) for one in plan.changes} == rewrite.changes, told
    assert plan.unknown == {}
    assert "is not supported" not in capfd.readouterr().err
