"""Which pipelines load a range of partitions in one run: those for which that leaves what one run for each would."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline_platform.cli import app
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform_tests.config.reading import Json, extract, load, pipeline, read, transform, validate

OWN = "day >= '${partition:start}' AND day < '${partition:end}'"
BACK = "day >= DATE '${partition:start}' - INTERVAL 6 DAYS AND day < '${partition:end}'"
SOURCE = extract(path="in", format="parquet", registerAs="rows")
OTHER = extract(path="shops", format="parquet", registerAs="shops")
TABLE = load(path="out", mode="overwrite")


def ranged(*steps: Json, **partitions: Any) -> PipelineConfig:
    return read(pipeline(*steps, partitions={"type": "daily", "start": "2024-01-01", "column": "day", **partitions}))


def where(condition: str = OWN, **config: Any) -> Json:
    return transform("filterRows", condition=condition, **config)


def query(text: str, **config: Any) -> Json:
    text = text.replace("OWN", OWN).replace("BACK", BACK)
    return transform("sqlQuery", query=text, **config)


def totals(*groups: str, **config: Any) -> Json:
    return transform("aggregateData", groupBy=list(groups), aggregations={"total": "sum(amount)"}, **config)


def enriched(**columns: str) -> Json:
    return transform("enrichData", columns=columns)


def joined(condition: str, kind: str = "inner", *, first: str = "own", second: str = "shops") -> Json:
    frames = {"inputDataFrames": [first, second], "joinType": kind}
    return transform("joinDataFrames", joinConditions=[condition], **frames)


OWN_ROWS = where(registerAs="own")
OTHER_ROWS = where(input="shops", registerAs="others")

ONE_RUN: dict[str, tuple[Json, ...]] = {
    "a filter": (where(),),
    "nothing chosen": (totals("shop"), enriched(day="current_date()")),
    "the same in every run": (query("SELECT max(day) AS day, shop FROM rows GROUP BY shop LIMIT 5"),),
    "an aggregate, and the filter after it": (totals("day", "shop"), where()),
    "groups of a day": (where(), totals("day", "shop")),
    "in another case": (where(), totals("DAY")),
    "after rows before it": (where(BACK), totals("shop", "day")),
    "columns of each row": (where(), enriched(double="amount * 2", month="trunc(day, 'MM')", n="coalesce(x, 1)")),
    "days of a time": (where(OWN.replace("day", "at")), enriched(day="CAST(at AS DATE)"), totals("day")),
    "days made before": (enriched(day="to_date(at)"), where(OWN.replace("day", "at")), totals("day", "shop")),
    "a range of times that is named otherwise": (enriched(at="day"), where(OWN.replace("day", "at")), totals("day")),
    "duplicates of a day": (where(), transform("deduplicate", columns=["shop", "day"], orderBy="amount DESC")),
    "a window of a day": (where(), enriched(rank="rank() OVER (PARTITION BY day ORDER BY amount)")),
    "partitions of Spark": (where(), transform("coalesce", numPartitions=1), transform("repartition", numPartitions=2)),
    "one row of several columns": (
        where(),
        transform("reshapeData", operation="unpivot", valueCols=["a", "b"], variableColName="k", valueColName="v"),
    ),
    "a pivot of a day": (
        where(),
        transform(
            "reshapeData", operation="pivot", groupByColumns=["day"], pivotColumn="shop", pivotValues=["north", "south"]
        ),
    ),
    "a join with what is always the same": (OTHER, where(input="rows", registerAs="own"), joined("own.s = shops.s")),
    "a left join with it": (
        OTHER,
        where(input="rows", registerAs="own"),
        joined("own.s = shops.s", "left"),
        totals("day"),
    ),
    "a join by the day": (
        OTHER,
        where(input="rows", registerAs="own"),
        OTHER_ROWS,
        joined("own.s = others.s AND own.day = others.day", "full", second="others"),
    ),
    "a join column": (
        OTHER,
        where(input="rows", registerAs="own"),
        OTHER_ROWS,
        transform("joinDataFrames", inputDataFrames=["own", "others"], joinColumn=["day", "s"], joinType="left"),
    ),
    "a union": (
        OTHER,
        where(input="rows", registerAs="own"),
        OTHER_ROWS,
        transform("unionDataFrames", inputDataFrames=["own", "others"], distinct=True),
        totals("day"),
    ),
    "a query of rows": (query("SELECT day, amount * 2 AS double FROM rows WHERE OWN ORDER BY amount"),),
    "a query of a day": (
        query("SELECT day, shop, sum(amount) AS total FROM rows AS r WHERE OWN GROUP BY r.day, shop"),
    ),
    "by its place": (query("SELECT day, max(amount) AS top FROM rows WHERE OWN GROUP BY 1 HAVING max(amount) > 0"),),
    "by its name": (
        query("SELECT CAST(at AS DATE) AS day, count(*) AS n FROM rows WHERE at >= '${partition:start}' GROUP BY day"),
    ),
    "all columns": (query("SELECT *, x + 1 AS y FROM rows WHERE OWN"), totals("day")),
    "distinct rows": (query("SELECT DISTINCT day, shop FROM rows WHERE OWN"),),
    "a common table expression": (
        query(
            "WITH own AS (SELECT * FROM rows WHERE OWN), t AS (SELECT day, sum(x) AS x FROM own GROUP BY day) "
            "SELECT * FROM t"
        ),
    ),
    "a subquery": (
        query("SELECT day, n FROM (SELECT day, count(*) AS n FROM rows WHERE OWN GROUP BY day) AS t WHERE n > 1"),
    ),
    "a join in a query": (
        OTHER,
        query(
            "SELECT r.day, s.city, sum(r.x) AS x FROM rows r LEFT JOIN shops s ON r.s = s.s "
            "WHERE r.day >= '${partition:start}' GROUP BY r.day, s.city"
        ),
    ),
    "what another table has": (OTHER, query("SELECT * FROM rows WHERE OWN AND shop IN (SELECT shop FROM shops)")),
    "a moving average": (
        query(
            "SELECT day, avg(total) OVER (ORDER BY day RANGE BETWEEN INTERVAL 6 DAYS PRECEDING AND CURRENT ROW) "
            "AS average FROM (SELECT day, sum(amount) AS total FROM rows WHERE BACK GROUP BY day)"
        ),
    ),
    "a condition on a wider range": (
        where("day BETWEEN date_sub('${partition:start}', 6) AND to_date('${partition:end}')"),
    ),
    "the last day of the range": (where("CAST(day AS DATE) <= date_sub('${partition:end}', 1)"),),
    "the day before the first one left out": (where("day > date_sub('${partition:start}', 1)"),),
    "a validation of each row": (where(), validate("validateNulls", notNullColumns=["x"], onFailure="quarantine")),
    "a validation that only warns": (where(), validate("validateRowCount", min=1, onFailure="warn")),
    "a validation of the columns": (
        where(),
        validate("validateSchema", expectedColumns=[{"name": "x", "type": "int"}]),
    ),
    "unique rows": (where(), validate("validateUnique", columns=["id"])),
    "rows unique in a day": (where(), validate("validateUnique", columns=["id", "day"], onFailure="quarantine")),
}


@pytest.mark.parametrize("steps", ONE_RUN.values(), ids=ONE_RUN)
def test_a_range_is_one_run_where_no_step_brings_partitions_together(steps: tuple[Json, ...]):
    found = ranged(SOURCE, *steps, TABLE)
    assert found.single_partitions is None
    assert found.loads_ranges


APART: dict[str, tuple[str, tuple[Json, ...]]] = {
    "an aggregate without the day": ("step 3 (aggregateData) groups by shop, and not by", (where(), totals("shop"))),
    "an aggregate of all": ("makes one row of all", (where(), totals())),
    "a coarser group": ("groups by month", (where(), enriched(month="trunc(day, 'MM')"), totals("month"))),
    "a year": ("groups by year", (where(), enriched(year="year(day)"), totals("year"))),
    "another column of the same name": ("groups by day", (where(), enriched(day="current_date()"), totals("day"))),
    "an unknown day": ("loads 'day'", (where(), enriched(day="date_sub(day, 1)"))),
    "the day lost": ("loads 'day'", (where(), totals("day"), enriched(day="max_day"))),
    "other rows chosen": ("loads 'day'", (where(OWN.replace("day", "loaded_at")),)),
    "two columns": ("compares another column", (where("day >= '${partition:start}' AND at < '${partition:end}'"),)),
    "two filters": ("compares another column", (where(), where(OWN.replace("day", "at")))),
    "duplicates of all days": (
        "keeps one row of those equal in shop",
        (where(), transform("deduplicate", columns=["shop"])),
    ),
    "a window without the day": ("has a window function", (where(), enriched(n="row_number() OVER (ORDER BY x)"))),
    "a window of a shop": (
        "has a window function",
        (where(), enriched(n="sum(x) OVER (PARTITION BY shop ORDER BY day)")),
    ),
    "a pivot": (
        "groups by shop",
        (
            where(),
            transform("reshapeData", operation="pivot", groupByColumns=["shop"], pivotColumn="k", pivotValues=["a"]),
        ),
    ),
    "a pivot of what is there": (
        "makes a column of each value",
        (where(), transform("reshapeData", operation="pivot", groupByColumns=["day"], pivotColumn="shop")),
    ),
    "a schema of the frame": ("is not known", (where(), transform("toAvroSchema"))),
    "a join of two chosen ones": (
        "joins rows that the partition chose on both sides",
        (OTHER, where(input="rows", registerAs="own"), OTHER_ROWS, joined("own.s = others.s", second="others")),
    ),
    "a join of a frame with itself": (
        "joins rows that the partition chose on both sides",
        (
            where(registerAs="own"),
            where(input="rows", registerAs="others"),
            joined("own.s = others.s", second="others"),
        ),
    ),
    "rows that are in what was chosen": (
        "joins rows that the partition chose on both sides",
        (OTHER, where(input="rows", registerAs="own"), joined("shops.s = own.s", "anti", first="shops", second="own")),
    ),
    "the day of a side that may be missing": (
        "keeps one row of those equal in other_day",
        (
            OTHER,
            where(input="rows", registerAs="own"),
            where(input="shops", registerAs="others"),
            query(
                "SELECT own.day, others.day AS other_day FROM own LEFT JOIN others ON own.day = others.day "
                "AND own.s = others.s"
            ),
            transform("deduplicate", columns=["other_day"]),
        ),
    ),
    "a full join in a query": (
        "has a full join",
        (
            OTHER,
            where(input="rows", registerAs="own"),
            OTHER_ROWS,
            query("SELECT own.day FROM own FULL JOIN others ON own.day = others.day"),
        ),
    ),
    "a union with what has another column": (
        "keeps one row of those equal in at",
        (
            OTHER,
            where(input="rows", registerAs="own"),
            query("SELECT day, day AS at FROM own", registerAs="twice"),
            transform("unionDataFrames", inputDataFrames=["twice", "shops"]),
            transform("deduplicate", columns=["at"]),
        ),
    ),
    "chosen by HAVING, after a window": (
        "has a window function",
        (query("SELECT day, x, sum(x) OVER () AS total FROM rows GROUP BY day, x HAVING day >= '${partition:start}'"),),
    ),
    "the day of the other side": (
        "loads 'day'",
        (
            OTHER,
            where(OWN.replace("day", "at"), input="rows", registerAs="own"),
            query("SELECT own.*, shops.opened AS day FROM own JOIN shops ON own.s = shops.s"),
        ),
    ),
    "a union of other columns": (
        "loads 'day'",
        (
            OTHER,
            where(input="rows", registerAs="own"),
            where(OWN.replace("day", "at"), input="shops", registerAs="others"),
            transform("unionDataFrames", inputDataFrames=["own", "others"]),
        ),
    ),
    "a query without the day": (
        "groups by shop, and not by",
        (query("SELECT max(day) AS day, sum(amount) AS total FROM rows WHERE OWN GROUP BY shop"),),
    ),
    "a query of all": (
        "makes one row of all rows",
        (query("SELECT max(day) AS day, sum(amount) AS total FROM rows WHERE BACK"),),
    ),
    "a limit": ("has a LIMIT", (query("SELECT * FROM rows WHERE OWN ORDER BY amount DESC LIMIT 1"),)),
    "a limit on what was chosen": ("has a LIMIT", (where(registerAs="own"), query("SELECT * FROM own LIMIT 1"))),
    "an offset": ("has a LIMIT", (query("SELECT * FROM rows WHERE OWN OFFSET 1"),)),
    "a sample": (
        "reads something else",
        (where(registerAs="own"), query("SELECT * FROM own TABLESAMPLE (10 PERCENT)")),
    ),
    "a QUALIFY": (
        "has a clause (qualify)",
        (query("SELECT * FROM rows WHERE OWN QUALIFY row_number() OVER (PARTITION BY shop ORDER BY x) = 1"),),
    ),
    "distinct without the day": (
        "has a DISTINCT",
        (query("SELECT DISTINCT shop, current_date() AS day FROM rows WHERE OWN"),),
    ),
    "rolled up": (
        "groups by ROLLUP (day, shop)",
        (query("SELECT day, sum(x) AS x FROM rows WHERE OWN GROUP BY ROLLUP (day, shop)"),),
    ),
    "an empty set": (
        "groups by GROUPING SETS",
        (
            query(
                "SELECT coalesce(day, DATE '2024-01-01') AS day, sum(x) AS x FROM rows WHERE OWN "
                "GROUP BY GROUPING SETS ((day), ())"
            ),
        ),
    ),
    "rolled up in another spelling": (
        "groups by several sets",
        (query("SELECT day, sum(x) AS x FROM rows WHERE OWN GROUP BY day, shop WITH ROLLUP"),),
    ),
    "rows made of rows": (
        "has a clause",
        (query("SELECT day, item FROM rows LATERAL VIEW explode(items) AS item WHERE OWN"),),
    ),
    "two queries": (
        "combines the rows",
        (where(registerAs="own"), query("SELECT * FROM own EXCEPT SELECT * FROM own")),
    ),
    "what the partition has": (
        "has a subquery",
        (where(registerAs="own"), query("SELECT * FROM own WHERE amount = (SELECT max(amount) FROM own)")),
    ),
    "a window in a query": (
        "has a window function",
        (
            query(
                "SELECT day, avg(x) OVER (ORDER BY day ROWS BETWEEN 6 PRECEDING AND CURRENT ROW) AS x "
                "FROM rows WHERE BACK"
            ),
        ),
    ),
    "a window that begins before what is read": (
        "has a window function",
        (
            query(
                "SELECT day, sum(x) OVER (ORDER BY day RANGE BETWEEN INTERVAL 7 DAYS PRECEDING AND CURRENT ROW) AS x "
                "FROM rows WHERE BACK"
            ),
        ),
    ),
    "a window that ends after its row": (
        "has a window function",
        (
            query(
                "SELECT day, sum(x) OVER (ORDER BY day RANGE BETWEEN CURRENT ROW AND INTERVAL 1 DAY FOLLOWING) AS x "
                "FROM rows WHERE BACK"
            ),
        ),
    ),
    "two windows, one upon the other": (
        "has a window function",
        (
            query(
                "SELECT day, sum(x) OVER (ORDER BY day RANGE BETWEEN INTERVAL 6 DAYS PRECEDING AND CURRENT ROW) AS x "
                "FROM (SELECT day, sum(x) OVER (ORDER BY day RANGE BETWEEN INTERVAL 6 DAYS PRECEDING AND CURRENT ROW) "
                "AS x FROM rows WHERE BACK)"
            ),
        ),
    ),
    "a time of the day": ("has the condition", (where("day >= '${partition:start} 12:00'"),)),
    "the first moment left out": (
        "has the condition day > '${partition:start}'",
        (where("day > '${partition:start}'"),),
    ),
    "the last day, of a time": ("has the condition", (where("day <= date_sub('${partition:end}', 1)"),)),
    "a day after the first one": ("has the condition", (where("day >= date_add('${partition:start}', 1)"),)),
    "a month on, and back": (
        "has the condition",
        (where("day >= date_add(add_months('${partition:start}', 1), -29)"),),
    ),
    "a count of days": ("has the condition", (where("datediff(day, '${partition:start}') < 7"),)),
    "a row count": ("counts the rows of each partition", (where(), validate("validateRowCount", min=1))),
    "a share of wrong rows": (
        "tolerates some rows",
        (where(), validate("validateNulls", notNullColumns=["x"], tolerance=0.1)),
    ),
    "unique rows that are taken out": (
        "takes out rows that are equal in id",
        (validate("validateUnique", columns=["id"], onFailure="quarantine"), where()),
    ),
    "a rule over other rows": (
        "has a window function",
        (validate("validateBusinessRules", rules=["x < 2 * avg(x) OVER ()"], onFailure="quarantine"),),
    ),
    "a reference to what was chosen": (
        "looks for a value",
        (
            OTHER,
            where(registerAs="own"),
            validate(
                "validateReferentialIntegrity",
                input="rows",
                foreignKey="s",
                referencedDataFrame="own",
                referencedColumn="s",
            ),
        ),
    ),
}


@pytest.mark.parametrize(("reason", "steps"), APART.values(), ids=APART)
def test_each_partition_is_a_run_where_a_step_may_bring_partitions_together(reason: str, steps: tuple[Json, ...]):
    found = ranged(SOURCE, *steps, TABLE)
    assert not found.loads_ranges
    assert reason in str(found.single_partitions)


@pytest.mark.parametrize(
    ("is_one_run", "config"),
    [
        (True, {"mode": "merge", "mergeKeys": ["id", "day"]}),
        (False, {"mode": "merge", "mergeKeys": ["id"]}),
        (True, {"mode": "applyChanges", "changes": {"keys": ["id"], "sequenceBy": "at"}}),
    ],
)
def test_a_range_is_merged_at_once_where_no_row_is_of_two_partitions(is_one_run: bool, config: Json):
    assert ranged(SOURCE, where(), load(path="out", **config)).loads_ranges == is_one_run


@pytest.mark.parametrize(
    ("is_one_run", "kind", "zone", "groups"),
    [
        (True, "hourly", "UTC", "date_trunc('hour', at)"),
        (True, "hourly", "Europe/Berlin", "at"),
        (False, "hourly", "UTC", "CAST(at AS DATE)"),
        (True, "daily", "UTC", "date_trunc('HOUR', at)"),
        (True, "daily", "UTC", "CAST(at AS DATE)"),
        (False, "daily", "UTC", "date_trunc('week', at)"),
        # A day in UTC has hours of two days in Berlin.
        (False, "daily", "Europe/Berlin", "CAST(at AS DATE)"),
        (True, "weekly", "UTC", "date_trunc('week', at)"),
        (False, "weekly", "UTC", "trunc(at, 'MM')"),
        (True, "monthly", "UTC", "CAST(trunc(at, 'MM') AS DATE)"),
        (True, "monthly", "UTC", "to_date(at)"),
        (False, "monthly", "UTC", "date_trunc('week', at)"),
        (False, "monthly", "UTC", "date_trunc('quarter', at)"),
    ],
)
def test_a_group_is_of_one_partition_if_it_is_no_longer(is_one_run: bool, kind: str, zone: str, groups: str):
    steps = (where(OWN.replace("day", "at")), enriched(of=groups), totals("of"), enriched(at="of"))
    found = ranged(SOURCE, *steps, TABLE, type=kind, timezone=zone, column="at")
    assert found.loads_ranges == is_one_run


def test_a_week_that_begins_on_another_day_is_no_week_of_the_calendar():
    steps = (where(OWN.replace("day", "at")), enriched(of="date_trunc('week', at)"), totals("of"), enriched(at="of"))
    assert not ranged(SOURCE, *steps, TABLE, type="weekly", start="2024-01-03", column="at").loads_ranges


@pytest.mark.parametrize(
    ("is_one_run", "query"),
    [
        (True, "SELECT created::date AS day, amount FROM sales WHERE created >= '${partition:start}'"),
        (
            True,
            "SELECT day, sum(x) AS x FROM s WHERE day >= '${partition:start}'::date - interval '6 days' GROUP BY day",
        ),
        (True, "SELECT o.day, c.city FROM sales.o JOIN c ON c.id = o.id WHERE o.day >= '${partition:start}'"),
        (False, "SELECT max(day) AS day, shop FROM sales WHERE day >= '${partition:start}' GROUP BY shop"),
        (False, "SELECT DISTINCT ON (shop) day, shop FROM sales WHERE day >= '${partition:start}'"),
        (False, "SELECT * FROM sales WHERE day >= '${partition:start}' ORDER BY day FETCH FIRST 5 ROWS ONLY"),
        (False, "SELECT day FROM sales WHERE updated >= '${partition:start}'"),
    ],
)
def test_the_query_of_a_database_is_looked_into(is_one_run: bool, query: str):
    source = extract("fromPostgres", credentialPath="secret/shop", query=query)
    assert ranged(source, TABLE).loads_ranges == is_one_run


def test_a_source_that_remembers_where_it_has_come_is_asked_for_each_partition():
    source = extract("fromDeltaLake", path="in", incremental={"cursorColumn": "at"})
    merge = load(path="out", mode="merge", mergeKeys=["id", "day"])
    assert "remembers for each partition" in str(ranged(source, where(), merge).single_partitions)


def test_the_type_of_a_column_says_whether_the_day_before_the_end_is_the_last_one():
    condition = where("day BETWEEN '${partition:start}' AND date_sub('${partition:end}', 1)")
    for kind, is_one_run in (("DATE", True), ("TIMESTAMP", False)):
        source = extract(path="in", format="json", schema=f"id INT, day {kind}")
        assert ranged(source, condition, TABLE).loads_ranges == is_one_run


def test_the_command_line_says_which_step_needs_one_run_for_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    steps = {
        "sums": [SOURCE, where(), totals("shop"), TABLE],
        "rows": [SOURCE, where(), load(path="rows", mode="overwrite")],
    }
    days = {"type": "daily", "start": "2024-01-01", "end": "2024-02-01", "column": "day"}
    for name, its in steps.items():
        (tmp_path / f"{name}.json").write_text(json.dumps({**pipeline(*its, partitions=days), "name": name}))
    listed = json.loads(CliRunner().invoke(app, ["list", "--json", str(tmp_path)]).stdout)
    why = "step 3 (aggregateData) groups by shop, and not by the column of the partitions"
    assert {row["name"]: (row["range_is_one_run"], row["range_note"]) for row in listed} == {
        "rows": (True, None),
        "sums": (False, why),
    }
    monkeypatch.setattr(import_module("pipeline_platform.cli.run"), "_run", lambda *_, **__: (0, None))
    january = ["--from", "2024-01-01", "--to", "2024-01-31"]
    said = {name: CliRunner().invoke(app, ["run", str(tmp_path / f"{name}.json"), *january]) for name in steps}
    assert f"sums: each of the 31 partitions is a run of its own, as {why}" in said["sums"].output
    assert (said["rows"].output, said["rows"].exit_code) == ("", 0)
