"""Files as DuckDB, pyarrow and fastavro see them, and their publication under faults."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote

import duckdb
import fastavro
import pyarrow.orc
import pytest
from pyspark.sql import SparkSession

from devtools.pipelines import json_rows, last_step, listing, load, pipeline_of, run
from pipeline_platform.connectors.files import committer as publication
from pipeline_platform.connectors.files.sink import ToFiles
from pipeline_platform.connectors.files.source import FileFormat
from pipeline_platform.exceptions import PipelineConfigurationException, PipelineExecutionException
from pipeline_platform.metrics.run import StepMetrics
from pipeline_platform.steps.load import LoadRun

SCHEMA = "id BIGINT, name STRING"
ONE_AND_TWO = [{"id": 1, "name": "one"}, {"id": 2, "name": "two, or 'so'\t\"x\""}]
THREE = [{"id": 3, "name": "three"}]

Rows = Sequence[Mapping[str, Any]]
Write = Callable[..., StepMetrics]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "out put%41"


@pytest.fixture
def write(spark: SparkSession, tmp_path: Path, folder: Path) -> Write:
    """Run a pipeline that loads these rows into the folder."""

    def once(
        rows: Rows, schema: str = SCHEMA, method: str = "toFiles", load_id: str | None = None, **config: Any
    ) -> StepMetrics:
        if method == "toFiles":
            config.setdefault("format", "parquet")
        steps = [json_rows(tmp_path / "rows.json", rows, schema), load(method, path=str(folder), **config)]
        return last_step(run(spark, *steps, load_id=load_id))

    return once


def data_files(folder: Path) -> list[str]:
    """What Spark and every other reader that knows hidden names finds."""
    return [name for name in listing(folder) if "=" in name or not name.startswith("_")]


def parquet_rows(folder: Path) -> list[dict[str, Any]]:
    names = [str(folder / name) for name in data_files(folder)]
    if not names:
        return []
    relation = duckdb.connect().read_parquet(names, hive_partitioning=False)
    rows = [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]
    return sorted(rows, key=lambda row: row["id"])


def read_back(folder: Path, file_format: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for path in (folder / name for name in data_files(folder)):
        match file_format:
            case "avro":
                with path.open("rb") as file:
                    rows += cast(Iterable[dict[str, Any]], fastavro.reader(file))
            case "orc":
                rows += pyarrow.orc.read_table(path).to_pylist()
            case "parquet":
                rows += duckdb.connect().read_parquet(str(path)).df().to_dict("records")
            case "json":
                rows += duckdb.connect().read_json(str(path)).df().to_dict("records")
            case _:
                found = duckdb.connect().read_csv(str(path), header=True, escapechar='"', quotechar='"')
                rows += found.df().to_dict("records")
    return sorted(rows, key=lambda row: row["id"])


@pytest.mark.parametrize("file_format", ["parquet", "orc", "json", "csv", "avro"])
def test_every_format_is_what_other_readers_read(write: Write, folder: Path, file_format: str) -> None:
    write(ONE_AND_TWO, format=file_format)
    metrics = write(THREE, format=file_format.upper())
    assert read_back(folder, file_format) == [*ONE_AND_TWO, *THREE]
    assert metrics.rows == 1
    assert metrics.files == 1
    sizes = [(folder / name).stat().st_size for name in data_files(folder)]
    assert metrics.bytes in sizes


def test_toavro_writes_with_the_schema_it_is_given(write: Write, folder: Path) -> None:
    schema = (
        '{"type": "record", "name": "Named", "fields": [{"name": "id", "type": ["null", "long"]},'
        ' {"name": "name", "type": ["null", "string"]}]}'
    )
    write(ONE_AND_TWO, method="toAvro", avroSchema=schema, compression="deflate")
    with (folder / data_files(folder)[0]).open("rb") as file:
        reader = fastavro.reader(file)
        written: Any = reader.writer_schema
        assert written["name"] == "Named"
        assert reader.codec == "deflate"
        assert list(reader) == ONE_AND_TWO


def test_avro_knows_codecs_by_their_common_names(write: Write, folder: Path) -> None:
    write(ONE_AND_TWO, method="toAvro", compression="zstd")
    assert b"zstandard" in (folder / data_files(folder)[0]).read_bytes()


def test_csv_is_written_as_its_keys_say(write: Write, folder: Path) -> None:
    write(ONE_AND_TWO[:1], format="csv", header="false", delimiter="|", compression="GZIP")
    (name,) = data_files(folder)
    assert name.endswith(".csv.gz")
    assert gzip.decompress((folder / name).read_bytes()) == b"1|one\n"


def test_the_codec_is_the_one_asked_for(write: Write, folder: Path) -> None:
    write(ONE_AND_TWO, compression="zstd")
    sql = f"SELECT DISTINCT compression FROM parquet_metadata('{folder / data_files(folder)[0]}')"
    assert duckdb.connect().sql(sql).fetchall() == [("ZSTD",)]


def test_a_codec_that_the_format_lacks_is_a_mistake_in_the_file() -> None:
    with pytest.raises(PipelineConfigurationException, match="parquet files can't be compressed with 'zip'"):
        pipeline_of([load("toFiles", path="x", format="parquet", compression="zip")])


def test_partition_values_of_any_letters_survive(write: Write, folder: Path) -> None:
    names = ["a%20b", "x=y", " blank ", "_hidden", ".dot", "a/b", "100%", "plain"]
    write([{"id": place, "name": name} for place, name in enumerate(names)], partitionBy="name")
    found = {
        unquote(name.split("/")[0].removeprefix("name=")): duckdb.connect()
        .read_parquet([str(folder / name)], hive_partitioning=False)
        .fetchall()
        for name in data_files(folder)
    }
    assert found == {name: [(place,)] for place, name in enumerate(names)}


def test_overwrite_replaces_the_data_and_no_other_files(write: Write, folder: Path) -> None:
    write(ONE_AND_TWO)
    (folder / "_mine").write_text("kept")
    write(THREE, mode="overwrite")
    assert parquet_rows(folder) == THREE
    assert (folder / "_mine").read_text() == "kept"


def test_errorifexists_and_ignore_leave_what_is_there(write: Write, folder: Path) -> None:
    write(ONE_AND_TWO, mode="errorIfExists", load_id="first")
    assert write(ONE_AND_TWO, mode="errorIfExists", load_id="first").status == "SKIPPED"
    with pytest.raises(PipelineExecutionException, match="already, and mode is errorIfExists"):
        write(THREE, mode="errorIfExists")
    assert write(THREE, mode="ignore").status == "SKIPPED"
    assert parquet_rows(folder) == ONE_AND_TWO


def test_a_new_load_appends_and_a_late_retry_does_not(write: Write, folder: Path) -> None:
    for load_id in ("first", "second", "first"):
        write(THREE, load_id=load_id)
    assert parquet_rows(folder) == THREE * 2


def test_no_rows_make_a_file_with_the_schema(write: Write, folder: Path) -> None:
    assert write([], "id BIGINT, at TIMESTAMP").rows == 0
    relation = duckdb.connect().read_parquet([str(folder / name) for name in data_files(folder)])
    assert (relation.columns, relation.fetchall()) == (["id", "at"], [])


@pytest.mark.parametrize(
    ("file_format", "schema", "told"),
    [
        ("csv", "id BIGINT, s STRUCT<a: INT>", "csv can't hold the column 's', struct<a:int>"),
        ("orc", "id BIGINT, n VOID", "orc can't hold the column 'n', void"),
        ("parquet", "id BIGINT, ID INT", "the columns 'id' and 'ID'"),
    ],
)
def test_what_a_format_can_not_hold_is_refused_before_anything_is_written(
    spark: SparkSession, tmp_path: Path, folder: Path, file_format: FileFormat, schema: str, told: str
) -> None:
    with pytest.raises(PipelineExecutionException) as raised:
        ToFiles(path=str(folder), format=file_format).prepare(spark.createDataFrame([], schema), LoadRun("x", "x"))
    assert told in raised.value.message
    assert raised.value.hint
    assert not folder.exists()


class ForcedError(Exception):
    """A fault of the test's making."""


def _fail_at(monkeypatch: pytest.MonkeyPatch, function: str, call: int) -> None:
    real, calls = getattr(publication, function), []

    def faulty(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == call:
            raise ForcedError(f"{function}, call {call}")
        return real(*args)

    monkeypatch.setattr(publication, function, faulty)


# (function, call): the manifest is the first thing written whole, the record the second.
POINTS = {
    "after staging": ("_write_whole", 1),
    "before the first move": ("_move", 1),
    "between two moves": ("_move", 2),
    "before the record": ("_write_whole", 2),
    "before the staging is removed": ("remove_tree", 1),
}


@pytest.mark.parametrize("mode", ["append", "overwrite"])
@pytest.mark.parametrize("point", POINTS)
def test_a_load_that_fails_at_any_point_and_is_retried_leaves_every_row_once(
    write: Write, folder: Path, monkeypatch: pytest.MonkeyPatch, point: str, mode: str
) -> None:
    write(THREE, partitionBy="name")
    before = data_files(folder)
    with monkeypatch.context() as faulty:
        _fail_at(faulty, *POINTS[point])
        with pytest.raises(PipelineExecutionException, match="call"):
            write(ONE_AND_TWO, load_id="first", mode=mode, partitionBy="name")
    if point == "after staging":
        assert data_files(folder) == before
        assert not (folder / publication.LEDGER / "pending").exists()
    write(ONE_AND_TWO, load_id="first", mode=mode, partitionBy="name")
    assert [row["id"] for row in parquet_rows(folder)] == ([1, 2, 3] if mode == "append" else [1, 2])
    assert not (folder / publication.LEDGER / "pending").exists()


def test_a_load_that_was_given_up_half_published_is_finished_by_the_next(
    write: Write, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as faulty:
        _fail_at(faulty, "_move", 2)
        with pytest.raises(PipelineExecutionException):
            write(ONE_AND_TWO, load_id="given up", partitionBy="name")
    write(THREE, load_id="next", partitionBy="name")
    write(ONE_AND_TWO, load_id="given up", partitionBy="name")
    assert [row["id"] for row in parquet_rows(folder)] == [1, 2, 3]


def test_nothing_is_visible_before_publication(
    write: Write, folder: Path, monkeypatch: pytest.MonkeyPatch, spark: SparkSession
) -> None:
    write(THREE)
    seen: list[int] = []
    real = publication._write_whole

    def looking(path: Any, text: str) -> None:
        if path.name == "manifest.json":
            seen.append(spark.read.parquet(str(folder)).count())
            assert len(data_files(folder)) == 1
        real(path, text)

    monkeypatch.setattr(publication, "_write_whole", looking)
    write(ONE_AND_TWO)
    assert seen == [1]
    assert parquet_rows(folder) == [*ONE_AND_TWO, *THREE]


def test_a_row_that_fails_leaves_the_folder_as_it_was(spark: SparkSession, tmp_path: Path, folder: Path) -> None:
    steps = [json_rows(tmp_path / "rows.json", ONE_AND_TWO, SCHEMA)]
    bad = {"type": "transform", "method": "enrichData", "config": {"columns": {"n": "CAST(name AS INT)"}}}
    with pytest.raises(PipelineExecutionException, match="cannot be cast") as raised:
        run(spark, *steps, bad, load("toFiles", path=str(folder), format="parquet"))
    assert raised.value.location is not None
    assert raised.value.location.step_index == 1
    assert not folder.exists()


def test_a_file_in_the_place_of_the_folder_is_refused(write: Write, folder: Path) -> None:
    folder.write_text("mine")
    with pytest.raises(PipelineExecutionException, match="is a file; a folder is needed"):
        write(THREE)
    assert folder.read_text() == "mine"
