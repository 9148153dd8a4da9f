"""A load keeps its data contract, or writes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import duckdb
import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from pipeline_platform.config.loader import load_pipeline
from pipeline_platform.engine.batch import BatchRun
from pipeline_platform.exceptions import PipelineExecutionException, ValidationException
from pipeline_platform.metrics.run import RunMetrics
from pipeline_platform.registry import method_registry
from pipeline_platform.steps.contract_rules import ContractRules
from pipeline_platform_tests.config.contracts import project, table
from pipeline_platform_tests.duckdb_rows import Table
from pipeline_platform_tests.validations.blocks import outcome, planned

COLUMNS = (
    "id BIGINT, shop STRING, amount DECIMAL(10,2), share DOUBLE, born DATE, made TIMESTAMP, kind STRING, "
    "tags ARRAY<STRING>, box STRUCT<zip: STRING>, tiny SMALLINT, big DECIMAL(38,2), raw BINARY, ref STRING"
)
ROWS = """VALUES
    (1, 'north', 10.00, 0.5::DOUBLE, DATE '2000-01-01', TIMESTAMP '2024-01-01 00:00:00', 'a', ['x', 'y'], {'zip': '1'},
        0, 12345678901234567890.12::DECIMAL(38,2), '\\x01\\x02'::BLOB, '01234567-89ab-CDEF-0123-456789abcdef'),
    (1, 'south', -0.01, 'NaN', DATE '1899-12-31', TIMESTAMP '2030-01-01 00:00:00', 'b', ['x', 'x'], {'zip': NULL},
        -5, 12345678901234567891.12, '\\x01\\x02\\x03'::BLOB, 'none'),
    (2, 's', 99.99, 1.5, DATE '1900-01-01', NULL, 'c', ['x', 'y', 'z', 'z'], NULL,
        256, 0.01, NULL, NULL),
    (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    (NULL, '1orth', 7.00, -0.1, NULL, NULL, '', [], {'zip': '2'}, 255, NULL, NULL, NULL)"""
PROPERTIES = {
    "{name: id, logicalType: integer, primaryKey: true}": {
        "id: primaryKey, not null": "id IS NULL",
        "id: primaryKey": "id IN (SELECT id FROM data GROUP BY id HAVING count(*) > 1)",
    },
    "{name: shop, logicalType: string, physicalType: varchar(4), logicalTypeOptions: {minLength: 2, "
    "pattern: '^[a-z]'}}": {
        "shop: minLength 2": "length(shop) < 2",
        "shop: pattern ^[a-z]": "NOT regexp_matches(shop, '^[a-z]')",
        "shop: physicalType varchar(4)": "length(shop) > 4",
    },
    "{name: amount, logicalType: number, logicalTypeOptions: {minimum: 0, exclusiveMaximum: 99.99}, enum: "
    "[{value: '10'}, {value: 7}, {value: 99.990}]}": {
        "amount: enum": "amount NOT IN (10, 7, 99.99)",
        "amount: minimum 0": "amount < 0",
        "amount: exclusiveMaximum 99.99": "amount >= 99.99",
    },
    "{name: share, logicalType: number, logicalTypeOptions: {minimum: 0, maximum: 1}}": {
        "share: minimum 0": "share < 0 OR isnan(share)",
        "share: maximum 1": "share > 1 OR isnan(share)",
    },
    "{name: born, logicalType: date, logicalTypeOptions: {minimum: '1900-01-01', exclusiveMinimum: true}}": {
        "born: minimum 1900-01-01": "born <= DATE '1900-01-01'",
    },
    "{name: made, logicalType: timestamp, logicalTypeOptions: {exclusiveMaximum: '2030-01-01T01:00:00+01:00'}, "
    "enum: [{value: '2024-01-01T00:00:00'}]}": {
        "made: enum": "made <> TIMESTAMP '2024-01-01 00:00:00'",
        "made: exclusiveMaximum 2030-01-01T01:00:00+01:00": "made >= TIMESTAMP '2030-01-01 00:00:00'",
    },
    "{name: kind, enum: [{value: a}, {value: b}, {value: ''}], quality: [{metric: missingValues, mustBe: 0, "
    "arguments: {missingValues: [null, '']}}]}": {
        "kind: enum": "kind NOT IN ('a', 'b', '')",
        "kind: missingValues": "kind IS NULL OR kind = ''",
    },
    "{name: tags, logicalType: array, logicalTypeOptions: {minItems: 1, maxItems: 3, uniqueItems: true}}": {
        "tags: minItems 1": "len(tags) < 1",
        "tags: maxItems 3": "len(tags) > 3",
        "tags: uniqueItems": "len(tags) > len(list_distinct(tags))",
    },
    "{name: box, logicalType: object, properties: [{name: zip, logicalType: string, required: true}]}": {
        "box.zip: required, not null": "box IS NOT NULL AND box.zip IS NULL",
    },
    "{name: tiny, physicalType: tinyint unsigned}": {
        "tiny: physicalType tinyint unsigned": "tiny < 0",
        "tiny: physicalType tinyint unsigned (2)": "tiny > 255",
    },
    "{name: big, logicalType: number, logicalTypeOptions: {maximum: 12345678901234567890.125}, enum: "
    "[{value: 12345678901234567890.12}]}": {
        "big: maximum 12345678901234567890.125": "big > 12345678901234567890.12",
        "big: enum": "big <> 12345678901234567890.12",
    },
    "{name: raw, physicalType: varbinary(2)}": {"raw: physicalType varbinary(2)": "octet_length(raw) > 2"},
    "{name: ref, physicalType: uuid}": {"ref: physicalType uuid": "try_cast(ref AS UUID) IS NULL AND ref IS NOT NULL"},
}


def test_the_rules_of_a_contract_count_what_duckdb_counts(spark: SparkSession, tmp_path: Path) -> None:
    with duckdb.connect() as connection:
        connection.execute(
            f"CREATE TABLE data AS SELECT * FROM ({ROWS}) AS d(id, shop, amount, share, born, made, kind, tags, box, "
            "tiny, big, raw, ref)"
        )
        rows = connection.execute("FROM data").fetchall()
        expected = {
            name: connection.execute(f"SELECT count(*) FROM data WHERE {condition}").fetchall()[0][0]
            for rules in PROPERTIES.values()
            for name, condition in rules.items()
        }
    pipeline = load_pipeline(project(tmp_path, table(*PROPERTIES)), method_registry())
    assert pipeline.warnings == ()
    frame = Table(COLUMNS, rows).frame(spark)
    found = outcome(frame, cast("ContractRules", pipeline.steps[-1].config)).rules()
    assert {rule.rule: rule.violations for rule in found} == expected
    assert min(expected.values()) > 0


def run(spark: SparkSession, folder: Path, contract: str, schema: str, *rows: dict[str, object]) -> RunMetrics:
    file = project(folder, contract, mode="overwrite")
    source = folder / "rows.json"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    value = json.loads(file.read_text())
    value["steps"][0]["config"] = {"path": str(source), "format": "json", "schema": schema}
    file.write_text(json.dumps(value))
    return BatchRun(load_pipeline(file, method_registry()), spark).run()


def test_a_load_writes_rows_that_keep_the_contract_in_one_pass_and_no_others(
    spark: SparkSession, tmp_path: Path
) -> None:
    contract = table(
        "{name: id, logicalType: integer, required: true}",
        "{name: amount, logicalType: number, classification: secret, logicalTypeOptions: {minimum: 0}}",
        "{name: who, logicalType: object, properties: [{name: age, logicalType: integer, logicalTypeOptions: "
        "{minimum: 10}}, {name: name, classification: restricted}]}",
    )
    schema = "id INT, amount INT, who STRUCT<age: INT, name: STRING>"
    good: dict[str, object] = {"id": 1, "amount": 3, "note": "x"}
    done = run(spark, tmp_path, contract, f"{schema}, note STRING", good)
    assert [rule.violations for step in done.steps for rule in step.rules] == [0, 0, 0]
    assert any("the column 'note' is not in the contract" in hint for hint in done.hints)
    table_of_load = tmp_path / "lake" / "orders"
    child: dict[str, object] = {"id": 2, "amount": -1, "who": {"age": 5, "name": "Ada"}}
    with pytest.raises(ValidationException) as broken:
        run(spark, tmp_path, contract, schema, good, child, {"amount": 2})
    assert broken.value.location is not None
    assert broken.value.location.step_index == 1
    assert "1 of 3 rows (33.33%) break 'id: required, not null'" in broken.value.message
    assert """break 'amount: minimum 0', such as {"amount": "***"}""" in broken.value.message
    assert """break 'who.age: minimum 10', such as {"who": "***"}""" in broken.value.message
    assert "orders.odcs.yaml, lines 9, 10, 11;" in str(broken.value.hint)
    with pytest.raises(PipelineExecutionException, match=r"orders\.odcs\.yaml:9: 'id' is promised as integer"):
        run(spark, tmp_path, contract, schema.replace("id INT", "id STRING"), good)
    assert DeltaTable(table_of_load).version() == 0


@pytest.mark.parametrize(
    ("promised", "kind", "refused"),
    [
        ("unique: true", "MAP<STRING, INT>", "9:28: 'it: unique' can't be checked: Spark does not tell two values"),
        ("logicalType: array, logicalTypeOptions: {uniqueItems: true}", "ARRAY<MAP<STRING, INT>>", "9:74: 'it: uniq"),
        (
            "logicalType: string, logicalTypeOptions: {pattern: '(?<x>)(?<x>)'}",
            "STRING",
            "no regular expression of Java",
        ),
        ("enum: [{value: NO}]", "STRING", "9:26: 'it: enum' can't be checked: expected a string, not a boolean"),
    ],
)
def test_what_spark_would_refuse_is_refused_at_its_place_in_the_contract(
    spark: SparkSession, tmp_path: Path, promised: str, kind: str, refused: str
) -> None:
    pipeline = load_pipeline(project(tmp_path, table(f"{{name: it, {promised}}}")), method_registry())
    with pytest.raises(PipelineExecutionException) as found:
        planned(spark.createDataFrame([], f"it {kind}"), cast("ContractRules", pipeline.steps[-1].config))
    assert refused in found.value.message


def test_a_column_that_is_null_everywhere_keeps_what_is_asked_of_values(spark: SparkSession, tmp_path: Path) -> None:
    asked = "{name: it, logicalType: integer, logicalTypeOptions: {minimum: 1}, enum: [{value: 1}], unique: true}"
    pipeline = load_pipeline(project(tmp_path, table(asked)), method_registry())
    block = planned(spark.sql("SELECT NULL AS it"), cast("ContractRules", pipeline.steps[-1].config))
    rules = [rule.flag for validation in block.validations for rule in validation.rules]
    assert [list(row) for row in block.flagged.select(*rules).collect()] == [[False, False, False]]
