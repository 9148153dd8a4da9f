"""Files that are loaded beside others: with their columns, or not at all; as DuckDB, pyarrow and fastavro find them."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, cast
from unittest.mock import Mock

import duckdb
import fastavro
import pyarrow
import pyarrow.orc
import pyarrow.parquet
import pytest
from pyspark.sql import SparkSession

from devtools.pipelines import extract, last_step, listing, load, pipeline_of
from pipeline_platform.connectors.avro.sink import ToAvro
from pipeline_platform.connectors.files import committer
from pipeline_platform.connectors.files.fitted_load import FittedLoad
from pipeline_platform.connectors.files.newest_file import LEDGER
from pipeline_platform.connectors.files.sink import ToFiles
from pipeline_platform.engine.streaming.stream import StreamRun
from pipeline_platform.exceptions import PipelineConfigurationException, PipelineExecutionException
from pipeline_platform.steps.load import LoadRun

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
    "avro": {**{name: value for name, value in FLAT.items() if name != "folded"}, **BYTES, **NESTED, **VOID},
    "json": {**FLAT, **BYTES, **NESTED, **VOID, **VARIANT},
    "csv": FLAT,
}


Prepare = Callable[..., FittedLoad]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "out put%41"


@pytest.fixture
def prepare(spark: SparkSession, folder: Path) -> Prepare:
    """Plan a load of one row, given as SQL, into the folder."""
    numbers = itertools.count()

    def once(row: str, load_id: str | None = None, **config: Any) -> FittedLoad:
        given: dict[str, Any] = {"path": str(folder), "format": "parquet", **config}
        frame = spark.sql(f"SELECT {row}").coalesce(1)
        return ToFiles(**given).prepare(frame, LoadRun(load_id or f"load-{next(numbers)}", "x"))

    return once


def data_files(folder: Path) -> list[Path]:
    """The files in the order in which they were written."""
    names = [folder / name for name in listing(folder) if not name.startswith("_")]
    return sorted(names, key=lambda path: path.stat().st_mtime_ns)


def columns_of(file: Path, file_format: str) -> Any:
    match file_format:
        case "parquet":
            return pyarrow.parquet.read_schema(file)
        case "orc":
            return pyarrow.orc.ORCFile(file).schema
        case "avro":
            with file.open("rb") as opened:
                return fastavro.reader(opened).writer_schema
        case "json":
            return [*json.loads(file.read_text())]
        case _:
            return file.read_text().splitlines()[0]


@pytest.mark.parametrize("file_format", TYPES)
def test_a_frame_of_all_types_is_appended_as_often_as_one_likes(
    prepare: Prepare, folder: Path, file_format: str
) -> None:
    row = ", ".join(f"{value} AS {name}" for name, value in TYPES[file_format].items())
    for _ in range(2):
        assert prepare(row, format=file_format).write().schema_changes == ()
    # As an earlier version has left the folder.
    (folder / NOTE).unlink()
    assert prepare(row, format=file_format).changes == ()
    first, second = (columns_of(file, file_format) for file in data_files(folder))
    assert first == second


ID, NAME = "1L AS id", "'x' AS name"
HASH = "0123456789abcdef0123"


def leave_file(folder: Path, file_format: str, name: str = f"part-0-{HASH}") -> None:
    """A file with `id BIGINT, name STRING`, by something that is not Spark."""
    folder.mkdir(exist_ok=True, parents=True)
    path = folder / f"{name}.{file_format}"
    table = pyarrow.table({"id": pyarrow.array([1], pyarrow.int64()), "name": ["x"]})
    match file_format:
        case "parquet":
            pyarrow.parquet.write_table(table, path)
        case "orc":
            pyarrow.orc.write_table(table, path)
        case "avro":
            fields = [{"name": "id", "type": ["long", "null"]}, {"name": "name", "type": ["string", "null"]}]
            with path.open("wb") as file:
                fastavro.writer(file, {"type": "record", "name": "r", "fields": fields}, table.to_pylist())
        case "json":
            path.write_text('{"id":1}\n{"id":2,"name":"x"}\n')
        case _:
            path.write_text("id,name\n1,x\n")


@pytest.mark.parametrize("file_format", TYPES)
def test_files_without_a_note_say_their_own_columns(prepare: Prepare, folder: Path, file_format: str) -> None:
    leave_file(folder, file_format)
    prepare(f"{NAME}, {ID}", format=file_format)
    with pytest.raises(PipelineExecutionException, match=f"part-0-{HASH}.{file_format} in .* has the column 'name'"):
        prepare(ID, format=file_format)
    # Json leaves out what is NULL.
    if file_format != "json":
        with pytest.raises(PipelineExecutionException, match="has no column 'more', int; it has id, name") as raised:
            prepare(f"{ID}, {NAME}, 1 AS more", format=file_format)
        assert raised.value.hint == "drop it, or set 'newColumns', such as to add"
    wider = f"CAST(1 AS DECIMAL(20, 1)) AS id, {NAME}"
    if file_format in ("json", "csv"):
        prepare(wider, format=file_format)
        return
    with pytest.raises(PipelineExecutionException, match=r"'id' is decimal\(20,1\), and .* has it as bigint"):
        prepare(wider, format=file_format, schemaPolicy={"typeChanges": "widen"})
    with pytest.raises(PipelineExecutionException, match=r"'id' is int, and .* has it as bigint"):
        prepare(f"1 AS id, {NAME}", format=file_format)


def test_what_is_there_but_no_file_of_a_load_is_told_apart(prepare: Prepare, folder: Path) -> None:
    folder.mkdir()
    prepare("1 AS other")
    (folder / LEDGER / "done").mkdir(parents=True)
    (folder / "README.csv").write_text("nothing of ours")
    leave_file(folder / "below", "parquet")
    prepare("1 AS other")
    leave_file(folder, "parquet", "by-others")
    with pytest.raises(PipelineExecutionException, match=r"by-others.parquet in .* has no column 'other'"):
        prepare("1 AS other")
    # Of those that loads have left the newest counts, and no other.
    leave_file(folder, "json")
    with pytest.raises(PipelineExecutionException, match="is json, and parquet files beside it could not be read with"):
        prepare("1 AS other")
    os.utime(folder / f"part-0-{HASH}.json", (0, 0))
    pyarrow.parquet.write_table(pyarrow.table({"other": pyarrow.array([1], pyarrow.int32())}), folder / f"a-{HASH}")
    prepare("1 AS other")
    (folder / f"a-{HASH}").write_bytes(b"cut off")
    with pytest.raises(PipelineExecutionException, match="can't be read as parquet, so its columns are not known"):
        prepare("1 AS other")


def test_an_overwrite_of_everything_and_a_load_that_is_done_compare_nothing(prepare: Prepare, folder: Path) -> None:
    assert prepare(f"{ID}, {NAME}", "first").write().skipped is None
    assert prepare("1 AS other", "first").write().skipped == "an earlier attempt of this run has loaded it already"
    prepare("1 AS other", mode="overwrite").write()
    assert [columns_of(file, "parquet").names for file in data_files(folder)] == [["other"]]
    with pytest.raises(PipelineExecutionException, match="has no column 'id'"):
        prepare(ID)


LENIENT = {"newColumns": "add", "missingColumns": "allow", "typeChanges": "widen"}


@pytest.mark.parametrize("file_format", ["parquet", "avro"])
def test_a_policy_gives_each_file_the_columns_and_types_that_are_there(
    prepare: Prepare, folder: Path, file_format: str
) -> None:
    how = {"format": file_format, "schemaPolicy": LENIENT}
    prepare("1L AS id, named_struct('x', 1L, 'y', 'old') AS s, 1.5D AS d", **how).write()
    given = "named_struct('z', 7, 'X', 2) AS S, CAST(2 AS SMALLINT) AS d, 9 AS more, 2 AS ID"
    done = prepare(given, **how).write()
    assert [(change.column, change.change) for change in done.schema_changes] == [
        ("S.z", "added"),
        ("more", "added"),
        ("s.y", "missing"),
    ]
    prepare("3 AS id", format=file_format, schemaPolicy={**LENIENT, "newColumns": "ignore"}).write()
    rows = [row for file in data_files(folder) for row in rows_of(file, file_format)]
    assert rows == [
        {"id": 1, "s": {"x": 1, "y": "old"}, "d": 1.5},
        {"id": 2, "s": {"x": 2, "y": None, "z": 7}, "d": 2.0, "more": 9},
        {"id": 3, "s": None, "d": None, "more": None},
    ]
    assert [[*row] for row in rows] == [["id", "s", "d"], *[["id", "s", "d", "more"]] * 2]
    if file_format == "parquet":
        first, second, third = (columns_of(file, file_format) for file in data_files(folder))
        assert [second.field(name).type for name in ("id", "d")] == [first.field(name).type for name in ("id", "d")]
        assert third.field("more").type == second.field("more").type


def rows_of(file: Path, file_format: str) -> list[dict[str, Any]]:
    if file_format == "parquet":
        return pyarrow.parquet.read_table(file).to_pylist()
    with file.open("rb") as opened:
        return list(cast(Iterable[dict[str, Any]], fastavro.reader(opened)))


def test_csv_is_written_in_the_order_that_is_there(prepare: Prepare, folder: Path) -> None:
    prepare(f"{ID}, {NAME}", format="csv").write()
    prepare("'y' AS Name, 2 AS id", format="csv").write()
    policy = {"newColumns": "add", "missingColumns": "allow"}
    prepare("'new' AS more, 3 AS id", format="csv", schemaPolicy=policy).write()
    assert [file.read_text() for file in data_files(folder)] == [
        "id,name\n1,x\n",
        "id,name\n2,y\n",
        "id,name,more\n3,,new\n",
    ]
    rows = duckdb.read_csv(f"{folder}/*.csv", union_by_name=True).order("id").fetchall()
    assert rows == [(1, "x", None), (2, "y", None), (3, None, "new")]
    with pytest.raises(PipelineExecutionException, match="has a header, and 'header' is false"):
        prepare(f"{ID}, {NAME}", format="csv", header=False)


def test_csv_without_a_header_has_as_many_columns_and_in_the_order_that_a_load_noted(
    prepare: Prepare, folder: Path
) -> None:
    how = {"format": "csv", "header": False}
    prepare(f"{ID}, {NAME}", **how).write()
    prepare("'y' AS name, 2 AS id", **how).write()
    assert [file.read_text() for file in data_files(folder)] == ["1,x\n", "2,y\n"]
    with pytest.raises(PipelineExecutionException, match="has no column 'other'"):
        prepare("2 AS id, 'y' AS other", **how)
    (folder / NOTE).unlink()
    prepare("2 AS id, 'y' AS other", **how)
    with pytest.raises(PipelineExecutionException, match="has no header and 2 columns, and the frame has 1: id"):
        prepare(ID, **how)


def test_json_has_the_names_that_a_load_noted_also_where_all_is_null(prepare: Prepare, folder: Path) -> None:
    prepare("1 AS id, CAST(NULL AS STRING) AS name", format="json").write()
    prepare("DATE'2024-01-01' AS name, 2 AS id", format="json")
    with pytest.raises(PipelineExecutionException, match="has no column 'other', string; it has id, name"):
        prepare("1 AS id, CAST(NULL AS STRING) AS name, 'x' AS other", format="json")
    with pytest.raises(PipelineExecutionException, match="has the column 'name'"):
        prepare("1 AS id", format="json")


def test_partitions_that_are_overwritten_have_the_columns_of_the_others(prepare: Prepare, folder: Path) -> None:
    how = {"mode": "overwrite", "partitionBy": "p", "partitionOverwrite": "dynamic"}
    prepare("1 AS id, 'a' AS p", **how).write()
    prepare("'b' AS P, 2 AS id", **how).write()
    with pytest.raises(PipelineExecutionException, match=r"p=b/part-.* has no column 'more', int; it has id"):
        prepare("3 AS id, 7 AS more, 'a' AS p", **how)
    with pytest.raises(PipelineExecutionException, match="is in folders by p, and 'partitionBy' is not there"):
        prepare("3 AS id")
    prepare("'a' AS p, 7 AS more, 3 AS id", **how, schemaPolicy={"newColumns": "add"}).write()
    found = duckdb.read_parquet(f"{folder}/*/*.parquet", union_by_name=True, hive_partitioning=True)
    assert found.project("id, p, more").order("id").fetchall() == [(2, "b", None), (3, "a", 7)]


def test_of_two_loads_planned_for_an_empty_folder_one_with_other_columns_is_refused(
    prepare: Prepare, folder: Path
) -> None:
    first, same, other = prepare(ID), prepare("2L AS id"), prepare("'x' AS id")
    first.write()
    same.write()
    with pytest.raises(PipelineExecutionException, match=r"another load has written part-.* meanwhile"):
        other.write()
    other.clean()
    assert sorted(row["id"] for file in data_files(folder) for row in rows_of(file, "parquet")) == [1, 2]
    assert not (folder / LEDGER / "pending").exists()


def test_a_load_is_compared_with_what_an_interrupted_one_is_about_to_leave(
    prepare: Prepare, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(ID).write()
    with monkeypatch.context() as faulty:
        faulty.setattr(committer, "_move", Mock(side_effect=OSError("forced")))
        with pytest.raises(OSError, match="forced"):
            prepare("'x' AS other", mode="overwrite").write()
    refused = prepare(ID)
    with pytest.raises(PipelineExecutionException, match="meanwhile, which has other columns"):
        refused.write()
    prepare("'y' AS other").write()
    found = duckdb.read_parquet(f"{folder}/*.parquet")
    assert found.order("other").fetchall() == [("x",), ("y",)]


def test_avro_of_other_logical_types_is_refused_beside_that_of_a_schema(
    spark: SparkSession, prepare: Prepare, folder: Path
) -> None:
    def schema(*fields: dict[str, Any]) -> str:
        return json.dumps({"type": "record", "name": "r", "fields": list(fields)})

    millis = {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}}
    frame = spark.sql("SELECT TIMESTAMP'2024-01-01 00:00:00' AS at")

    def with_schema(text: str, **config: Any) -> FittedLoad:
        given: dict[str, Any] = {"path": str(folder), "avroSchema": text, **config}
        return ToAvro(**given).prepare(frame, LoadRun(text, "x"))

    with_schema(schema(millis)).write()
    with pytest.raises(PipelineExecutionException, match="'at' was written as timestamp-millis, and is wanted as"):
        prepare("TIMESTAMP'2024-01-01 00:00:00' AS at", format="avro")
    more = schema(millis, {"name": "more", "type": ["null", "int"], "default": None})
    with pytest.raises(PipelineExecutionException, match="has no column 'more', int; it has at"):
        with_schema(more)
    with_schema(more, schemaPolicy={"newColumns": "add"})


def test_a_stream_gives_its_micro_batches_the_columns_that_are_there(
    spark: SparkSession, tmp_path: Path, prepare: Prepare, folder: Path
) -> None:
    prepare(f"{ID}, {NAME}").write()
    (tmp_path / "in").mkdir()

    def stream(**config: Any) -> StreamRun:
        options = {"checkpointRoot": str(tmp_path / "checkpoints")}
        steps = [
            extract("fromFiles", path=str(tmp_path / "in"), format="json", schema="more INT, id INT"),
            load("toFiles", path=str(folder), format="parquet", trigger="availableNow", **config),
        ]
        return StreamRun(pipeline_of(steps, mode="streaming", streaming=options), spark)

    (tmp_path / "in" / "0.json").write_text('{"id": 2, "more": 7}')
    with pytest.raises(PipelineExecutionException, match="has no column 'more'"):
        stream().run()
    policy = {"newColumns": "ignore", "missingColumns": "allow", "typeChanges": "widen"}
    metrics = last_step(stream(schemaPolicy=policy).run())
    assert [change.told() for change in metrics.schema_changes] == [
        "the new column 'more' (int) was ignored",
        "the load has no column 'name' (string)",
    ]
    assert [column.name for column in metrics.columns] == ["id", "name"]
    rows = [row for file in data_files(folder) for row in rows_of(file, "parquet")]
    assert rows == [{"id": 1, "name": "x"}, {"id": 2, "name": None}]


@pytest.mark.parametrize(
    ("method", "config", "told"),
    [
        ("toFiles", {"format": "orc", "mode": "ignore"}, "'schemaPolicy' needs mode append, or overwrite"),
        ("toFiles", {"format": "orc", "mode": "overwrite"}, "replaces all files"),
        ("toFiles", {"format": "json", "typeChanges": "widen"}, "json files say no types"),
        ("toFiles", {"format": "csv", "header": False, "newColumns": "add"}, "have the same number of columns"),
        ("toFiles", {"format": "orc", "newColumns": "quarantine"}, "quarantine"),
        ("toAvro", {"avroSchema": '{"type": "record", "name": "r", "fields": []}', "newColumns": "ignore"}, "avroSch"),
    ],
)
def test_keys_that_do_not_go_together_are_mistakes_in_the_file(method: str, config: dict[str, Any], told: str) -> None:
    policy = {key: config.pop(key) for key in ("newColumns", "typeChanges") if key in config}
    with pytest.raises(PipelineConfigurationException, match=told):
        pipeline_of([load(method, path="x", schemaPolicy=policy, **config)])
