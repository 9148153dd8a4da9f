"""Where two tables differ, held against DuckDB."""

from __future__ import annotations

import json
import random
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from pyspark.sql import SparkSession
from typer.testing import CliRunner

from pipeline_platform.cli import app
from pipeline_platform.engine.table_difference import table_difference
from pipeline_platform.exceptions import PipelineConfigurationException

COLUMNS = "id BIGINT, part VARCHAR, name VARCHAR, x DOUBLE, amount DECIMAL(9,2)"
ROWS = 600


def _rows(chance: random.Random) -> list[tuple[Any, ...]]:
    """Rows of which some have no key, and some the key of another one."""
    rows: list[tuple[Any, ...]] = []
    for number in range(ROWS):
        key = None if number == 0 else number if chance.random() > 0.03 else number - 1
        name = chance.choice(["a", "b", None])
        x = chance.choice([1.5, float("nan"), -0.0, 0.0, None])
        rows.append((key, chance.choice(["p", None]), name, x, Decimal(chance.randrange(3)) / 4))
    return rows


def _changed(rows: list[tuple[Any, ...]], chance: random.Random) -> list[tuple[Any, ...]]:
    """The same rows, of which some are gone, some there twice, and some others."""
    found: list[tuple[Any, ...]] = []
    for row in rows:
        fate = chance.random()
        if fate < 0.1:
            continue
        if fate < 0.2:
            row = (*row[:2], "c", *row[3:])
        elif fate < 0.3:
            row = (*row[:3], chance.choice([0.0, float("nan"), None]), row[4])
        found += [row, row] if fate > 0.97 else [row]
    return [*found, *((number, "p", "new", 1.0, Decimal(1)) for number in range(ROWS, ROWS + 20))]


def _expected(before: list[tuple[Any, ...]], after: list[tuple[Any, ...]]) -> dict[str, int]:
    """The counts by DuckDB, for the key id and part."""
    duck = duckdb.connect()
    for name, rows in (("b", before), ("a", after)):
        duck.execute(f"CREATE TABLE {name} ({COLUMNS})")
        duck.executemany(f"INSERT INTO {name} VALUES (?, ?, ?, ?, ?)", rows)
    once = "SELECT * FROM {0} QUALIFY count(*) OVER (PARTITION BY id, part) = 1"
    twice = "SELECT id, part FROM {0} GROUP BY ALL HAVING count(*) > 1"
    duck.execute(f"CREATE VIEW twice AS {twice.format('b')} UNION {twice.format('a')}")
    for name in ("b", "a"):
        duck.execute(
            f"CREATE VIEW {name}1 AS SELECT * FROM ({once.format(name)}) o WHERE NOT EXISTS "
            "(FROM twice t WHERE t.id IS NOT DISTINCT FROM o.id AND t.part IS NOT DISTINCT FROM o.part)"
        )
    for name in ("b", "a"):
        duck.execute(f"CREATE TABLE {name}2 AS SELECT row_number() OVER () AS number, * FROM {name}1")
    joined = "b2 FULL JOIN a2 ON b2.id IS NOT DISTINCT FROM a2.id AND b2.part IS NOT DISTINCT FROM a2.part"
    is_both = "b2.number IS NOT NULL AND a2.number IS NOT NULL"
    differs = [f"b2.{name} IS DISTINCT FROM a2.{name}" for name in ("name", "x", "amount")]
    counts = {
        "same": f"{is_both} AND NOT ({' OR '.join(differs)})",
        "changed": f"{is_both} AND ({' OR '.join(differs)})",
        "only_before": "a2.number IS NULL",
        "only_after": "b2.number IS NULL",
        **{name: f"{is_both} AND {text}" for name, text in zip(("name", "x", "amount"), differs, strict=True)},
    }
    select = ", ".join(f"count(*) FILTER ({condition})" for condition in counts.values())
    found = duck.execute(f"SELECT {select} FROM {joined}").fetchone()
    assert found is not None
    repeated = {
        f"repeated_{side}": len(duck.execute(twice.format(name)).fetchall())
        for side, name in (("before", "b"), ("after", "a"))
    }
    whole = duck.execute("SELECT count(*) FROM (FROM b INTERSECT ALL FROM a)").fetchone()
    assert whole is not None
    return {**dict(zip(counts, found, strict=True)), **repeated, "whole": whole[0]}


def test_rows_are_told_apart_as_duckdb_does_it_by_a_key_and_as_a_whole(spark: SparkSession) -> None:
    chance = random.Random(7)
    rows = _rows(chance)
    others = _changed(rows, chance)
    ddl = COLUMNS.replace("VARCHAR", "STRING")
    before, after = spark.createDataFrame(rows, ddl), spark.createDataFrame(others, ddl)
    expected = _expected(rows, others)
    found = table_difference(before, after, ["ID", "part"], limit=4)
    counts = {name: getattr(found, name) for name in expected if hasattr(found, name)}
    assert {**counts, **found.changes, "whole": expected["whole"]} == expected
    assert min(found.same, found.changed, found.only_before, found.repeated_before, found.repeated_after) > 0
    assert (found.rows_before, found.rows_after, found.is_same) == (len(rows), len(others), False)
    assert [example.key["id"] for example in found.examples["after"]] == [ROWS, ROWS + 1, ROWS + 2, ROWS + 3]
    for example in found.examples["changed"]:
        assert example.before is not None
        assert example.after is not None
        assert example.changed
        assert all(str(example.before[n]) != str(example.after[n]) for n in example.changed)
    assert all(max(example.times) > 1 for example in found.examples["repeated"])
    whole = table_difference(before, after)
    assert whole.same == expected["whole"]
    assert (whole.only_before, whole.only_after) == (len(rows) - whole.same, len(others) - whole.same)
    assert not table_difference(before, before.orderBy("name")).examples


def test_nested_values_other_types_and_secrets(spark: SparkSession) -> None:
    before = spark.sql(
        "SELECT 1 AS id, map('a', 1, 'b', 2) AS m, array(map('k', cast('NaN' AS DOUBLE))) AS n, struct(1 AS x) AS s, "
        "parse_json('{\"a\": 1}') AS v, 'old' AS password, 'u' AS email, 1 AS moved, 'x' AS gone"
    )
    same = spark.sql(
        "SELECT 1L AS id, map('b', 2, 'a', 1) AS m, array(map('k', cast('NaN' AS DOUBLE))) AS n, struct(1 AS x) AS s, "
        "parse_json('{\"a\":  1}') AS v, 'new' AS password, 'w' AS email, 'text' AS moved, DATE '2024-01-31' AS made"
    )
    found = table_difference(before, same, ["id"], hidden=["EMAIL"])
    assert found.changes == {"m": 0, "n": 0, "s": 0, "v": 0, "password": 1, "email": 1}
    told = [(one.name, one.before, one.after, one.is_compared) for one in found.columns]
    assert told == [
        ("id", "int", "bigint", True),
        ("moved", "int", "string", False),
        ("gone", "string", None, False),
        ("made", None, "date", False),
    ]
    [example] = found.examples["changed"]
    assert example.before is not None
    assert {example.before["password"], example.before["email"]} == {"***"}
    other = same.withColumns({"m": _sql("map('b', 3)"), "v": _sql("parse_json('{\"a\": 2}')")})
    assert table_difference(same, other, ["id"], ["m", "V"]).changes == {"m": 1, "v": 1}
    nested = "map('password', '{0}', 'a', 'b') AS m, struct('{0}' AS token) AS t, struct('{0}' AS email) AS s"
    hiding = [spark.sql(f"SELECT 1 AS id, {nested.format(secret)}") for secret in ("hunter2", "hunter3")]
    hidden = table_difference(hiding[0], hiding[1], ["id"], hidden=["s.email"])
    assert hidden.changes == {"m": 1, "t": 1, "s": 1}
    assert "hunter" not in str(hidden.examples)
    assert "'b'" in str(hidden.examples)
    with pytest.raises(PipelineConfigurationException, match="'id' is int in one table and string in the other"):
        table_difference(before, same.withColumn("id", _sql("'1'")), ["id"])


def _sql(text: str) -> Any:
    from pyspark.sql import functions as F

    return F.expr(text)


def test_both_tables_are_read_once(spark: SparkSession, tmp_path: Path) -> None:
    for name in ("a", "b"):
        spark.range(20).selectExpr("id", "id AS v").write.parquet(str(tmp_path / name))
    reads = spark.sparkContext.accumulator(0)

    def counted(name: str) -> Any:
        def count(batches: Any) -> Any:
            for batch in batches:
                reads.add(batch.num_rows)
                yield batch

        return spark.read.parquet(str(tmp_path / name)).mapInArrow(count, "id BIGINT, v BIGINT")

    assert table_difference(counted("a"), counted("b"), ["id"]).is_same
    assert reads.value == 40


def test_the_command_tells_the_difference_and_ends_with_3(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    spark.sql("SELECT id, id AS v FROM range(3)").write.format("delta").save(f"{tmp_path}/t")
    spark.sql("SELECT id + 1 AS id, if(id = 0, 9, id + 1) AS v FROM range(3)").write.format("delta").mode(
        "overwrite"
    ).save(f"{tmp_path}/t")
    run = CliRunner().invoke
    found = run(app, ["diff", "t@v0", "t", "--key", "id"])
    assert found.exit_code == 3
    assert "1 the same, 1 changed, 1 only in t@v0, 1 only in t" in found.stdout
    assert "v: changed in 1 of 2 (50.0%)" in found.stdout
    same = run(app, ["diff", "t@v0", "t", "--key", "id", "--where", "id = 2", "--json"])
    assert (same.exit_code, json.loads(same.stdout)["is_same"]) == (0, True)
    failed = run(app, ["diff", "t", "nowhere"])
    assert (failed.exit_code, failed.stderr.splitlines()[0]) == (1, "there is no Delta table at nowhere")
    tables = [tmp_path / name for name in ("cents", "doubles")]
    for path, value in zip(
        tables, ("1.5D AS x, 'a ' AS text", "CAST(1.5 AS DECIMAL(9, 2)) AS x, 'a' AS text"), strict=True
    ):
        spark.sql(f"SELECT 1 AS id, {value}").write.parquet(str(path))
    loose = run(app, ["diff", "cents", "doubles", "--format", "parquet", "--key", "id"])
    assert loose.exit_code == 3
    assert "0 the same in what was compared, 1 changed" in loose.stdout
    assert '"a " → "a"' in loose.stdout
