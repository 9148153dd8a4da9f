"""Rows that are taken out of single files: every other row, and every other byte of text, stays as it was."""

from __future__ import annotations

import datetime as dt
import io
import json
import struct
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession
from upath import UPath

from pipeline_platform.connectors.files.committer import FileCommitter
from pipeline_platform.connectors.files.csv_dialect import CsvDialect
from pipeline_platform.connectors.files.erasing.avro_rows import AvroRows
from pipeline_platform.connectors.files.erasing.file_kinds import packed, parquet_without, unpacked
from pipeline_platform.connectors.files.erasing.folder import FolderErasure
from pipeline_platform.connectors.files.erasing.parquet_rows import RowsIn, rows_in
from pipeline_platform.connectors.files.erasing.text_rows import CsvRows, JsonRows
from pipeline_platform.connectors.files.newest_file import WrittenColumns, note_newest
from pipeline_platform.connectors.storage.location import StorageLocation
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.steps.erasing import Order, Wanted

RFC = CsvRows(CsvDialect(",", '"', '"', None), True, None, "UTF-8", "\n", "")
NONE: frozenset[str] = frozenset()


def of(column: str, *values: str) -> dict[str, frozenset[str]]:
    return {column: frozenset(values)}


def test_a_csv_file_keeps_every_byte_of_all_other_records():
    kept = [
        "id,note\n",
        '1,"a ""quoted"", text\nof 47 lines"\n',
        "470,plain\n",
        '"48","47"\n',
        " 47,blank before\n",
        ",\n",
    ]
    text = "".join([*kept[:2], '47,"two\nlines, and ""quotes"""\n', *kept[2:4], '"47",quoted\n', *kept[4:], "47,last"])
    wanted = of("id", "47", "")
    assert RFC.count(text.encode(), wanted, frozenset({"47"})) == RowsIn(rows=3, alike=1, within_text=3)
    assert RFC.without(text.encode(), wanted) == "".join(kept).encode()


def test_other_ways_to_write_csv_are_known():
    odd = CsvRows(CsvDialect(";", "'", "\\", None), False, ["id", "note"], "ISO-8859-1", "\r\n", "-")
    text = "'47';'it\\'s; \r\n é'\r\n48;'x'\r\n-;47\r\n"
    assert odd.without(text.encode("latin-1"), of("id", "47", "-")) == b"48;'x'\r\n-;47\r\n"
    assert odd.count(text.encode("latin-1"), of("id", "47", "-"), NONE) == RowsIn(rows=1)


def test_a_csv_file_that_is_not_as_it_was_written_is_left_alone():
    with pytest.raises(PipelineExecutionException, match="can't be written again with all other rows as they are"):
        RFC.without(b'id,note\n47,an "open quote\n48,x\n', of("id", "47"))


def test_a_json_file_keeps_every_byte_of_all_other_lines():
    kept = ['{"id":470,"x":1.50}', '{"x":47}', '{"id":"48" , "x":null}', '{"id":47.1}', '{"id":true}']
    text = "\n".join([*kept[:2], '{"x":"y","id":47}', '{"id":47.00}', *kept[2:], '{"id":"47"}', ""])
    rows = JsonRows("UTF-8", "\n")
    assert rows.without(text.encode(), of("id", "47", "True")) == "\n".join([*kept, ""]).encode()
    assert rows.columns(text.encode()) == ["id", "x"]


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("tags", "x", "rows can't be found by 'tags', whose type is ARRAY"),
        ("inner", "4711", "rows can't be found by 'inner', whose type is STRUCT"),
        ("number", "no number", "the key's value is no BIGINT, the type of 'number', and can't be looked for there"),
        ("number", "1.5", "the key's value is no BIGINT, the type of 'number', and can't be looked for there"),
        ("price", "1.555", "the key's value is no DECIMAL(9,2), the type of 'price', and can't be looked for there"),
        ("at", "yesterday", "the key's value is no TIMESTAMP, the type of 'at', and can't be looked for there"),
        (
            "share",
            "9007199254740993",
            "the key's value is no DOUBLE, the type of 'share', and can't be looked for there",
        ),
    ],
)
def test_what_can_not_be_looked_for_in_a_parquet_file_is_told(column: str, value: str, told: str, tmp_path: Path):
    (tmp_path / "a.parquet").write_bytes(_parquet()[1])
    found = rows_in(UPath(tmp_path / "a.parquet"), {(column,): frozenset({value})}, NONE)
    assert (found.rows, found.unsearched) == (0, frozenset({told}))


def test_a_field_within_a_column_that_is_named_like_the_key_is_told(tmp_path: Path):
    kind = pa.map_(pa.string(), pa.struct([("ID", pa.int64())]))
    pq.write_table(pa.table({"id": [1], "payload": pa.array([[("a", {"ID": 2})]], kind)}), tmp_path / "a.parquet")
    found = rows_in(UPath(tmp_path / "a.parquet"), {("id",): frozenset({"2"})}, NONE)
    assert found == RowsIn(doubts=frozenset({"'id' within the column 'payload' is not looked into"}))


def test_texts_of_a_csv_file_are_compared_as_the_type_that_their_load_has_noted():
    text = b"id,note\n4711.00,a\n04711,b\n,c\n"
    typed = RFC.typed({"id": pa.decimal128(9, 2)})
    assert typed.count(text, of("id", "4711"), NONE) == RowsIn(rows=2)
    assert typed.without(text, of("id", "4711")) == b"id,note\n,c\n"
    assert RFC.typed({"id": pa.string()}).count(text, of("id", "4711"), NONE) == RowsIn()
    [told] = RFC.count(text, of("id", "4711"), NONE).doubts
    assert told.startswith("'id' has the key's number in another spelling")
    [told] = RFC.typed({"id": pa.date32()}).count(text, of("id", "2026-01-01"), NONE).unsearched
    assert told == "'id' has texts that can't be read as its type DATE"


def test_values_of_a_json_file_that_the_key_can_not_be_compared_with_are_told():
    rows = JsonRows("UTF-8", "\n")
    told = {
        value: [*rows.count(f'{{"id":{value}}}\n'.encode(), of("id", "abc"), NONE).unsearched]
        for value in ("true", "[1]", "47", '"47"', "null")
    }
    assert [value for value, reasons in told.items() if reasons] == ["true", "[1]", "47"]


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.csv.bz2", "a.json.zst", "a.json.deflate"])
def test_compressed_text_is_written_as_it_was_read(name: str):
    data = b"id,note\n" * 1000
    assert unpacked(name, packed(name, data)) == data


def _parquet() -> tuple[Any, bytes]:
    day = dt.date(2026, 1, 31)
    columns: dict[str, tuple[pa.DataType, list[Any]]] = {
        "number": (pa.int64(), [1, 4711, None, 47]),
        "text": (pa.string(), ["a", "KEY 4711", None, "4711"]),
        "price": (pa.decimal128(9, 2), [Decimal("47.10"), Decimal("47.11"), None, Decimal("-1.00")]),
        "day": (pa.date32(), [day, day + dt.timedelta(1), None, day]),
        "at": (pa.timestamp("us", "UTC"), [dt.datetime(2026, 1, 1, tzinfo=dt.UTC)] * 4),
        "share": (pa.float64(), [float("nan"), 1.5, None, -0.0]),
        "tags": (pa.list_(pa.string()), [["x", None], [], None, ["y"]]),
        "inner": (pa.struct([("number", pa.int32())]), [{"number": 4711}, None, {"number": None}, {"number": 1}]),
    }
    table = pa.table({name: pa.array(values, kind) for name, (kind, values) in columns.items()})
    file = io.BytesIO()
    pq.write_table(table, file, row_group_size=2, compression="zstd", store_schema=False, store_decimal_as_integer=True)
    return table, file.getvalue()


@pytest.mark.parametrize(
    ("column", "value", "left"),
    [
        ("number", "4711", [0, 2, 3]),
        ("text", "4711", [0, 1, 2]),
        ("text", "key 4711", [0, 1, 2, 3]),
        ("price", "47.10", [1, 2, 3]),
        ("day", "2026-01-31", [1, 2]),
        ("share", "1.5", [0, 2, 3]),
        ("share", "1.50", [0, 2, 3]),
        ("share", "0", [0, 1, 2]),
        ("number", "4711.0", [0, 2, 3]),
        ("price", "47.1", [1, 2, 3]),
        ("day", "2026-1-31", [1, 2]),
        ("at", "2026-01-01 00:00:00", []),
        ("at", "2026-01-01T01:00:00.0+01:00", []),
        ("number", "no number", [0, 1, 2, 3]),
        ("missing", "1", [0, 1, 2, 3]),
    ],
)
def test_a_parquet_file_keeps_all_other_rows_and_how_they_are_stored(
    column: str, value: str, left: list[int], tmp_path: Path
):
    table, data = _parquet()
    file = tmp_path / "a.parquet"
    file.write_bytes(data)
    assert rows_in(UPath(file), {(column,): frozenset({value})}, NONE).rows == 4 - len(left)
    made = parquet_without(data, of(column, value))
    old, new = pq.ParquetFile(pa.BufferReader(data)), pq.ParquetFile(pa.BufferReader(made))
    assert repr(new.read().to_pylist()) == repr(table.take(pa.array(left, pa.int64())).to_pylist())
    assert new.schema.equals(old.schema)
    assert new.metadata.num_row_groups == old.metadata.num_row_groups
    assert new.metadata.row_group(0).column(0).compression == "ZSTD"
    (tmp_path / "b.parquet").write_bytes(made)
    with duckdb.connect() as db:
        assert db.execute(f"SELECT count(*) FROM '{tmp_path}/b.parquet'").fetchall() == [(len(left),)]


def test_in_parquet_files_texts_are_looked_into_and_fields(tmp_path: Path):
    (tmp_path / "a.parquet").write_bytes(_parquet()[1])
    file = UPath(tmp_path / "a.parquet")
    assert rows_in(file, {}, frozenset({"4711"})).within_text == 2
    assert rows_in(file, {}, frozenset({"471"})).within_text == 0
    assert rows_in(file, {("inner", "number"): frozenset({"4711"})}, NONE).rows == 1
    assert rows_in(file, {("text",): frozenset({"key 4711 "})}, NONE) == RowsIn(alike=1)


def test_a_folder_whose_name_has_the_number_in_another_spelling_is_told(tmp_path: Path):
    (tmp_path / "id=4711.00").mkdir()
    (tmp_path / "id=4711.00/a.csv").write_text("note\nx\n")
    erasure = FolderErasure(StorageLocation(str(tmp_path)), "csv", RFC)
    [told] = erasure.found(Wanted(of("id", "4711")), "erase/1").doubts
    assert told.startswith("'id' has the key's number in another spelling")
    both = erasure.found(Wanted(of("id", "4711", "4711.00")), "erase/1")
    assert (both.rows, both.doubts) == (1, ())


def test_the_ledger_of_a_folder_names_no_folder_of_the_person_any_more(tmp_path: Path):
    for name in ("id=47/a.csv", "id=48/a.csv"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("note\nx\n")
    columns = WrittenColumns(format="csv", columns='{"fields": []}')
    note_newest(UPath(tmp_path), ["id=47/a.csv"], columns)
    erasure = FolderErasure(StorageLocation(str(tmp_path)), "csv", RFC)
    wanted, order = Wanted(of("id", "47")), Order("erase/1", _no_spark)
    erasure.erase(wanted, order)
    note = tmp_path / "_pipeline_platform/newest.json"
    assert json.loads(note.read_text())["file"] == "id=48/a.csv"
    assert not erasure.found(wanted, "erase/1").remains
    # As an erase of an earlier version left it.
    note_newest(UPath(tmp_path), ["id=47/a.csv"], columns)
    assert erasure.found(wanted, "erase/1").log == 1
    assert erasure.erase(wanted, order).log == 1
    assert "47" not in note.read_text()


def test_a_parquet_file_with_other_timestamps_is_left_alone():
    file = io.BytesIO()
    pq.write_table(
        pa.table({"id": [1, 2], "at": pa.array([0, 1], pa.timestamp("us"))}), file, use_deprecated_int96_timestamps=True
    )
    with pytest.raises(PipelineExecutionException, match="such as INT96 timestamps"):
        parquet_without(file.getvalue(), of("id", "1"))


@pytest.mark.parametrize("codec", ["null", "deflate", "snappy", "bzip2", "xz"])
def test_an_avro_file_keeps_all_other_records_and_blocks_without_any_byte_by_byte(codec: str):
    fields = [{"name": "id", "type": ["null", "long"]}, {"name": "day", "type": {"type": "int", "logicalType": "date"}}]
    schema = {"type": "record", "name": "row", "fields": [*fields, {"name": "blob", "type": "bytes"}]}
    records: list[Any] = [
        {"id": None if number % 50 == 1 else number, "day": dt.date(2026, 1, 1), "blob": struct.pack(">q", number) * 20}
        for number in range(200)
    ]
    file = io.BytesIO()
    fastavro.writer(file, schema, records, codec=codec, sync_interval=4000, sync_marker=b"0123456789abcdef")
    data = file.getvalue()
    made = AvroRows().without(data, of("id", "7", "None"))
    assert list(fastavro.reader(io.BytesIO(made))) == [record for record in records if record["id"] != 7]
    blocks, kept = data.split(b"0123456789abcdef"), made.split(b"0123456789abcdef")
    assert [place for place, (old, new) in enumerate(zip(blocks, kept, strict=True)) if old != new] == [1]
    assert AvroRows().count(data, of("id", "7", "199"), NONE).rows == 2


def _no_spark() -> SparkSession:
    raise AssertionError("no session is needed")


def test_a_folder_that_is_named_by_the_person_goes_and_a_file_that_changes_meanwhile_is_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in ("id=47/a.csv", "id=48/a.csv", "b.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("id,note\n47,x\n48,y\n" if name == "b.csv" else "note\nx\n")
    erasure = FolderErasure(StorageLocation(str(tmp_path)), "csv", RFC)
    wanted, order = Wanted(of("id", "47")), Order("erase/1", _no_spark)
    assert erasure.found(wanted, "erase/1").rows == 2
    stage = FileCommitter._stage

    def changed(committer: FileCommitter, attempt: str) -> Any:
        staged = stage(committer, attempt)
        monkeypatch.setattr(FileCommitter, "_stage", stage)
        (tmp_path / "b.csv").write_text("id,note\n47,x\n48,y\n49,of a load meanwhile\n")
        return staged

    monkeypatch.setattr(FileCommitter, "_stage", changed)
    erased = erasure.erase(wanted, order)
    assert (erased.rewritten, erased.removed) == (1, 1)
    assert not (tmp_path / "id=47").exists()
    assert (tmp_path / "id=48/a.csv").read_text() == "note\nx\n"
    assert (tmp_path / "b.csv").read_text() == "id,note\n48,y\n49,of a load meanwhile\n"
    assert erasure.found(wanted, "erase/1").rows == 0
