"""What the first bytes of files say, without Spark."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import zipfile
from pathlib import Path

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastavro.schema import SchemaParseException

from pipeline_platform.connectors.files.csv_dialect import CsvDialect, ends_in_crlf, ends_in_quotes, header_of
from pipeline_platform.connectors.files.csv_files import column_names
from pipeline_platform.connectors.files.heads import heads_of, require_format
from pipeline_platform.connectors.files.schemas import avro_columns, folder_values
from pipeline_platform.connectors.storage.location import StorageLocation
from pipeline_platform.exceptions import PipelineExecutionException

RFC_4180 = CsvDialect(",", '"', '"', None)


def zipped() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("a.csv", "id\n1\n")
    return data.getvalue()


def parquet() -> bytes:
    data = io.BytesIO()
    pq.write_table(pa.table({"id": [1]}), data)
    return data.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "file_format", "told", "hint"),
    [
        ("a.csv", zipped(), "csv", "it is a zip archive or an Excel workbook", "take a.csv out of the folder"),
        ("a.zip", zipped(), "json", "it is a zip archive or an Excel workbook", "take a.zip out of the folder"),
        ("a.csv", gzip.compress(b"id\n1\n"), "csv", "it is gzip", "a name that ends in .gz"),
        ("a.csv", parquet(), "csv", "it is parquet", "set 'format' to parquet"),
        ("a.parquet", parquet(), "orc", "it is parquet", "set 'format' to parquet"),
        ("a.json", b"\n <!DOCTYPE html><html>", "json", "it is an HTML or XML page", "error page"),
        ("a.csv", "id\nä\n".encode("utf-16"), "csv", "is UTF-16, not UTF-8", "set 'encoding' to UTF-16"),
        ("a.csv", "id\n1\n".encode("utf-16-le"), "csv", "a NUL at byte 1", "set 'encoding'"),
        ("a.csv", b"id\nK\xf6ln\n", "csv", "is not UTF-8: byte 0xf6 at 4", "set 'encoding'"),
    ],
)
def test_a_file_that_is_something_else_is_told(
    tmp_path: Path, name: str, data: bytes, file_format: str, told: str, hint: str
) -> None:
    (tmp_path / name).write_bytes(data)
    heads = heads_of([str(tmp_path / name)], StorageLocation(str(tmp_path)))
    with pytest.raises(PipelineExecutionException) as error:
        require_format(heads, file_format, "UTF-8")
    assert told in str(error.value)
    assert hint in (error.value.hint or "")


def test_a_file_of_its_format_is_let_through(tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"id\n1\n"))
    (tmp_path / "b.csv").write_bytes(b"")
    # The last character of the head is cut off.
    (tmp_path / "c.csv").write_bytes(b"i" + "ä".encode() * 40_000)
    (tmp_path / "d.csv").write_bytes("\ufeffid\n1\n".encode())
    paths = [str(path) for path in sorted(tmp_path.iterdir())]
    heads = heads_of(paths, StorageLocation(str(tmp_path)))
    require_format(heads, "csv", "UTF-8")
    assert [head.path for head in heads] == paths
    assert header_of(heads[0].text("UTF-8") or "", False, RFC_4180) == ("id",)
    assert header_of(heads[3].text("UTF-8") or "", True, RFC_4180) == ("id",)


@pytest.mark.parametrize(
    ("text", "dialect", "header"),
    [
        ('id,"a ""b"", c","d\ne"\n1', RFC_4180, ("id", 'a "b", c', "d\ne")),
        ("\n  \nid,n\r\n1,2", RFC_4180, ("id", "n")),
        ("# made today\nid;n\n", CsvDialect(";", '"', '"', "#"), ("id", "n")),
        ("'i\\'d'|n\n1", CsvDialect("|", "'", "\\", None), ("i'd", "n")),
        ("", RFC_4180, ()),
        ("id||n\n", CsvDialect("||", '"', '"', None), None),
    ],
)
def test_the_header_is_found(text: str, dialect: CsvDialect, header: tuple[str, ...] | None) -> None:
    assert header_of(text, True, dialect) == header


def test_a_header_that_goes_beyond_the_head_is_not_guessed() -> None:
    assert header_of("id,na", False, RFC_4180) is None


def test_columns_without_a_name_of_their_own_get_their_number() -> None:
    assert column_names(("id", "", "n", "N"), has_header=True) == ("id", "_c1", "n2", "N3")
    assert column_names(("7", "x"), has_header=False) == ("_c0", "_c1")


@pytest.mark.parametrize(
    ("name", "data", "is_whole"),
    [
        ("a.csv", b"", True),
        ("a.csv.gz", gzip.compress(b""), True),
        ("a.csv.bz2", bz2.compress(b""), True),
        ("a.csv.gz", gzip.compress(b"") + gzip.compress(b"id\n1\n"), False),
        ("a.csv.bz2", bz2.compress(b"") + bz2.compress(b"id\n1\n"), False),
        ("a.csv.gz", gzip.compress(b"")[:-1], False),
        ("a.csv.zst", b"", False),
    ],
)
def test_a_file_with_nothing_in_it_is_known_as_such(tmp_path: Path, name: str, data: bytes, is_whole: bool) -> None:
    (tmp_path / name).write_bytes(data)
    [head] = heads_of([str(tmp_path / name)], StorageLocation(str(tmp_path)))
    assert head.is_whole == is_whole


def test_the_columns_of_an_avro_file_stand_in_its_header() -> None:
    data = io.BytesIO()
    schema = {"type": "record", "name": "r", "fields": [{"name": "id", "type": ["null", "long"]}]}
    fastavro.writer(data, fastavro.parse_schema(schema), [{"id": 1}], codec="deflate", metadata={"who": "me"})
    assert avro_columns(data.getvalue()) == {"id": '["null", "long"]'}
    assert avro_columns(data.getvalue()[:30]) is None


@pytest.mark.parametrize(
    "data",
    [b"", b"Obj", b"PAR1\x02", b"Obj\x01", b"Obj\x01\x00", b"Obj\x01\xff" * 9, b"Obj\x01\x02\x16avro.schema\x02{\x00"],
)
def test_what_is_no_avro_file_has_no_columns(data: bytes) -> None:
    assert avro_columns(data) is None


def test_a_default_that_spark_does_not_look_at_keeps_no_columns_back() -> None:
    schema = {"type": "record", "name": "r", "fields": [{"name": "n", "type": "int", "default": "x"}]}
    with pytest.raises(SchemaParseException):
        fastavro.parse_schema(schema)
    header = io.BytesIO(b"Obj\x01")
    header.seek(4)
    said = {"avro.schema": json.dumps(schema).encode(), "avro.codec": b"null"}
    fastavro.schemaless_writer(header, {"type": "map", "values": "bytes"}, said)
    assert avro_columns(header.getvalue()) == {"n": '"int"'}


def test_values_of_folders_are_found_by_name() -> None:
    paths = ["/a=b/x/plz=01067/d=a%3Db/1.csv", "/a=b/x/plz=99999/2.csv"]
    assert folder_values(paths) == {"a": {"b"}, "plz": {"01067", "99999"}, "d": {"a=b"}}


@pytest.mark.parametrize(
    ("text", "is_crlf"),
    [
        ('a,b\r\n1,"x\ny"\r\n', True),
        ('a,b\n1,"x\r\ny"\n', False),
        ("a,b\r\n1,2\n", False),
        ('a,b\r\n1,"cut o\n', True),
        ("a,b", False),
    ],
)
def test_how_lines_end_is_found_outside_of_quotes(text: str, is_crlf: bool) -> None:
    assert ends_in_crlf(text, RFC_4180) is is_crlf


@pytest.mark.parametrize(
    ("text", "in_quotes"),
    [
        ('a,b\n1,"x"\n', False),
        ('a,b\n1,"x\n2,y\n', True),
        ('a,b\n1,"x', True),
        ('a,b\n1,"\n2,y', True),
        ('a,b\n1,"say ""hi\n', True),
        ('a,b\n1,5" pipe\n', False),
        ('a,b\n1,"x\n\n"', False),
        ("a,b\n1,x\n", False),
    ],
)
def test_a_file_that_ends_within_quotes_is_found(tmp_path: Path, text: str, in_quotes: bool) -> None:
    assert ends_in_quotes(text, RFC_4180, is_whole=True) is in_quotes
    # Of a large one the last characters are there, wherever they begin.
    lines = "".join(f'{index},"a ""b"", c\n{index},d"\n' for index in range(20_000))
    (tmp_path / "a.csv").write_text("a,b\n" + lines + text.removeprefix("a,b\n"), newline="")
    (head,) = heads_of([str(tmp_path / "a.csv")], StorageLocation(str(tmp_path)))
    end, is_whole = head.end("UTF-8") or ("", True)
    assert not is_whole
    assert ends_in_quotes(end, RFC_4180, is_whole=False) is in_quotes
    assert ends_in_quotes("1,2\n" * 1000, RFC_4180, is_whole=False) is None
    with_comment = CsvDialect("||", '"', '"', "#")
    commented = '# a "quote\n' + text.replace(",", "||") + ("" if in_quotes else "# done\n")
    assert ends_in_quotes(commented, with_comment, is_whole=True) is in_quotes
