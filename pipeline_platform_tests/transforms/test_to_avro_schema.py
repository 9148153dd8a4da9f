from __future__ import annotations

import io
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import pytest
from pyspark.sql.types import StructField, StructType

from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.transforms.to_avro_schema import ToAvroSchema
from pipeline_platform_tests.duckdb_rows import Table
from pipeline_platform_tests.transforms.steps import applied, mistakes, sources


def written_by_spark(frame: Any, folder: Path, name: str, namespace: str) -> str:
    """The schema in the header of an Avro file that Spark writes."""
    frame.coalesce(1).write.format("avro").options(recordName=name, recordNamespace=namespace).save(str(folder))
    [file] = folder.glob("*.avro")
    with file.open("rb") as stream:
        return fastavro.reader(stream).metadata["avro.schema"]


DECIMALS = ", ".join(f"CAST(1 AS DECIMAL({digits},{digits // 3})) AS d{digits}" for digits in range(1, 39))


@pytest.mark.parametrize(
    "columns",
    [
        "true AS bo, 1Y AS ti, 1S AS si, 1 AS i, 1L AS bi, 1F AS f, 1D AS d, 'x' AS s, X'00' AS by, NULL AS n",
        "DATE'2024-01-01' AS d, TIMESTAMP_LTZ'2024-01-01 00:00:00' AS t, TIMESTAMP_NTZ'2024-01-01 00:00:00' AS l",
        "INTERVAL '1' YEAR AS y, INTERVAL '1-2' YEAR TO MONTH AS ym, INTERVAL '1' DAY AS dd",
        "INTERVAL '1 2:03:04' DAY TO SECOND AS ds, INTERVAL '5' MINUTE AS m",
        DECIMALS,
        "array(1, 2) AS a, array(1, NULL) AS an, array(array('x', NULL)) AS aa, array(NULL) AS nn",
        "map('k', 1) AS m, map('k', CAST(NULL AS STRING)) AS mn, map('k', map('l', array(1.5))) AS mm",
        "named_struct('a', 1, 'b', named_struct('a', 'x', 'c', CAST(NULL AS DECIMAL(12,2)))) AS s",
        "array(named_struct('x', 1.25, 'y', array(named_struct('x', 1.25, 'z', NULL)))) AS s, 2.5 AS x",
        "map('k', named_struct('x', CAST(NULL AS TIMESTAMP), 'fixed', 1.5)) AS s, CAST('a' AS CHAR(3)) AS c",
        "1 AS `é`, 2 AS _x1",
    ],
)
@pytest.mark.parametrize("nullable", [False, True])
@pytest.mark.parametrize(("name", "namespace"), [("Record", "com.pipeline"), ("topLevelRecord", "")])
def test_it_is_the_schema_spark_writes_into_a_file(
    spark: Any, tmp_path: Path, columns: str, nullable: bool, name: str, namespace: str
):
    fields = spark.sql(f"SELECT {columns}").schema.fields
    schema = StructType([StructField(field.name, field.dataType, nullable) for field in fields])
    frame = spark.createDataFrame([], schema)
    step = ToAvroSchema.model_validate({"name": name, "namespace": namespace})
    output = applied(spark, step, frame)
    assert output.columns == ["avro_schema"]
    [[made]] = output.collect()
    assert made == written_by_spark(frame, tmp_path / "avro", name, namespace)
    fastavro.parse_schema(json.loads(made))


def test_it_is_one_row_named_record_in_com_pipeline_by_default_whatever_the_number_of_rows(spark: Any):
    for rows in ([], [(1,), (2,), (3,)]):
        [[schema]] = applied(spark, ToAvroSchema(), Table("id INT", rows)).collect()
        assert json.loads(schema) == {
            "type": "record",
            "name": "Record",
            "namespace": "com.pipeline",
            "fields": [{"name": "id", "type": ["int", "null"]}],
        }


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("1 AS `a b`", "does not allow the name 'a b'"),
        ("named_struct('1x', 1) AS s", r"does not allow the name 's\.1x'"),
        ("map(1, 2) AS m", "no type for the column 'm', map<int,int>"),
        ("array(parse_json('1')) AS v", "no type for the column 'v', variant"),
        ("named_struct('t', TIME'10:00:00') AS s", r"no type for the column 's\.t', time"),
        ("'a' COLLATE UTF8_LCASE AS c", "no type for the column 'c', string collate"),
    ],
)
def test_a_column_avro_has_no_type_for_is_named(spark: Any, columns: str, message: str):
    with pytest.raises(PipelineExecutionException, match=message) as raised:
        applied(spark, ToAvroSchema(), spark.sql(f"SELECT {columns}"))
    assert "enrichData" in (raised.value.hint or "")


def test_the_rows_of_another_implementation_can_be_written_with_the_schema(spark: Any, tmp_path: Path):
    schema: dict[str, Any] = {
        "type": "record",
        "name": "Row",
        "fields": [
            {"name": "id", "type": "long"},
            {"name": "note", "type": ["null", "string"], "default": None},
            {"name": "day", "type": {"type": "int", "logicalType": "date"}},
            {"name": "seen", "type": ["null", {"type": "long", "logicalType": "timestamp-micros"}]},
            {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
            {"name": "tags", "type": {"type": "array", "items": ["null", "string"]}},
            {"name": "counts", "type": {"type": "map", "values": "int"}, "default": {}},
        ],
    }
    some: dict[str, Any] = {
        "day": date(1969, 12, 31),
        "price": Decimal("-1.25"),
        "tags": ["a", None],
        "counts": {"k": 1},
    }
    rows: list[dict[str, Any]] = [
        {"id": 2**40, "note": None, "seen": datetime(2024, 1, 1, 12, tzinfo=UTC), **some},
        {"id": -1, "note": "é", "seen": None, **some},
    ]
    with (tmp_path / "rows.avro").open("wb") as file:
        fastavro.writer(file, schema, rows)
    frame = spark.read.format("avro").load(str(tmp_path / "rows.avro"))
    [[made]] = applied(spark, ToAvroSchema(), frame).collect()
    copy = io.BytesIO()
    fastavro.writer(copy, json.loads(made), rows)
    copy.seek(0)
    assert list(fastavro.reader(copy)) == rows


def test_a_stream_is_refused():
    assert ToAvroSchema().mode_errors("streaming")
    assert not ToAvroSchema().mode_errors("batch")


@pytest.mark.parametrize(
    ("config", "key"),
    [({"name": "a b"}, "name"), ({"name": ""}, "name"), ({"namespace": "com..x"}, "namespace"), ({"ns": "x"}, "ns")],
)
def test_a_wrong_name_is_a_config_error(config: dict[str, Any], key: str):
    assert [where for where, _ in mistakes(ToAvroSchema, config)] == [key]


def test_the_schema_is_derived_from_no_column():
    assert sources(ToAvroSchema(), {None: ["id", "avro_schema"]}, ["avro_schema"]) == {"avro_schema": []}
