"""A stream of files that say their own columns takes no file that has others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.orc as po
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession
from pyspark.sql import types as T

from devtools.pipelines import StepValue, extract, load, pipeline_of, run
from pipeline_platform.connectors.files.stream_columns import columns_of_stream
from pipeline_platform.connectors.storage.location import StorageLocation
from pipeline_platform.engine.streaming.stream import StreamRun
from pipeline_platform.engine.streaming.stream_state import StreamRequest, request_file
from pipeline_platform.exceptions import PipelineException, PipelineExecutionException
from pipeline_platform.metrics.stream import StreamProgress

AVRO_TYPES = {pa.int64(): "long", pa.int32(): "int", pa.string(): "string"}


def write(path: Path, columns: Mapping[str, Any]) -> None:
    """Write a file of the format that its name ends with, all at once."""
    table = pa.table(dict(columns))
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}")
    match path.suffix:
        case ".parquet":
            pq.write_table(table, aside)
        case ".orc":
            po.write_table(table, aside)
        case _:
            fields = [{"name": field.name, "type": ["null", AVRO_TYPES[field.type]]} for field in table.schema]
            with aside.open("wb") as file:
                fastavro.writer(file, {"type": "record", "name": "r", "fields": fields}, table.to_pylist())
    aside.rename(path)


BEFORE = {"id": [1], "at": pa.array([{"x": 1}])}
LATER: Mapping[str, tuple[Mapping[str, Any], str]] = {
    "a column more": ({**BEFORE, "new": ["n"]}, "'new' (none and string)"),
    "a column less": ({"id": [2]}, "'at.x' (int64 and none)"),
    "another type": ({**BEFORE, "id": ["2"]}, "'id' (int64 and string)"),
    "a narrower type": ({**BEFORE, "id": pa.array([2], pa.int32())}, "'id' (int64 and int32)"),
    "a part more": ({"id": [2], "at": [{"x": 1, "y": 2}]}, "'at.y' (none and int64)"),
    "a part of another type": ({"id": [2], "at": [{"x": "1"}]}, "'at.x' (int64 and string)"),
}


@pytest.mark.parametrize("file_format", ["parquet", "orc"])
@pytest.mark.parametrize("kind", LATER)
def test_a_file_with_other_columns_than_those_of_the_start_is_refused(
    tmp_path: Path, file_format: str, kind: str
) -> None:
    first, same, later = (tmp_path / f"{name}.{file_format}" for name in ("a", "b", "c"))
    write(first, BEFORE)
    write(same, {**BEFORE, "id": [3]})
    write(later, LATER[kind][0])
    place = StorageLocation(str(tmp_path))
    columns = columns_of_stream([str(first)], file_format, place, merged=None, has_folder_columns=True)
    assert columns is not None
    columns.require([str(same)], place)
    with pytest.raises(PipelineExecutionException) as error:
        columns.require([str(same), str(later)], place)
    assert f"{later} has other columns than those the stream started with: {LATER[kind][1]}" in str(error.value)
    assert "set 'mergeSchema'" in str(error.value)


def test_a_file_may_lack_columns_where_schemas_are_merged_and_have_none_more(tmp_path: Path) -> None:
    write(tmp_path / "a.orc", BEFORE)
    place = StorageLocation(str(tmp_path))
    at = T.StructType([T.StructField("x", T.LongType()), T.StructField("y", T.LongType())])
    merged = T.StructType([T.StructField("id", T.LongType()), T.StructField("at", at)]).add("Unseen", T.IntegerType())
    columns = columns_of_stream([f"{tmp_path}/a.orc"], "orc", place, merged=merged, has_folder_columns=True)
    assert columns is not None
    for number, (fits, told) in enumerate(
        [
            ({"id": [2]}, None),
            ({"at": [{"y": 2}], "unseen": [1]}, None),
            ({"ID": [2]}, None),
            ({"at": [{"z": 2}]}, "'at.z' (none and int64)\n  next: start the stream again"),
            ({"id": ["2"]}, "'id' (int64 and string)\n  next: write the files with one type"),
        ]
    ):
        path = tmp_path / f"later{number}.orc"
        write(path, fits)
        if told is None:
            columns.require([str(path)], place)
        else:
            with pytest.raises(PipelineExecutionException) as error:
                columns.require([str(path)], place)
            assert told in str(error.value)


def test_a_file_may_have_columns_more_where_a_schema_leaves_them_out(tmp_path: Path) -> None:
    write(tmp_path / "a.orc", {**BEFORE, "other": [1]})
    write(tmp_path / "b.orc", {"id": [2], "other": ["x"], "new": [1]})
    write(tmp_path / "c.orc", {"id": ["2"]})
    place = StorageLocation(str(tmp_path))
    wanted = T.StructType([T.StructField("Id", T.LongType()), T.StructField("unseen", T.LongType())])
    columns = columns_of_stream(
        [f"{tmp_path}/a.orc"], "orc", place, merged=wanted, has_folder_columns=True, leaves_out=True
    )
    assert columns is not None
    columns.require([f"{tmp_path}/b.orc"], place)
    with pytest.raises(PipelineExecutionException, match=r"'id' \(int64 and string\)"):
        columns.require([f"{tmp_path}/c.orc"], place)


def test_a_column_that_stands_in_the_names_of_new_folders_is_one_more(tmp_path: Path) -> None:
    write(tmp_path / "n=1/a.parquet", BEFORE)
    write(tmp_path / "n=1/day=2/b.parquet", BEFORE)
    place = StorageLocation(str(tmp_path))
    for is_column in (True, False):
        columns = columns_of_stream(
            [f"{tmp_path}/n=1/a.parquet"], "parquet", place, merged=None, has_folder_columns=is_column
        )
        assert columns is not None
        if is_column:
            with pytest.raises(PipelineExecutionException, match=r"'day' \(none and of a folder\)"):
                columns.require([f"{tmp_path}/n=1/day=2/b.parquet"], place)
        else:
            columns.require([f"{tmp_path}/n=1/day=2/b.parquet"], place)


def streamed(
    spark: SparkSession, tmp_path: Path, source: StepValue, waiting: dict[str, Mapping[str, Any]], **sink: Any
) -> None:
    """Run a stream into a table; each file that waits comes after a micro-batch; after all it is stopped."""

    def listen(progress: StreamProgress) -> None:
        if not progress.worked:
            return
        if waiting:
            name = next(iter(waiting))
            write(tmp_path / "in" / name, waiting.pop(name))
        else:
            StreamRequest(action="stop").write(request_file("tested"))

    into = load("toDeltaLake", **{"path": str(tmp_path / "out"), "trigger": "100 milliseconds", **sink})
    options = {"checkpointRoot": str(tmp_path / "checkpoints")}
    StreamRun(pipeline_of([source, into], mode="streaming", streaming=options), spark, listener=listen).run()


NEW_COLUMN = {"name": "new", "type": ["null", "string"], "default": None}
READER_SCHEMA = {"type": "record", "name": "r", "fields": [{"name": "id", "type": ["null", "long"]}, NEW_COLUMN]}


@pytest.mark.parametrize(
    ("method", "file_format", "way_out"),
    [
        ("fromFiles", "parquet", {"mergeSchema": True}),
        ("fromAvro", "avro", {"avroSchema": json.dumps(READER_SCHEMA)}),
    ],
)
def test_a_stream_stops_at_a_file_with_other_columns_before_it_is_loaded(
    spark: SparkSession, tmp_path: Path, method: str, file_format: str, way_out: Mapping[str, Any]
) -> None:
    keys = {"path": str(tmp_path / "in"), **({"format": file_format} if method == "fromFiles" else {})}
    write(tmp_path / "in" / f"a.{file_format}", {"id": [1]})
    later: dict[str, Mapping[str, Any]] = {f"b.{file_format}": {"id": [2]}}
    later[f"c.{file_format}"] = {"id": [3], "new": ["n"]}
    with pytest.raises(PipelineException) as error:
        streamed(spark, tmp_path, extract(method, **keys), later)
    told = " ".join(str(error.value).split())
    assert f"step 1 (extract {method})" in told
    assert f"the new file {tmp_path}/in/c.{file_format} has other columns than those" in told
    assert "the stream started with: 'new' (none and" in told
    assert f"'{next(iter(way_out))}'" in told
    assert sorted(DeltaTable(tmp_path / "out").to_pyarrow_table()["id"].to_pylist()) == [1, 2]
    with pytest.raises(PipelineException, match=r"c\.\w+ differ in their columns: 'new'"):
        streamed(spark, tmp_path, extract(method, **keys), {})
    streamed(spark, tmp_path, extract(method, **keys, **way_out), {}, trigger="availableNow", mergeSchema=True)
    found = DeltaTable(tmp_path / "out").to_pyarrow_table().sort_by("id")
    assert found.to_pydict() == {"id": [1, 2, 3], "new": [None, None, "n"]}


def test_a_file_whose_decimals_have_another_scale_than_the_avro_schema_stops_a_stream_and_a_batch(
    spark: SparkSession, tmp_path: Path
) -> None:
    def fields(scale: int) -> list[dict[str, Any]]:
        price = {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": scale}
        return [{"name": "id", "type": "long"}, {"name": "price", "type": {"type": "array", "items": price}}]

    (tmp_path / "in").mkdir()
    for number, scale in ((1, 4), (2, 2)):
        with (tmp_path / f"{number}.avro").open("wb") as file:
            schema = {"type": "record", "name": "r", "fields": fields(scale)}
            fastavro.writer(file, schema, [{"id": number, "price": [Decimal("12.34")]}])
    (tmp_path / "1.avro").rename(tmp_path / "in" / "1.avro")
    wanted = {"type": "record", "name": "r", "fields": [*fields(4), NEW_COLUMN]}
    source = extract("fromAvro", path=str(tmp_path / "in"), avroSchema=json.dumps(wanted))

    def add(progress: StreamProgress) -> None:
        if progress.worked:
            (tmp_path / "2.avro").rename(tmp_path / "in" / "2.avro")

    told = r"2\.avro would be read as other values .*'price\[\]' was written as decimal\(10,2\), and is wanted as"
    into = load("toDeltaLake", path=str(tmp_path / "out"), trigger="100 milliseconds")
    options = {"checkpointRoot": str(tmp_path / "checkpoints")}
    with pytest.raises(PipelineException, match=told):
        StreamRun(pipeline_of([source, into], mode="streaming", streaming=options), spark, listener=add).run()
    with pytest.raises(PipelineException, match=told):
        run(spark, source, load("toDeltaLake", path=str(tmp_path / "out")))
    assert DeltaTable(tmp_path / "out").to_pyarrow_table().to_pylist() == [
        {"id": 1, "price": [Decimal("12.3400")], "new": None}
    ]
