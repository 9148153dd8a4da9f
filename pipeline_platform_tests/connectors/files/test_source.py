"""Files as the world has them, read right, refused, or set aside with a reason."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import deltalake
import duckdb
import fastavro
import pyarrow as pa
import pyarrow.orc as po
import pyarrow.parquet as pq
import pytest
from py4j.protocol import Py4JJavaError
from pydantic import ValidationError
from pyspark.errors import PySparkException, StreamingQueryException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.functions import lit

from devtools.pipelines import extract, load, pipeline_of, run_by_name, transform
from pipeline_platform.connectors.avro.source import FromAvro
from pipeline_platform.connectors.files.source import FromFiles
from pipeline_platform.engine.failures import explained
from pipeline_platform.exceptions import PipelineException, PipelineExecutionException
from pipeline_platform.steps.malformed import MALFORMED, RECORD


def read(spark: SparkSession, path: Path, file_format: str = "csv", **keys: Any) -> DataFrame:
    return FromFiles.model_validate({"path": str(path), "format": file_format, **keys}).read(spark, None)


def rows(frame: DataFrame) -> list[tuple[Any, ...]]:
    """The values of each row, without the mark."""
    return [tuple(row[:-2]) if frame.columns[-1] == MALFORMED else tuple(row) for row in frame.collect()]


def reasons(frame: DataFrame) -> dict[str, str]:
    """Why each record can't be used, by the record."""
    return {row[RECORD]["record"]: row[MALFORMED] for row in frame.collect() if row[MALFORMED] is not None}


def refusal(spark: SparkSession, path: Path, file_format: str = "csv", **keys: Any) -> str:
    with pytest.raises(PipelineExecutionException) as error:
        read(spark, path, file_format, **keys)
    return " ".join(str(error.value).split())


def told_of(error: Exception) -> str:
    steps = [extract("fromFiles", path="in", format="csv"), load("toDeltaLake", path="out")]
    return " ".join(str(explained(error, pipeline_of(steps).steps[0])).split())


RFC = (
    'id,note,n\r\n1,"say ""hi"", please",5\r\n2,"line\r\nbreak",6\r\n3,"",\r\n4,,8\r\n5,  pad  ,9\r\n'
    '6,"5"" pipe",10\r\n7,"a\0 ""b""",11\r\n'
)


def test_csv_is_read_as_rfc_4180_has_it(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(RFC.encode())
    frame = read(spark, tmp_path)
    assert frame.dtypes[:3] == [("id", "int"), ("note", "string"), ("n", "int")]
    expected = [
        (int(row["id"]), row["note"], int(row["n"]) if row["n"] else None)
        for row in csv.DictReader(io.StringIO(RFC, newline=""))
    ]
    # Only quotes tell an empty text from none.
    expected[3] = (4, None, 8)
    assert rows(frame) == expected
    assert reasons(frame) == {}


DIRTY = "id,note,n\n1,a,5\n2,b\n3,c,7,8\n4,d,NA\n5,e,1.5\nx,f,6\n7,g,9999999999\n8,,\n"
DIRTY_REASONS = {
    "2,b": "it has 2 fields, and its file 3 columns",
    "3,c,7,8": "it has 4 fields, and its file 3 columns",
    "4,d,NA": "the value of 'n' is not a valid INT",
    "5,e,1.5": "the value of 'n' is not a valid INT",
    "x,f,6": "the value of 'id' is not a valid INT",
    "7,g,9999999999": "the value of 'n' is not a valid INT",
}


@pytest.mark.parametrize("multi_line", [None, False])
def test_what_does_not_fit_the_schema_is_malformed(
    spark: SparkSession, tmp_path: Path, multi_line: bool | None
) -> None:
    (tmp_path / "a.csv").write_text(DIRTY)
    frame = read(spark, tmp_path, schema="id INT, note STRING, n INT", multiLine=multi_line)
    assert reasons(frame) == DIRTY_REASONS
    # Whatever is looked at, and whatever is filtered.
    assert frame.filter("id > 6").select(MALFORMED).filter(f"{MALFORMED} IS NOT NULL").count() == 1
    assert frame.select(MALFORMED).filter(f"{MALFORMED} IS NOT NULL").count() == len(DIRTY_REASONS)


def test_a_file_of_one_column_has_malformed_records_too(spark: SparkSession, tmp_path: Path) -> None:
    for kind, (good, bad) in {"INT": ("7", "NA"), "DOUBLE": ("0.5", "NA")}.items():
        (tmp_path / f"{kind}.csv").write_text(f"id\n{good}\n{bad}\n-\n")
        frame = read(spark, tmp_path / f"{kind}.csv", schema=f"id {kind}", nullValue=["-"])
        assert [row[0] for row in rows(frame)] == [json.loads(good), None, None]
        assert reasons(frame) == {bad: f"the value of 'id' is not a valid {kind}"}


def test_a_malformed_record_is_kept_as_its_file_writes_it(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id;n;note\n1;x;'say ''hi'';'\n2;5;\n")
    frame = read(spark, tmp_path, schema="id INT, n DOUBLE, note STRING", delimiter=";", quote="'")
    assert reasons(frame) == {"1;x;'say ''hi'';'": "the value of 'n' is not a valid DOUBLE"}


def test_a_malformed_record_goes_where_the_policy_says(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.csv").write_text(DIRTY)
    source = {
        "path": f"{tmp_path}/in",
        "format": "csv",
        "schema": "id INT, note STRING, n INT",
        "nullValue": ["-", "NA"],
    }
    steps = [transform("filterRows", condition="id < 3"), load("toDeltaLake", path=f"{tmp_path}/out")]
    with pytest.raises(PipelineException, match=r"a record can't be used: it has 2 fields.*in/a\.csv"):
        run_by_name(spark, extract("fromFiles", **source), *steps)
    assert not deltalake.DeltaTable.is_deltatable(f"{tmp_path}/out")
    done = run_by_name(spark, extract("fromFiles", **source, onMalformed="null"), *steps)
    assert done["from_files"].malformed == len(DIRTY_REASONS) - 1
    assert deltalake.DeltaTable(f"{tmp_path}/out").to_pyarrow_table().to_pylist() == [
        {"id": 1, "note": "a", "n": 5},
        {"id": 2, "note": "b", "n": None},
    ]
    done = run_by_name(
        spark, extract("fromFiles", **source, onMalformed="quarantine", quarantinePath=f"{tmp_path}/bad"), *steps
    )
    assert done["from_files"].quarantined == len(DIRTY_REASONS) - 1
    assert done["from_files"].quarantine == f"file://{tmp_path}/bad"
    kept = deltalake.DeltaTable(f"{tmp_path}/bad").to_pyarrow_table().to_pylist()
    expected = {record: reason for record, reason in DIRTY_REASONS.items() if not record.endswith("NA")}
    assert {row["record"]: row["reason"] for row in kept} == expected
    assert {row["file"] for row in kept} == {f"file://{tmp_path}/in/a.csv"}


@pytest.mark.parametrize(
    ("record", "multi_line"),
    [('1,"a"b,5', None), ('1,"two\nlines",5', False), ('1,x,"5', False), ('1,""x,5', False)],
)
def test_a_broken_quote_fails_whatever_the_policy(
    spark: SparkSession, tmp_path: Path, record: str, multi_line: bool | None
) -> None:
    (tmp_path / "a.csv").write_text(f"id,note,n\n{record}\n2,y,6\n")
    frame = read(spark, tmp_path, schema="id INT, note STRING, n INT", multiLine=multi_line, onMalformed="quarantine")
    with pytest.raises((PySparkException, Py4JJavaError)) as error:
        frame.collect()
    told = told_of(error.value)
    assert ("CSV field, in line 2" if multi_line is None else "does not end on its line: set 'multiLine'") in told


def test_a_quote_that_is_never_closed_takes_no_record_in_silence(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('id,note\n1,"x\n2,y\n3,z\n')
    assert "a.csv ends within a value in quotes next: close the quote" in refusal(spark, tmp_path / "a.csv")
    # Nothing at the end of this one tells, and its last value is all that follows the quote.
    lines = "".join(f"{index},y\n" for index in range(20_000))
    (tmp_path / "b.csv").write_text(f'id,note\n{lines}1,"x\n{lines}')
    frame = read(spark, tmp_path / "b.csv", schema="id INT, note STRING")
    with pytest.raises((PySparkException, Py4JJavaError)) as error:
        frame.filter("id > 19999").collect()
    assert "its file ends within a value in quotes" in told_of(error.value)
    for kind, text in (("DATE", "2024-01-31"), ("INT", "7")):
        (tmp_path / "d.csv").write_text(f'id,v\n1,"{text}\n{lines.replace("y", text)}')
        with pytest.raises((PySparkException, Py4JJavaError)) as error:
            read(spark, tmp_path / "d.csv", schema=f"id INT, v {kind}", onMalformed="null").collect()
        assert "its file ends within a value in quotes" in told_of(error.value)
    # Long values are no fault.
    (tmp_path / "c.csv").write_text(f'id,note\n1,"{lines}"\n2,{"z" * 200_000}\n')
    assert [len(row[1]) for row in rows(read(spark, tmp_path / "c.csv"))] == [len(lines), 200_000]


def test_columns_are_found_by_the_name_in_the_header_of_their_file(spark: SparkSession, tmp_path: Path) -> None:
    for folder in ("day=01", "day=02"):
        (tmp_path / folder).mkdir()
    (tmp_path / "day=01/a.csv").write_text("id,amount\n1,100\n")
    (tmp_path / "day=02/b.csv").write_text("Amount,id\n200,2\n")
    expected = [(1, 100, "01"), (2, 200, "02")]
    assert sorted(rows(read(spark, tmp_path))) == expected
    assert sorted(rows(read(spark, tmp_path, schema="id INT, amount INT, day STRING"))) == expected
    assert sorted(rows(read(spark, tmp_path, schema="id INT, amount INT"))) == expected
    assert sorted(rows(read(spark, tmp_path, schema="day INT, amount INT"))) == [(1, 100), (2, 200)]
    (tmp_path / "day=02/c.csv").write_text("id,total\n3,300\n")
    assert "amount, total are not in all of them next: set 'mergeSchema'" in refusal(spark, tmp_path)
    assert "the columns amount, which the header of the files lacks" in refusal(
        spark, tmp_path, schema="amount INT, id INT"
    )
    merged = read(spark, tmp_path, mergeSchema=True)
    assert sorted(rows(merged), key=str) == [(1, 100, None, "01"), (2, 200, None, "02"), (3, None, 300, "02")]
    only = read(spark, tmp_path / "day=01", schema="n INT, value INT")
    assert rows(only) == [(1, 100)]
    (tmp_path / "day=02/c.csv").unlink()
    assert "the schema has the columns n, value" in refusal(spark, tmp_path, schema="n INT, value INT")


@pytest.mark.parametrize("schema", [None, "id INT, amount INT", "n INT, value INT"])
def test_columns_in_another_order_are_refused_where_only_spark_sees_the_header(
    spark: SparkSession, tmp_path: Path, schema: str | None
) -> None:
    (tmp_path / "a.csv").write_text("id||amount\n1||100\n")
    (tmp_path / "b.csv").write_text("id||amount\n2||200\n")
    assert len(rows(read(spark, tmp_path, delimiter="||", schema=schema))) == 2
    (tmp_path / "b.csv").write_text("amount||id\n200||2\n")
    with pytest.raises((PySparkException, Py4JJavaError)) as error:
        read(spark, tmp_path, delimiter="||", schema=schema, multiLine=False).collect()
    assert "CSV header does not conform to the schema" in told_of(error.value)


@pytest.mark.parametrize("multi_line", [None, False])
def test_options_hold_however_a_file_is_read(spark: SparkSession, tmp_path: Path, multi_line: bool | None) -> None:
    (tmp_path / "a.csv").write_text('id, note\n 7,  x \n8," y"\n')
    options = {"ignoreLeadingWhiteSpace": True}
    frame = read(spark, tmp_path, schema="id INT, note STRING", multiLine=multi_line, options=options)
    assert rows(frame) == [(7, "x "), (8, " y")]


@pytest.mark.parametrize("multi_line", [None, False])
def test_a_stream_refuses_a_file_whose_columns_stand_in_another_order(
    spark: SparkSession, tmp_path: Path, multi_line: bool | None
) -> None:
    (tmp_path / "a.csv").write_text("amount,id\n100,1\n")
    source = {"path": str(tmp_path), "format": "csv", "schema": "id INT, amount INT", "multiLine": multi_line}
    frame = FromFiles.model_validate(source).read_stream(spark, None)
    query = frame.writeStream.format("memory").queryName("order_of_columns").trigger(availableNow=True).start()
    with pytest.raises(StreamingQueryException) as error:
        query.awaitTermination()
    told = told_of(error.value)
    assert "CSV header does not conform to the schema" in told
    assert "give the file the columns of 'schema'" in told


IDENTIFIERS = {
    "plz": ["01067", "99999"],
    "code": ["1D", "2F"],
    "power": ["1e5", "2"],
    "phone": ["+49", "7"],
    "card": ["4111111111111111111111", "1"],
    "mixed": ["1", "x"],
    "moment": ["12:30", "13:00"],
    "year": ["2013-01", "2014-02"],
    "precise": ["0.12345678901234567890", "1.5"],
    "long or not whole": ["9223372036854775807", "1.5"],
    "none": ["", ""],
    "nan": ["NaN", "1.5"],
}
VALUES = {
    "whole": (["1", "-7"], "int"),
    "big": (["1", "9999999999"], "bigint"),
    "longest": (["9223372036854775807", "1"], "bigint"),
    "price": (["1.50", "2"], "double"),
    "exact": (["10.357019999999999", "2"], "double"),
    "yes": (["true", "False"], "boolean"),
    "day": (["2013-01-31", "2013-02-01"], "date"),
    "at": (["2013-01-31T10:00:00.5", "2013-02-01"], "timestamp"),
}


def test_types_are_derived_that_keep_every_value_as_it_is_written(spark: SparkSession, tmp_path: Path) -> None:
    columns = {**IDENTIFIERS, **{name: values for name, (values, _) in VALUES.items()}}
    lines = [",".join(columns), *(",".join(values) for values in zip(*columns.values(), strict=True))]
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    frame = read(spark, tmp_path / "a.csv")
    expected = {**dict.fromkeys(IDENTIFIERS, "string"), **{name: kind for name, (_, kind) in VALUES.items()}}
    assert dict(frame.dtypes[:-2]) == expected
    first = frame.collect()[0].asDict()
    assert {name: first[name] for name in IDENTIFIERS} == {
        name: values[0] or None for name, values in IDENTIFIERS.items()
    }


def test_columns_stay_text_where_no_types_are_to_be_derived(spark: SparkSession, tmp_path: Path) -> None:
    columns = {**IDENTIFIERS, **{name: values for name, (values, _) in VALUES.items()}}
    lines = [",".join(columns), *(",".join(values) for values in zip(*columns.values(), strict=True))]
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n1,2\n")
    frame = read(spark, tmp_path / "a.csv", inferSchema=False)
    assert {kind for _, kind in frame.dtypes[:-2]} == {"string"}
    expected = [tuple(value or None for value in row) for row in csv.reader(lines[1:])]
    assert rows(frame.filter(f"{MALFORMED} IS NULL")) == expected
    assert list(reasons(frame)) == ["1,2"]


LENIENT = {
    "DOUBLE": (["1.5", "-1e3", "NaN", "Infinity"], ["1D", "0x1p3", "1e999", "1,5", "x"]),
    "DECIMAL(6,2)": (["1.50", "-7", "1.5000"], ["1.999", "1,5", "12345.00", "1e1"]),
    "DATE": (["2013-01-31"], ["2013", "2013-02-30", "2013-01-31 10:00:00", "31.01.2013"]),
    "TIMESTAMP": (
        ["2013-01-31T10:00:00Z", "2013-01-31 10:00:00.123456"],
        ["12:30", "2013", "2013-01-31T10:00:00.1234567"],
    ),
    "BOOLEAN": (["true", "FALSE"], ["1", "yes"]),
    "TINYINT": (["127", "-1"], ["128", "1.0"]),
}


@pytest.mark.parametrize("multi_line", [True, False])
def test_a_value_is_of_its_type_or_malformed(spark: SparkSession, tmp_path: Path, multi_line: bool) -> None:
    frames: list[DataFrame] = []
    expected: set[tuple[str, str, bool]] = set()
    for index, (kind, (good, bad)) in enumerate(LENIENT.items()):
        with (tmp_path / f"{index}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([["text", "value", "end"], *([text, text, "."] for text in (*good, *bad))])
        expected |= {(kind, text, text in bad) for text in (*good, *bad)}
        schema = f"text STRING, value {kind}, end STRING"
        frame = read(spark, tmp_path / f"{index}.csv", schema=schema, multiLine=multi_line)
        frames.append(
            frame.selectExpr(f"'{kind}' AS kind", "text", f"{MALFORMED} IS NOT NULL AS bad", "value IS NULL AS none")
        )
    found: list[Any] = []
    whole = frames[0]
    for frame in frames[1:]:
        whole = whole.union(frame)
    found = whole.collect()
    assert {tuple(row[:3]) for row in found} == expected
    assert all(row.bad == row.none for row in found)


def test_keys_say_how_a_file_is_written(spark: SparkSession, tmp_path: Path) -> None:
    text = "# made today\nid|day|at|city\n1|31.01.2013|31.01.2013 10:30|'K\\'\u00f6ln|'\n-|-|-|?\n"
    (tmp_path / "a.csv").write_bytes(text.encode("latin-1"))
    frame = read(
        spark,
        tmp_path,
        schema="id INT, day DATE, at TIMESTAMP, city STRING",
        delimiter="|",
        quote="'",
        escape="\\",
        comment="#",
        nullValue=["-", "?"],
        dateFormat="dd.MM.yyyy",
        timestampFormat="dd.MM.yyyy HH:mm",
        encoding="latin-1",
        options={"pathGlobFilter": "*.csv"},
    )
    assert [tuple(map(str, row)) for row in rows(frame)] == [
        ("1", "2013-01-31", "2013-01-31 10:30:00", "K'\u00f6ln|"),
        ("None", "None", "None", "None"),
    ]
    assert reasons(frame) == {}


def test_bytes_of_another_encoding_are_never_replaced_in_silence(spark: SparkSession, tmp_path: Path) -> None:
    filler = "".join(f"{number},Ulm\n" for number in range(20_000))
    (tmp_path / "a.csv").write_bytes(f"id,city\n{filler}".encode() + b"20000,K\xf6ln\n")
    (tmp_path / "b.json").write_bytes(b'{"id": 1, "city": "Ulm"}\n' * 4_000 + b'{"id": 2, "city": "K\xf6ln"}\n')
    (tmp_path / "c.csv").write_bytes("id,city\n1,Köln\n".encode("utf-16"))
    assert reasons(read(spark, tmp_path / "a.csv")) == {
        "20000,K\ufffdln": "it has bytes that are not UTF-8, or the character U+FFFD, which stands for them"
    }
    found = read(spark, tmp_path / "b.json", "json").filter(f"{MALFORMED} IS NOT NULL").selectExpr(MALFORMED).collect()
    assert [tuple(row) for row in found] == [("not UTF-8",)]
    assert rows(read(spark, tmp_path / "c.csv", encoding="UTF-16")) == [(1, "Köln")]


@pytest.mark.parametrize("multi_line", [None, False])
def test_columns_may_have_any_name(spark: SparkSession, tmp_path: Path, multi_line: bool | None) -> None:
    # ß and ss fold to the same, and are two letters for Spark.
    (tmp_path / "a.csv").write_text("straße,STRASSE,Order No.,a`b:c\nHauptstr.,Ring,7,x\nWeg,Pfad,NA,y\n")
    texts = {"straße": "Hauptstr.", "STRASSE": "Ring", "Order No.": "7", "a`b:c": "x"}
    by_header = read(spark, tmp_path / "a.csv", multiLine=multi_line)
    assert by_header.drop(MALFORMED, RECORD).collect()[0].asDict() == texts
    schema = "strasse STRING, `straße` STRING, `a``b:c` STRING, `Order No.` INT"
    by_schema = read(spark, tmp_path / "a.csv", schema=schema, multiLine=multi_line)
    values = {"strasse": "Ring", "straße": "Hauptstr.", "a`b:c": "x", "Order No.": 7}
    assert by_schema.drop(MALFORMED, RECORD).collect()[0].asDict() == values
    assert reasons(by_schema) == {"Weg,Pfad,NA,y": "the value of 'Order No.' is not a valid INT"}


def test_what_a_file_is_called_is_no_pattern(spark: SparkSession, tmp_path: Path) -> None:
    for name, text in {"r[1].csv": "a,b\n1,2\n", "r1.csv": "a,b\n7,8\n", "{s}.csv": "b,a\n20,10\n"}.items():
        (tmp_path / name).write_text(text)
    assert sorted(rows(read(spark, tmp_path))) == [(1, 2), (7, 8), (10, 20)]


@pytest.mark.parametrize("multi_line", [None, False])
def test_quotes_and_blanks_are_values_however_a_file_is_read(
    spark: SparkSession, tmp_path: Path, multi_line: bool | None
) -> None:
    lines = ['1,"a,""b"""', '2,"{""a"":1,""b"":2}"', '3,5" pipe', '4,""', "5,  ", "6,"]
    (tmp_path / "a.csv").write_text("id,note\n" + "\n".join(lines) + "\n")
    assert rows(read(spark, tmp_path / "a.csv", multiLine=multi_line)) == [
        (1, 'a,"b"'),
        (2, '{"a":1,"b":2}'),
        (3, '5" pipe'),
        (4, ""),
        (5, "  "),
        (6, None),
    ]
    (tmp_path / "b.tsv").write_text("a\tb\tc\n1\t2\t3\n\t\t\n4\t5\t6\n")
    frame = read(spark, tmp_path / "b.tsv", delimiter="\\t", multiLine=multi_line)
    assert rows(frame) == [(1, 2, 3), (None, None, None), (4, 5, 6)]
    (tmp_path / "c.csv").write_text("a\nx\n  \ny\n")
    assert rows(read(spark, tmp_path / "c.csv", multiLine=multi_line)) == [("x",), ("  ",), ("y",)]


def test_a_required_value_that_is_missing_and_times_that_are_none_are_malformed(
    spark: SparkSession, tmp_path: Path
) -> None:
    moments = {
        "2024-07-01 12:00:00 BST": False,
        "2024-07-01 12:00:00 AST": False,
        "2024-01-01 1:02:03.1234567": False,
        "2024-07-01 12:00:00+02:00": True,
        "2024-07-01T12:00:00.5Z": True,
        "2024-07-01 12:00:00": True,
        "2024-07-01": True,
    }
    (tmp_path / "a.csv").write_text(
        "id,at\n" + "".join(f"{i},{at}\n" for i, at in enumerate(moments)) + ",2024-07-01\n"
    )
    frame = read(spark, tmp_path, schema="id INT NOT NULL, at TIMESTAMP")
    bad = [line.partition(",")[2] for line in reasons(frame)]
    assert bad == [*(at for at, is_right in moments.items() if not is_right), "2024-07-01"]
    assert reasons(frame)[",2024-07-01"] == "'id' is missing or null"
    local = read(spark, tmp_path, schema="id INT, at TIMESTAMP_NTZ")
    assert "3,2024-07-01 12:00:00+02:00" in reasons(local)


def test_values_of_folders_keep_their_text(spark: SparkSession, tmp_path: Path) -> None:
    table = pa.table({"id": pa.array([1], pa.int32())})
    for plz, year in (("01067", "2023"), ("99999", "2024")):
        folder = tmp_path / f"pq/plz={plz}/year={year}"
        folder.mkdir(parents=True)
        pq.write_table(table, folder / "a.parquet")
        other = tmp_path / f"js/plz={plz}/year={year}"
        other.mkdir(parents=True)
        (other / "a.json").write_text('{"id": 1}\n')
    expected = [(1, "01067", 2023), (1, "99999", 2024)]
    assert sorted(rows(read(spark, tmp_path / "pq", "parquet"))) == expected
    assert sorted(rows(read(spark, tmp_path / "pq", "parquet", schema="id INT"))) == expected
    assert sorted(rows(read(spark, tmp_path / "pq", "parquet", schema="id INT, plz INT"))) == [
        (1, 1067, 2023),
        (1, 99999, 2024),
    ]
    assert sorted(rows(read(spark, tmp_path / "js", "json"))) == expected


OTHERS = {
    "more": ({"id": "x", "note": "n"}, "'note' (none and string)"),
    "fewer": ({}, "'id' (string and none)"),
    "types": ({"id": 1}, "'id' (string and int64)"),
}


@pytest.mark.parametrize("file_format", ["parquet", "orc", "avro"])
@pytest.mark.parametrize("kind", OTHERS)
def test_files_that_differ_in_their_columns_are_refused(
    spark: SparkSession, tmp_path: Path, file_format: str, kind: str
) -> None:
    first = {"id": "x", "at": {"x": 1}}
    other, told = OTHERS[kind]
    for name, row in (("a", first), ("b", {**other, "at": {"x": 1}})):
        write_row(tmp_path / f"in/{name}.{file_format}", row)
    told = told.replace("string", '"string"').replace("int64", '"long"') if file_format == "avro" else told
    way_out = "'avroSchema'" if file_format == "avro" else "'mergeSchema'"
    said = [refusal(spark, tmp_path / "in", file_format)]
    if file_format == "avro":
        with pytest.raises(PipelineExecutionException) as error:
            FromAvro.model_validate({"path": str(tmp_path / "in")}).read(spark, None)
        said.append(" ".join(str(error.value).split()))
    for text in said:
        assert f"a.{file_format} and {tmp_path}/in/b.{file_format} differ in their columns: {told} next: " in text
        assert way_out in text


def write_row(path: Path, row: Mapping[str, Any]) -> None:
    """Write a file of one row, in the format that its name ends with."""
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".avro":
        at = {"type": "record", "name": "at", "fields": [{"name": "x", "type": "long"}]}
        types = {str: "string", int: "long", dict: at}
        fields = [{"name": name, "type": types[type(value)]} for name, value in row.items()]
        with path.open("wb") as file:
            fastavro.writer(file, {"type": "record", "name": "r", "fields": fields}, [row])
    else:
        write = pq.write_table if path.suffix == ".parquet" else po.write_table
        write(pa.Table.from_pylist([dict(row)]), str(path))


@pytest.mark.parametrize("file_format", ["parquet", "orc"])
def test_files_of_several_schemas_are_merged_where_asked(spark: SparkSession, tmp_path: Path, file_format: str) -> None:
    write_row(tmp_path / f"in/a.{file_format}", {"id": "x"})
    write_row(tmp_path / f"in/b.{file_format}", {"note": "n", "id": "y"})
    merged = read(spark, tmp_path / "in", file_format, mergeSchema=True).select("id", "note")
    assert sorted(rows(merged)) == [("x", None), ("y", "n")]


KEPT_BY_ORC: Mapping[str, tuple[Any, Sequence[str], Sequence[str]]] = {
    "whole": (2**40, ["BIGINT", "DECIMAL(19,0)", "STRING"], ["INT", "DOUBLE", "BOOLEAN", "DECIMAL(20,5)", "TIMESTAMP"]),
    "real": (1.9, ["DOUBLE", "STRING"], ["INT", "FLOAT", "DECIMAL(5,1)", "TIMESTAMP"]),
    "exact": (Decimal("1.999"), ["DECIMAL(4,3)", "DECIMAL(9,5)", "STRING"], ["DECIMAL(6,2)", "DOUBLE", "INT"]),
    "text": ("07", ["STRING"], ["INT", "DATE", "BOOLEAN", "BINARY"]),
    "yes": (True, ["BOOLEAN", "STRING"], ["INT"]),
    "day": (date(2020, 1, 31), ["DATE", "TIMESTAMP"], ["INT"]),
    "at": (datetime(2020, 1, 31, 12), ["TIMESTAMP"], ["DATE", "BIGINT", "BOOLEAN"]),
    "bytes": (b"\x07", ["BINARY"], ["STRING"]),
    "inner": ({"x": 300}, ["STRUCT<x: BIGINT>"], ["STRUCT<x: TINYINT>"]),
    "list": ([300], ["ARRAY<BIGINT>"], ["ARRAY<TINYINT>"]),
}


def test_a_schema_keeps_the_values_of_orc_files_or_is_refused(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    po.write_table(pa.table({"other": [1]}), str(tmp_path / "in/a{1}.orc"))
    po.write_table(pa.table({name: [value] for name, (value, _, _) in KEPT_BY_ORC.items()}), str(tmp_path / "in/b.orc"))
    for name, (value, kept, lost) in KEPT_BY_ORC.items():
        for kind in lost:
            told = refusal(spark, tmp_path / "in", "orc", schema=f"{name} {kind}")
            assert f"b.orc has the column '{name}' as " in told
            assert f", and 'schema' has it as {kind.lower().replace(': ', ':')}, which can't hold all values" in told
        for kind in kept:
            assert name in read(spark, tmp_path / "in", "orc", schema=f"{name} {kind}").columns, value
    whole = ", ".join(f"{name} {kinds[0]}" for name, (_, kinds, _) in KEPT_BY_ORC.items())
    found = read(spark, tmp_path / "in", "orc", schema=whole).filter("whole IS NOT NULL").collect()
    assert [row.asDict(recursive=True) for row in found] == [{n: value for n, (value, _, _) in KEPT_BY_ORC.items()}]


def test_no_number_of_parquet_loses_its_first_bits(spark: SparkSession, tmp_path: Path) -> None:
    whole = {"n": pa.array([300], pa.int32()), "short": pa.array([7], pa.int16()), "text": [b"x"]}
    pq.write_table(pa.table(whole), tmp_path / "a.parquet")
    for schema in ("n TINYINT", "n SMALLINT, text STRING", "short BYTE"):
        assert "which can't hold all values of that type" in refusal(spark, tmp_path, "parquet", schema=schema)
    assert rows(read(spark, tmp_path, "parquet", schema="n BIGINT, short SMALLINT, text STRING")) == [(300, 7, "x")]


def test_a_folder_without_files_is_told(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "there are no files" in refusal(spark, tmp_path / "empty")


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"options": {"mode": "DROPMALFORMED"}}, "the option 'mode' has a key of its own: write 'onMalformed'"),
        ({"options": {"enforceSchema": True}}, "the option 'enforceSchema' can't be set"),
        ({"options": {"timezone": "Europe/Berlin"}}, "the option 'timezone' would have no effect"),
        ({"options": {"pathGlobFiltre": "*"}}, "did you mean 'pathGlobFilter'?"),
        ({"format": "json", "options": {"SamplingRatio": 0.1}}, "keys of the records that it skips would be lost"),
        ({"dateFormat": "yyyy-mm-dd"}, "the pattern 'yyyy-mm-dd': minutes follow the year"),
        ({"quote": "''"}, "expected one character"),
        ({"quote": ",", "delimiter": ","}, "'delimiter' and 'quote' are the same"),
        ({"format": "parquet", "nullValue": "NA"}, "'nullValue' is for csv files, and format is parquet"),
        ({"encoding": "latin-9"}, "is not one of those that Spark knows"),
    ],
)
def test_keys_that_can_not_be_are_told(keys: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError) as error:
        FromFiles.model_validate({"path": "in", "format": "csv", **keys})
    assert told in str(error.value)


SCHEMA = "id INT, n INT, amount DOUBLE, day DATE, note STRING"
CELLS: dict[str, Sequence[str]] = {
    "n": ("1", "-7", "007", "+5", "", "NA", "1.0", "99999999999", "x", " 5"),
    "amount": ("1.5", "-2e3", "", "1D", "2F", "1,5", "1e999", "NaN", ".5", "abc"),
    "day": ("2013-01-31", "", "2013", "2013-02-30", "31.01.2013", "2013-01-31 10:00"),
    "note": (
        "plain",
        'say "hi"',
        "a, b; c|d",
        "line\nbreak",
        "line\r\nbreak",
        "  pad  ",
        "",
        "Ä",
        "'",
        "\\",
        '\\"',
        "NULL",
        "#x",
    ),
}
DIALECTS: Sequence[dict[str, Any]] = (
    {"delimiter": ","},
    {"delimiter": ";", "nullValue": ["NA", "-"]},
    {"delimiter": "\\t", "multiLine": True},
    {"delimiter": "|", "quote": "'"},
    {"delimiter": ",", "encoding": "latin-1", "multiLine": False},
    {"delimiter": ",", "encoding": "UTF-16"},
)


def generated_csv(random: Random, first: int, dialect: Mapping[str, Any]) -> str:
    """Records of every oddity that does not break a quote."""
    text = io.StringIO(newline="")
    own = {"delimiter": dialect["delimiter"].replace("\\t", "\t"), "quotechar": dialect.get("quote", '"')}
    header = ["id", *CELLS]
    random.shuffle(header)
    writer = csv.writer(text, lineterminator=random.choice(["\n", "\r\n"]), quoting=random.choice([0, 0, 1]), **own)
    writer.writerow(header)
    for number in range(first, first + 40):
        cells = {"id": str(number), **{name: random.choice(values) for name, values in CELLS.items()}}
        if dialect.get("multiLine") is False:
            cells["note"] = cells["note"].replace("\r", "").replace("\n", "")
        record = [cells[name] for name in header]
        writer.writerow(record[:-1] if number % 17 == 0 else [*record, "more"] if number % 19 == 0 else record)
    return text.getvalue()


def expected_of(record: Mapping[str, str], nulls: Sequence[str]) -> dict[str, Any] | None:
    """The values of a record as Python has them; None if one of them is not of its type."""
    try:
        found = {name: None if value in nulls else value for name, value in record.items()}
        typed: dict[str, Any] = {n: value if n == "note" else value or None for n, value in found.items()}
        for name in ("id", "n"):
            number = int(typed[name]) if re.fullmatch(r"[+-]?\d+", typed[name] or "") else None
            if typed[name] is not None and (number is None or not -(2**31) <= number < 2**31):
                return None
            typed[name] = number
        amount = float(typed["amount"]) if typed["amount"] is not None else None
        if amount is not None and math.isinf(amount):
            return None
        return {**typed, "amount": amount, "day": date.fromisoformat(typed["day"]) if typed["day"] else None}
    except ValueError:
        return None


def test_csv_files_of_every_oddity_are_as_python_and_duckdb_have_them_or_malformed(
    spark: SparkSession, tmp_path: Path
) -> None:
    random, whole, oracle = Random(12), None, dict[tuple[str, str], Any]()
    for index, dialect in enumerate(DIALECTS):
        folder = tmp_path / f"{index}"
        folder.mkdir()
        encoding = dialect.get("encoding", "UTF-8")
        own = {"delimiter": dialect["delimiter"].replace("\\t", "\t"), "quotechar": dialect.get("quote", '"')}
        for number in range(4):
            text = generated_csv(random, number * 100, dialect)
            (folder / f"{number}.csv").write_bytes(text.encode(encoding))
            records = list(csv.reader(io.StringIO(text, newline=""), **own))
            for record in records[1:]:
                named = dict(zip(records[0], record, strict=False))
                fits = len(record) == len(records[0])
                oracle[(f"{index}", named.get("id", ""))] = (
                    expected_of(named, dialect.get("nullValue", [])) if fits else None
                )
            if encoding == "UTF-8":
                plain = [record for record in records if len(record) == len(records[0])]
                (folder / "plain.txt").write_text(text, newline="")
                quote = own["quotechar"].replace("'", "''")
                columns = ", ".join(f"{name}: VARCHAR" for name in records[0])
                same = duckdb.execute(
                    f"FROM read_csv('{folder}/plain.txt', header = true, auto_detect = false, ignore_errors = true, "
                    f"delim = '{own['delimiter']}', quote = '{quote}', escape = '{quote}', columns = {{{columns}}})"
                ).fetchall()
                assert [[value or "" for value in row] for row in same] == plain[1:]
                (folder / "plain.txt").unlink()
        frame = read(spark, folder, schema=SCHEMA, **dialect)
        frame = frame.withColumn("dialect", lit(f"{index}"))
        whole = frame if whole is None else whole.unionByName(frame)
    assert whole is not None
    seen: set[tuple[str, str]] = set()
    for row in whole.collect():
        key = (row.dialect, str(row.id))
        if row[MALFORMED] is not None:
            record = row[RECORD]["record"]
            assert record
            assert row[RECORD]["file"]
            # A record that lacks its last field, or has one too many, may have another in the place of its id.
            continue
        expected = oracle[key]
        assert expected is not None, (row, "should be malformed")
        found = {name: row[name] for name in expected}
        if found["note"] is None:
            # Only quotes tell an empty text from none, and Python does not tell.
            found["note"] = ""
        assert repr(sorted(found.items())) == repr(sorted({**expected, "note": expected["note"] or ""}.items())), key
        seen.add(key)
    assert seen == {key for key, expected in oracle.items() if expected is not None}


LINES = (
    '{"id": 1, "n": 5, "note": "a"}',
    '{"id": 2, "n": null}',
    '{"id": 3, "n": 1.5}',
    '{"id": 4, "n": "5"}',
    '{"id": 5}{"id": 6}',
    '{"id": 7, "n": 1, "n": 2}',
    "{'id': 8}",
    '{"id": 9, "amount": NaN}',
    '{"id": 10, "amount": 1e999}',
    '{"id": 11, "note": {"a": [1, 2]}}',
    '{"ID": 12}',
    '{"id": 13, "note": "line\\nbreak \\u00e4 \\"q\\""}',
    '{"id": 14, "n": 007}',
    '{"id": 15, "n": 99999999999}',
    '{"id": 16, "price": 1.999}',
    '{"id": 17, "price": 1.99, "day": "2013-01-31"}',
    '{"id": 18, "day": "2013"}',
    "[1]",
    '{"id": 19, "other": true}',
    '{"id": 20',
    "{id: 21}",
    "   ",
)


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"options": {"pathGlobFilter": "*.json"}, "dateFormat": "yyyy-MM-dd"},
        {"encoding": "latin-1"},
        {"encoding": "UTF-16"},
    ],
)
def test_json_lines_are_as_python_has_them_or_malformed(
    spark: SparkSession, tmp_path: Path, keys: dict[str, Any]
) -> None:
    (tmp_path / "lines.json").write_text("\n".join(LINES) + "\n", encoding=keys.get("encoding"))
    schema = "id INT, n INT, amount DOUBLE, price DECIMAL(6,2), day DATE, note STRING"
    frame = read(spark, tmp_path / "lines.json", "json", schema=schema, **keys)
    found = frame.collect()
    good = {row.id: row for row in found if row[MALFORMED] is None}
    bad = {row[RECORD]["record"] for row in found if row[MALFORMED] is not None}
    assert {json.loads(line).get("id") for line in LINES if line.strip() and line not in bad} == set(good)
    assert [line for line in LINES if line in bad] == [
        LINES[i] for i in (2, 3, 4, 5, 6, 7, 8, 12, 13, 14, 16, 17, 19, 20)
    ]
    assert (good[13].note, json.loads(good[11].note)) == ('line\nbreak ä "q"', {"a": [1, 2]})
    assert (str(good[17].price), str(good[17].day), good[1].n, good[2].n) == ("1.99", "2013-01-31", 5, None)
    assert good[None].id is None


@pytest.mark.parametrize("encoding", [None, "UTF-16"])
def test_json_over_several_lines_is_read_and_what_is_none_told(
    spark: SparkSession, tmp_path: Path, encoding: str | None
) -> None:
    def found(text: str, schema: str, **keys: Any) -> list[tuple[Any, ...]]:
        (tmp_path / "a.json").write_text(text, encoding=encoding)
        frame = read(spark, tmp_path / "a.json", "json", schema=schema, encoding=encoding, **keys)
        return [(*row[:-2], row[MALFORMED]) for row in frame.collect()]

    array = (
        '[{"id": 1, "price": 1.50,\n "s": {"p": 0.12}}, {"id": 2, "price": 1.999},\n {"id": 3, "s": {"p": 0.123}}, '
        '{"id": 4, "tiny": 200}, 5]'
    )
    schema = "id INT, price DECIMAL(6,2), s STRUCT<p: DECIMAL(3,2)>, tiny TINYINT"
    assert found(array, schema, multiLine=True) == [
        (1, Decimal("1.50"), (Decimal("0.12"),), None, None),
        (2, None, None, None, "'price' does not fit DECIMAL(6,2)"),
        (3, None, None, None, "'s' does not fit STRUCT<P:DECIMAL(3,2)>"),
        (4, None, None, None, "'tiny' does not fit TINYINT"),
        (None, None, None, None, "not a JSON object"),
    ]
    rounded = "a number in its array is too large, or has too many digits"
    many_digits = f'[{{"price": 0.{"0" * 40}1}}, {{"price": 1}}]'
    assert found(many_digits, "price DECIMAL(6,2)", multiLine=True) == [(None, rounded)]
    followed = "something follows the JSON object"
    for text, expected in (
        ('{"amount":\n 1}', [(1.0, None)]),
        ('{"amount": 1}\n{"amount": 2}\n', [(None, followed)]),
        ('[{"amount": 1}] {"amount": 2}', [(None, "not JSON")]),
        ('[{"amount": 1}]]', [(None, "not a JSON object")]),
        ('[{"amount": 1}, {"amount": 2, "amount": 3}]', [(None, "a key occurs twice in it")]),
        ('[{"amount": 7.0814340086716075e-06}]', [(7.0814340086716075e-06, None)]),
        ('[{"amount": 1e400}]', [(None, rounded)]),
        ('[{"amount": -1}] \n\t\n', [(-1.0, None)]),
        (" \n\t\n", []),
        ("[]", []),
    ):
        assert found(text, "amount DOUBLE", multiLine=True) == expected, text
    assert found('[{"amount": 1}, {"amount": 2}]\n{"amount": 3}\n', "amount DOUBLE") == [
        (1.0, None),
        (2.0, None),
        (3.0, None),
    ]
    with pytest.raises(PipelineExecutionException, match="holds an array over several lines"):
        found(array, schema)


@pytest.mark.parametrize("file_format", ["csv", "parquet"])
def test_a_local_file_whose_name_spark_does_not_see_or_can_not_read_is_told(
    spark: SparkSession, tmp_path: Path, file_format: str
) -> None:
    pq.write_table(pa.table({"id": [1]}), tmp_path / "é.data")
    if file_format == "csv":
        (tmp_path / "é.data").write_text("id\n1\n")
    unseen = Path(os.fsdecode(bytes(tmp_path / "name") + b"\xff.data"))
    shutil.copy(tmp_path / "é.data", unseen)
    assert r"name\xff.data, as the name is not UTF-8" in refusal(spark, tmp_path, file_format)
    seen = {"options": {"pathGlobFilter": "é*"}}
    assert rows(read(spark, tmp_path, file_format, **seen)) == [(1,)]
    unseen.rename(tmp_path / "10:30.data")
    with pytest.raises((PySparkException, Py4JJavaError)) as error:
        read(spark, tmp_path, file_format).collect()
    assert "can't read a local file with ':' in its name" in told_of(error.value)
    assert rows(read(spark, tmp_path, file_format, **seen)) == [(1,)]


def test_the_types_of_json_are_found_and_a_file_without_objects_is_told(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "k.json").write_text('{"_corrupt_record": "x", "city": "K\xf6ln"}\n', encoding="latin-1")
    assert rows(read(spark, tmp_path / "k.json", "json", encoding="latin-1")) == [("x", "Köln")]
    (tmp_path / "u.json").write_text('{"a": 1}\n', encoding="utf-16")
    assert "set 'schema'" in refusal(spark, tmp_path / "u.json", "json", encoding="UTF-16")
    (tmp_path / "e.csv").write_text("")
    assert "there is no record in the files" in refusal(spark, tmp_path / "e.csv")
    assert rows(read(spark, tmp_path / "e.csv", schema="id INT, note STRING")) == []
    (tmp_path / "e.json").write_text("\n[ ]\n")
    assert "there is no record in the files" in refusal(spark, tmp_path / "e.json", "json")
    (tmp_path / "n.json").write_text("{}\n")
    assert "no object in the files" in refusal(spark, tmp_path / "n.json", "json")
    (tmp_path / "b.json").write_text("{'id': 1}\n{broken\n")
    assert "there is no JSON object in the files" in refusal(spark, tmp_path / "b.json", "json")
    (tmp_path / "c.json").write_text('{"id": 1, "plz": "01067"}\n{broken\n{"id": 2}\n')
    frame = read(spark, tmp_path / "c.json", "json")
    assert frame.dtypes[:2] == [("id", "bigint"), ("plz", "string")]
    assert [row[MALFORMED] for row in frame.collect()] == [None, "not JSON", None]


@pytest.mark.parametrize(
    ("lines", "keys"),
    [('{"ID": 1}\n{"id": 2}\n', ("ID", "id")), ('{"a": [{"x": 1, "X": 2}]}\n', ("X", "x"))],
)
def test_json_keys_that_differ_in_their_case_alone_are_told(
    spark: SparkSession, tmp_path: Path, lines: str, keys: tuple[str, str]
) -> None:
    (tmp_path / "a.json").write_text(lines)
    assert "have the keys '{}' and '{}'".format(*keys) in refusal(spark, tmp_path, "json")
    assert rows(read(spark, tmp_path, "json", schema="id BIGINT"))[-1] == (2 if keys[0] == "ID" else None,)


def test_no_integer_of_json_becomes_another_one_where_the_types_are_found(spark: SparkSession, tmp_path: Path) -> None:
    whole, large = 2**53 + 1, 2**54
    values = (whole, 1.5, large, 1e300, -whole, 17e24, 1.3436424411240122e17, -6.0221407623456789e23)
    (tmp_path / "a.json").write_text("".join(f'{{"id": {value}, "a": [{value}]}}\n' for value in values))
    frame = read(spark, tmp_path, "json")
    assert frame.dtypes[:2] == [("a", "array<double>"), ("id", "double")]
    kept = [value for value in values if abs(value) != whole]
    assert [(row.id, row.a) for row in frame.collect() if row[MALFORMED] is None] == [(v, [v]) for v in kept]
    found = [row[MALFORMED] for row in frame.collect() if row[MALFORMED] is not None]
    assert found == ["'a' does not fit ARRAY<DOUBLE>"] * 2
    assert [row[MALFORMED] for row in read(spark, tmp_path, "json", schema="id DOUBLE").collect()] == [None] * len(
        values
    )


def test_a_field_that_a_folder_names_too_is_told(spark: SparkSession, tmp_path: Path) -> None:
    later = '{"a": 1}\n{"Day": 7, "a": 1}\n'
    for number, text in enumerate((later, later.replace("Day", "day"))):
        folder = tmp_path / f"{number}/day=5"
        folder.mkdir(parents=True)
        (folder / "a.json").write_text(text)
        assert "is both in the files and in the names of their folders" in refusal(spark, folder.parent, "json")
    parquet = tmp_path / "parquet/day=5"
    parquet.mkdir(parents=True)
    pq.write_table(pa.table({"day": [1]}), parquet / "a.parquet")
    assert "is both in the files and in the names of their folders" in refusal(spark, parquet.parent, "parquet")
    for file_format, text in (("json", '[{"day": 7}]\n'), ("csv", "day\n7\n")):
        folder = tmp_path / file_format / "day=5"
        folder.mkdir(parents=True)
        (folder / f"a.{file_format}").write_text(text)
        told = refusal(spark, tmp_path / file_format, file_format)
        assert "the column day is both in the files and in the names of their folders" in told
        flat = read(spark, tmp_path / file_format, file_format, options={"recursiveFileLookup": True})
        assert rows(flat) == [(7,)]


def test_a_file_beside_folders_of_values_is_not_left_out_in_silence(spark: SparkSession, tmp_path: Path) -> None:
    for file_format, text in (("csv", "a,b\n1,2\n"), ("json", '{"a": 1, "b": 2}\n')):
        root = tmp_path / file_format
        (root / "day=5").mkdir(parents=True)
        (root / f"a.{file_format}").write_text(text)
        (root / f"day=5/b.{file_format}").write_text(text)
        (root / "_SUCCESS").write_text("")
        assert f"a.{file_format} is next to folders like 'day=…'" in refusal(spark, root, file_format)
        assert len(rows(read(spark, root, file_format, options={"recursiveFileLookup": True}))) == 2
        (root / f"a.{file_format}").unlink()
        assert len(rows(read(spark, root, file_format))) == 1


@pytest.mark.parametrize("text", ["a,b\n1,x\r\n2,z\r\n", "a,b\r\n1,x\n2,z\r\n"])
def test_lines_that_end_in_two_ways_are_told_and_read_line_by_line(
    spark: SparkSession, tmp_path: Path, text: str
) -> None:
    (tmp_path / "a.csv").write_bytes(text.encode())
    assert "end in CR LF, and others in LF" in refusal(spark, tmp_path)
    expected = [tuple(row) for row in csv.reader(io.StringIO(text, newline=""))][1:]
    assert rows(read(spark, tmp_path, multiLine=False, inferSchema=False)) == expected
    (tmp_path / "a.csv").write_text("a,b|1,x|3,z|")
    assert rows(read(spark, tmp_path, options={"lineSep": "|"})) == [(1, "x"), (3, "z")]


def test_a_column_of_the_schema_that_no_file_has_is_told(spark: SparkSession, tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": [1], "note": ["x"]}), tmp_path / "a.parquet")
    assert "the schema has the columns nota, which no file has" in refusal(
        spark, tmp_path, "parquet", schema="id BIGINT, nota STRING"
    )
    assert rows(read(spark, tmp_path, "parquet", schema="id BIGINT, nota STRING", mergeSchema=True)) == [(1, None)]


def test_json_with_what_a_key_allows_and_with_a_key_twice(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{'a': 1}\n")
    assert rows(read(spark, tmp_path, "json", schema="a INT", options={"AllowSingleQuotes": True})) == [(1,)]
    (tmp_path / "a.json").write_text('{"a": 1, "a": 2}\n{"a": 3}\n')
    assert "has a key twice" in refusal(spark, tmp_path, "json")
    found = read(spark, tmp_path, "json", schema="a INT").collect()
    assert [row[MALFORMED] for row in found] == ["a key occurs twice in it", None]
