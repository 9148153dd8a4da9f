"""Files that are loaded beside others: with the same columns, or not at all; as DuckDB, pyarrow and fastavro find them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import fastavro
import pyarrow
import pyarrow.orc
import pyarrow.parquet
import pytest
from pyspark.sql import DataFrame, SparkSession

from devtools.pipelines import extract, listing, load, pipeline_of
from pipeline_platform.connectors.avro.sink import ToAvro
from pipeline_platform.connectors.files.newest_file import LEDGER, PlannedColumns, WrittenColumns
from pipeline_platform.connectors.files.sink import ToFiles
from pipeline_platform.exceptions import PipelineConfigurationException, PipelineExecutionException
from pipeline_platform.steps.load import LoadResult, LoadRun

NOTE = f"{LEDGER}/newest.json"
FLAT = {
    "b": "CAST(1 AS TINYINT)",
    "s": "CAST(1 AS SMALLINT)",
    "i": "1",
    "l": "1L",
    "f": "CAST(1 AS FLOAT)",
    "d": "CAST(1 AS DOUBLE)",
    "n": "CAST(1 AS DECIMAL(38, 10))",
    "small": "CAST(1 AS DECIMAL(5, 2))",
    "flag": "TRUE",
    "t": "'x'",
    "c": "CAST('x' AS CHAR(3))",
    "v": "CAST('x' AS VARCHAR(3))",
    "folded": "'x' COLLATE UTF8_LCASE",
    "day": "DATE'2024-01-01'",
    "at": "TIMESTAMP'2024-01-01 00:00:00'",
    "local": "TIMESTAMP_NTZ'2024-01-01 00:00:00'",
    "months": "INTERVAL '1' MONTH",
    "time": "INTERVAL '1 2' DAY TO HOUR",
}
BYTES = {"x": "X'01'"}
NESTED = {
    "list": "array(named_struct('a', 1, 'z', array(1L)))",
    "map": "map('k', named_struct('q', DATE'2024-01-01', 'm', INTERVAL '1' DAY))",
    "inner": "named_struct('Z', 1, 'a', CAST('x' AS VARCHAR(2)), 'n', TIMESTAMP_NTZ'2024-01-01 00:00:00')",
}
VOID = {"nothing": "NULL", "nothings": "array()"}
VARIANT = {"var": "parse_json('1')"}
TYPES = {
    "parquet": {**FLAT, **BYTES, **NESTED, **VOID, **VARIANT},
    "orc": {**FLAT, **BYTES, **NESTED},
    "avro": {**FLAT, **BYTES, **NESTED, **VOID},
    "json": {**FLAT, **BYTES, **NESTED, **VOID, **VARIANT},
    "csv": FLAT,
}


def test_x(spark: SparkSession, tmp_path: Path) -> None:
    import time
    for fmt, cols in TYPES.items():
        frame = spark.sql("SELECT " + ", ".join(f"{e} AS `{n}`" for n, e in cols.items()))
        if fmt == "parquet":
            print(frame.schema.simpleString())
        folder = tmp_path / fmt
        for i in range(4):
            if i >= 2:
                (folder / NOTE).unlink(missing_ok=True)
            t0 = time.time()
            try:
                p = ToFiles(path=str(folder), format=fmt).prepare(frame, LoadRun(f"{i}", "x"))
                t1 = time.time()
                p.write()
                print(fmt, i, p.changes, p.frame is frame, round(t1 - t0, 3), round(time.time() - t1, 3))
            except Exception as e:
                print("FAIL", fmt, i, str(e)[:600])
