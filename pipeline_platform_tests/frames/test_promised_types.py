"""Columns are held against a data contract by their types alone."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
from pyspark.sql import types as T

from pipeline_platform.config.loader import load_pipeline
from pipeline_platform.frames.promised_types import beyond, breaches
from pipeline_platform.registry import method_registry
from pipeline_platform.steps.contract_rules import ContractRules
from pipeline_platform_tests.config.contracts import project, table

MONEY = T.DecimalType(10, 2)
BOX = T.StructType([T.StructField("zip", T.StringType())])


def told(folder: Path, columns: T.StructType, *properties: str, system: str = "deltalake") -> list[str]:
    pipeline = load_pipeline(project(folder, table(*properties)), method_registry())
    found = cast("ContractRules", pipeline.steps[-1].config).table
    return [
        f"{found.line(breach.place)}: {breach.message}"
        for breach in breaches(found.table.properties, columns, found.place, system)
    ]


def one(kind: T.DataType) -> T.StructType:
    return T.StructType([T.StructField("it", kind)])


@pytest.mark.parametrize(
    ("promised", "kind", "fits"),
    [
        ("logicalType: string", T.StringType(), True),
        ("logicalType: string", T.LongType(), False),
        ("logicalType: integer", T.ShortType(), True),
        ("logicalType: integer", T.DecimalType(20, 0), True),
        ("logicalType: integer", T.DoubleType(), False),
        ("logicalType: number", MONEY, True),
        ("logicalType: number", T.StringType(), False),
        ("logicalType: date", T.TimestampType(), False),
        ("logicalType: timestamp", T.TimestampNTZType(), True),
        ("logicalType: boolean", T.IntegerType(), False),
        ("logicalType: object", BOX, True),
        ("logicalType: array", T.StringType(), False),
        ("logicalType: array, items: {logicalType: integer}", T.ArrayType(T.LongType()), True),
        ("logicalType: array, items: {logicalType: integer}", T.ArrayType(T.StringType()), False),
        ("logicalType: map, map: {key: {logicalType: string}}", T.MapType(T.LongType(), T.StringType()), False),
        ("logicalType: vector", T.ArrayType(T.FloatType()), True),
        ("physicalType: bigint", T.IntegerType(), True),
        ("physicalType: int", T.LongType(), False),
        ("physicalType: 'decimal(12,2)'", MONEY, True),
        ("physicalType: 'decimal(8,2)'", MONEY, False),
        ("physicalType: numeric", MONEY, False),
        ("physicalType: numeric", T.DecimalType(10, 0), True),
        ("physicalType: 'array<int>'", T.ArrayType(T.ShortType()), True),
        ("physicalType: 'array<int>'", T.ArrayType(T.StringType()), False),
        ("physicalType: 'array<hstore>'", T.ArrayType(T.StringType()), True),
        ("physicalType: 'map<string,int>'", T.MapType(T.StringType(), T.LongType()), False),
        ("physicalType: 'struct<zip:string>'", BOX, True),
        ("physicalType: 'struct<y:string>'", BOX, False),
        ("physicalType: 'struct<zip:string,x:int>'", BOX, False),
        ("physicalType: struct", BOX, True),
        ("physicalType: timestamp_ntz", T.TimestampType(), False),
        ("physicalType: timestamp_ntz", T.TimestampNTZType(), True),
        ("physicalType: timestamp", T.TimestampNTZType(), False),
        ("physicalType: datetime", T.TimestampNTZType(), True),
        ("physicalType: double", MONEY, False),
        ("physicalType: varchar(2)", T.StringType(), True),
        ("physicalType: uuid", T.BinaryType(), False),
        ("physicalType: tinyint(1)", T.BooleanType(), False),
        ("physicalType: jsonb", BOX, True),
        ("logicalType: integer, physicalType: hstore", T.LongType(), True),
        ("description: anything", T.BinaryType(), True),
        ("logicalType: string", T.NullType(), True),
    ],
)
def test_a_column_fits_if_each_value_of_its_type_is_one_of_the_promised(
    tmp_path: Path, promised: str, kind: T.DataType, fits: bool
) -> None:
    assert (told(tmp_path, one(kind), f"{{name: it, {promised}}}") == []) is fits


@pytest.mark.parametrize(
    ("promised", "system", "kind", "fits"),
    [
        ("tinyint(1)", "mysql", T.BooleanType(), True),
        ("numeric", "postgres", MONEY, True),
        ("numeric", "mysql", MONEY, False),
        ("int8", "mysql", T.LongType(), True),
        ("int8", "postgres", T.LongType(), True),
        ("real", "mysql", T.DoubleType(), True),
        ("real", "postgres", T.DoubleType(), False),
        ("float(53)", "mysql", T.DoubleType(), True),
        ("float(24)", "mysql", T.DoubleType(), False),
        ("timestamp", "postgres", T.TimestampNTZType(), True),
    ],
)
def test_a_physical_type_is_that_of_the_system(
    tmp_path: Path, promised: str, system: str, kind: T.DataType, fits: bool
) -> None:
    assert (told(tmp_path, one(kind), f"{{name: it, physicalType: '{promised}'}}", system=system) == []) is fits


def test_a_breach_names_its_line_the_column_and_what_it_should_be(tmp_path: Path) -> None:
    columns = T.StructType([T.StructField("Id", T.StringType()), T.StructField("to", BOX), T.StructField("x", MONEY)])
    assert told(
        tmp_path,
        columns,
        "{name: id, logicalType: integer, physicalType: bigint}",
        "{name: to, properties: [{name: zipp, logicalType: string}]}",
        "{name: total, semanticType: measure}",
        "{name: gone, physicalType: date}",
    ) == [
        "9: 'id' is promised as integer (bigint), and the load brings string",
        "10: the field 'to.zipp' is promised as string, and the load does not bring it; did you mean 'zip'?",
        "12: the column 'gone' is promised as date, and the load does not bring it; it brings Id, to, x",
    ]


def test_columns_beyond_a_contract_are_known(tmp_path: Path) -> None:
    pipeline = load_pipeline(project(tmp_path, table("{name: key, physicalName: ID}")), method_registry())
    promised = cast("ContractRules", pipeline.steps[-1].config).table.table.properties
    assert beyond(promised, T.StructType([T.StructField("id", MONEY), T.StructField("x", MONEY)])) == ["x"]
