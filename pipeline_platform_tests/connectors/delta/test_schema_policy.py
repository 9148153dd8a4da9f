"""Loads whose columns are no longer those of their table, as DuckDB and delta-rs find the table afterwards."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from devtools.pipelines import extract, json_rows, last_step, load, pipeline_of, run
from pipeline_platform.engine.streaming.stream import StreamRun
from pipeline_platform.exceptions import PipelineConfigurationException, PipelineExecutionException
from pipeline_platform.metrics.run import StepMetrics

Write = Callable[..., StepMetrics]
VARIANT = {"typeChanges": "variant"}
LENIENT = {"newColumns": "add", "missingColumns": "allow", "typeChanges": "widen"}


@pytest.fixture
def write(spark: SparkSession, tmp_path: Path, table: Path) -> Write:
    """Run a pipeline that loads these rows into the table, with this policy."""

    def once(rows: Sequence[Mapping[str, Any]], schema: str, policy: Mapping[str, str], **config: Any) -> StepMetrics:
        step = load("toDeltaLake", path=str(table), schemaPolicy=dict(policy), **config)
        return last_step(run(spark, json_rows(tmp_path / "rows.json", rows, schema), step))

    return once


def rows_in(table: Path, columns: str) -> list[tuple[Any, ...]]:
    files = [str(Path(file)) for file in DeltaTable(table).file_uris()]
    query = f"SELECT {columns} FROM read_parquet({files}, union_by_name = true) ORDER BY id"
    with duckdb.connect() as connection:
        return connection.execute(query).fetchall()


def columns_of(table: Path) -> dict[str, str]:
    return {field["name"]: field["type"] for field in json.loads(DeltaTable(table).schema().to_json())["fields"]}


def changes_of(metrics: StepMetrics) -> list[str]:
    return [change.told() for change in metrics.schema_changes]


def test_new_columns_are_added_and_missing_ones_are_null(write: Write, table: Path) -> None:
    assert write([{"id": 1, "a": "x"}], "id INT, a STRING", LENIENT).schema_changes == []
    metrics = write([{"id": 2, "b": 7, "s": {"t": 1}}], "id INT, b INT, s STRUCT<t: INT>", LENIENT)
    assert changes_of(metrics) == [
        "the new column 'b' (int) was added; it is NULL in rows from before",
        "the new column 's' (struct<t:int>) was added; it is NULL in rows from before",
        "the load has no column 'a' (string)",
    ]
    metrics = write([{"id": 3, "s": {"u": 2}}], "id INT, s STRUCT<u: INT>", LENIENT)
    assert changes_of(metrics)[0] == "the new column 's.u' (int) was added; it is NULL in rows from before"
    assert rows_in(table, "id, a, b, s.t, s.u") == [
        (1, "x", None, None, None),
        (2, None, 7, 1, None),
        (3, None, None, None, 2),
    ]


def test_new_columns_are_left_out_and_shown_as_they_are_in_the_table(write: Write, table: Path) -> None:
    policy = {"newColumns": "ignore"}
    write([{"id": 1, "s": [{"t": 1}]}], "id INT, s ARRAY<STRUCT<t: INT>>", policy)
    schema = "id INT, more INT, s ARRAY<STRUCT<u: INT, t: INT>>"
    metrics = write([{"id": 2, "more": 1, "s": [{"u": 8, "t": 2}, None]}], schema, policy)
    assert changes_of(metrics) == [
        "the new column 'more' (int) was ignored",
        "the new column 's.[].u' (int) was ignored",
    ]
    assert [column.name for column in metrics.columns] == ["id", "s"]
    assert rows_in(table, "id, s") == [(1, [{"t": 1}]), (2, [{"t": 2}, None])]


def test_new_columns_are_kept_as_json_where_they_have_values(write: Write, table: Path) -> None:
    policy = {"newColumns": "quarantine"}
    first = "id INT, address STRUCT<street: STRING>, lines ARRAY<STRUCT<n: INT>>"
    write([{"id": 1, "address": {"street": "a"}, "lines": []}], first, policy)
    assert "_rescued_data" not in columns_of(table)
    wider = "id INT, address STRUCT<zip: STRING, street: STRING>, lines ARRAY<STRUCT<n: INT, m: INT>>, at TIMESTAMP"
    rows = [
        {
            "id": 2,
            "address": {"zip": "z", "street": "b"},
            "lines": [{"n": 1, "m": 2}],
            "at": "2024-01-01T00:00:00.000001Z",
        },
        {"id": 3, "address": {"street": "c"}, "lines": None},
        {"id": 4, "address": None, "lines": None},
    ]
    metrics = write(rows, wider, policy)
    assert [change.change for change in metrics.schema_changes] == ["quarantined"] * 3
    assert write([{"id": 5}], "id INT, address STRUCT<street: STRING>, lines ARRAY<STRUCT<n: INT>>", policy).rows == 1
    found = rows_in(table, "id, address.street, lines, _rescued_data")
    assert [row[:3] for row in found] == [
        (1, "a", []),
        (2, "b", [{"n": 1}]),
        (3, "c", None),
        (4, None, None),
        (5, None, None),
    ]
    assert json.loads(found[1][3]) == {
        "address.zip": "z",
        "lines": [{"n": 1, "m": 2}],
        "at": "2024-01-01T00:00:00.000001Z",
    }
    assert [row[3] for row in found if row[0] != 2] == [None] * 4


WIDER = {
    "a": ("INT", 1, "BIGINT", 2**40, "long"),
    "b": ("SMALLINT", 1, "INT", 2**20, "integer"),
    "c": ("FLOAT", 0.5, "DOUBLE", 0.1, "double"),
    "d": ("DECIMAL(5, 2)", 1.25, "DECIMAL(10, 4)", 12345.6789, "decimal(10,4)"),
    "e": ("INT", 1, "DOUBLE", 0.5, "double"),
    "f": ("INT", 1, "DECIMAL(12, 2)", 0.25, "decimal(12,2)"),
}


def test_columns_get_wider_types_and_take_the_narrower_ones_afterwards(
    spark: SparkSession, write: Write, table: Path
) -> None:
    small = {name: value for name, (_, value, _, _, _) in WIDER.items()}
    large = {name: value for name, (_, _, _, value, _) in WIDER.items()}
    narrow = ", ".join(f"{name} {kind}" for name, (kind, *_) in WIDER.items())
    wide = ", ".join(f"{name} {kind}" for name, (_, _, kind, *_) in WIDER.items())
    write([{"id": 1, **small}], f"id INT, {narrow}", LENIENT)
    metrics = write([{"id": 2, **large}], f"id INT, {wide}", LENIENT)
    assert [(change.column, change.change) for change in metrics.schema_changes] == [
        (name, "widened") for name in WIDER
    ]
    assert columns_of(table) == {"id": "integer", **{name: stored for name, (*_, stored) in WIDER.items()}}
    assert write([{"id": 3, **small}], f"id INT, {narrow}", LENIENT).schema_changes == []
    # delta-rs and DuckDB read no rows of a table whose types were widened.
    read = spark.read.format("delta").load(str(table)).orderBy("id")
    found = read.selectExpr(*(f"CAST({name} AS DOUBLE)" for name in WIDER)).collect()
    assert [row.asDict() for row in found] == [small, large, small]


def test_a_merge_widens_adds_and_leaves_what_is_missing(spark: SparkSession, write: Write, table: Path) -> None:
    how = {"mode": "merge", "mergeKeys": "id"}
    write([{"id": 1, "n": 1, "a": "x"}, {"id": 2, "n": 2, "a": "y"}], "id INT, n INT, a STRING", LENIENT, **how)
    write([{"id": 2, "n": 2**40, "b": 1}, {"id": 3, "n": 3, "b": 2}], "id INT, n BIGINT, b INT", LENIENT, **how)
    found = spark.read.format("delta").load(str(table)).orderBy("id").select("id", "n", "a", "b").collect()
    assert [tuple(row) for row in found] == [(1, 1, "x", None), (2, 2**40, "y", 1), (3, 3, None, 2)]


def test_values_of_a_type_that_does_not_fit_get_a_column_of_their_own(write: Write, table: Path) -> None:
    policy = {**LENIENT, "typeChanges": "variant"}
    write([{"id": 1, "amount": 1}], "id INT, amount INT", policy)
    metrics = write([{"id": 2, "amount": "two"}], "id INT, amount STRING", policy)
    assert changes_of(metrics) == ["the column 'amount' (int) came as string, into a column of its own"]
    write([{"id": 3, "amount": "three"}], "id INT, amount STRING", policy)
    strict = {**policy, "missingColumns": "fail"}
    assert write([{"id": 4, "amount": 4}], "id INT, amount INT", strict).schema_changes == []
    assert rows_in(table, "id, amount, amount__v_string") == [
        (1, 1, None),
        (2, None, "two"),
        (3, None, "three"),
        (4, 4, None),
    ]


def test_a_value_that_is_merged_is_in_one_of_its_columns(write: Write, table: Path) -> None:
    policy, how = {**LENIENT, "typeChanges": "variant"}, {"mode": "merge", "mergeKeys": "id"}
    write([{"id": 1, "amount": 5}, {"id": 2, "amount": 6}], "id INT, amount INT", policy, **how)
    write([{"id": 1, "amount": "five"}], "id INT, amount STRING", policy, **how)
    assert rows_in(table, "id, amount, amount__v_string") == [(1, None, "five"), (2, 6, None)]
    write([{"id": 1, "amount": 9}], "id INT, amount INT", policy, **how)
    assert rows_in(table, "id, amount, amount__v_string") == [(1, 9, None), (2, 6, None)]


def test_what_was_kept_as_json_stays_until_something_new_comes(write: Write, table: Path) -> None:
    policy, how = {"newColumns": "quarantine", "missingColumns": "allow"}, {"mode": "merge", "mergeKeys": "id"}
    write([{"id": 1}], "id INT", policy, **how)
    write([{"id": 1, "b": 7}], "id INT, b INT", policy, **how)
    write([{"id": 1}], "id INT", policy, **how)
    assert rows_in(table, "id, _rescued_data") == [(1, '{"b":7}')]


REFUSED = [
    ("id INT, a STRING, b INT", {}, "has no column 'b', int; it has id, a", "set 'newColumns'"),
    ("id INT", {}, "has the column 'a', which the frame does not have", "set 'missingColumns'"),
    ("id BIGINT, a STRING", {}, "the column 'id' is bigint, and the table at .* has it as int", "set 'typeChanges'"),
    ("id INT, a INT", LENIENT, "the column 'a' is int, and the table at .* has it as string", "CAST"),
    (
        "id INT, a INT, a__v_integer STRING",
        {**LENIENT, "typeChanges": "variant"},
        "has a column 'a__v_integer', and 'schemaPolicy' needs one of that name",
        "rename",
    ),
    ("id INT, a ARRAY<INT>", LENIENT, "the column 'a' is array<int>, and the table at .* has it as string", "CAST"),
]


@pytest.mark.parametrize(("schema", "policy", "message", "hint"), REFUSED)
def test_what_the_policy_does_not_allow_is_refused_before_anything_is_written(
    write: Write, table: Path, schema: str, policy: dict[str, str], message: str, hint: str
) -> None:
    write([{"id": 1, "a": "x"}], "id INT, a STRING", {})
    with pytest.raises(PipelineExecutionException, match=message) as raised:
        write([{"id": 2}], schema, policy)
    assert raised.value.hint is not None
    assert hint in raised.value.hint
    assert DeltaTable(table).version() == 0


def test_fields_that_items_of_a_list_lack_are_missing_too(write: Write, table: Path) -> None:
    write([{"id": 1, "l": [{"x": 1, "y": 2}]}], "id INT, l ARRAY<STRUCT<x: INT, y: INT>>", {})
    with pytest.raises(PipelineExecutionException, match=r"has the column 'l.\[\].y', which the frame does not have"):
        write([{"id": 1, "l": [{"x": 1}]}], "id INT, l ARRAY<STRUCT<x: INT>>", {})


def test_a_merge_key_gets_wider_and_still_finds_its_rows(write: Write, table: Path) -> None:
    how = {"mode": "merge", "mergeKeys": ["id", "part"]}
    write([{"id": 1, "part": 1.5, "n": 1}], "id INT, part DECIMAL(4,1), n INT", LENIENT, **how)
    wider = [{"id": 1, "part": 1.5, "n": 2}, {"id": 2**40, "part": 1.25, "n": 3}]
    write(wider, "id BIGINT, part DECIMAL(6,2), n INT", LENIENT, **how)
    assert rows_in(table, "id, part, n") == [(1, Decimal("1.50"), 2), (2**40, Decimal("1.25"), 3)]
    with pytest.raises(PipelineExecutionException, match="'id' is string") as raised:
        write([{"id": "1", "part": 1.5, "n": 2}], "id STRING, part DECIMAL(6,2), n INT", VARIANT, **how)
    assert "rows are found by this column" in (raised.value.hint or "")


def test_the_type_of_a_column_that_files_are_apart_by_stays(write: Write, table: Path) -> None:
    write([{"id": 1, "part": 1}], "id INT, part INT", LENIENT, partitionBy="part")
    with pytest.raises(PipelineExecutionException, match="'part' is bigint") as raised:
        write([{"id": 2, "part": 2**40}], "id INT, part BIGINT", LENIENT, partitionBy="part")
    assert raised.value.hint == "the files of the table are apart by this column, so its type must stay"


def test_a_stream_keeps_what_is_new_to_its_table(spark: SparkSession, tmp_path: Path, table: Path) -> None:
    (tmp_path / "in").mkdir()
    options = {"checkpointRoot": str(tmp_path / "checkpoints")}
    for number, schema in enumerate(("id INT", "id INT, more INT")):
        (tmp_path / "in" / f"{number}.json").write_text(json.dumps({"id": number, "more": 7}))
        policy = {"newColumns": "quarantine", "missingColumns": "allow"}
        steps = [
            extract("fromFiles", path=str(tmp_path / "in"), format="json", schema=schema),
            load("toDeltaLake", path=str(table), trigger="availableNow", schemaPolicy=policy),
        ]
        StreamRun(pipeline_of(steps, mode="streaming", streaming=options), spark).run()
    assert rows_in(table, "id, _rescued_data") == [(0, None), (1, '{"more":7}')]


@pytest.mark.parametrize(
    "config",
    [
        {"mergeSchema": True},
        {"mode": "overwrite", "overwriteSchema": True},
        {"mode": "errorIfExists"},
        {"schemaPolicy": {"newColumns": "drop"}},
    ],
    ids=str,
)
def test_keys_that_do_not_go_together_are_mistakes_in_the_file(config: dict[str, Any]) -> None:
    with pytest.raises(PipelineConfigurationException):
        pipeline_of([load("toDeltaLake", path="x", **{"schemaPolicy": {"newColumns": "add"}, **config})])
