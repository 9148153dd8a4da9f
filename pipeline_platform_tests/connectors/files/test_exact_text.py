"""What files give back of texts, numbers and times, as DuckDB, fastavro, pyarrow and Python's own modules read them."""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import fastavro
import pyarrow.orc
import pyarrow.parquet
import pytest
from pyspark.sql import DataFrame, SparkSession

from devtools.pipelines import extract, last_step, listing, load, pipeline_of, run
from pipeline_platform.connectors.files.sink import ToFiles
from pipeline_platform.exceptions import PipelineConfigurationException, PipelineExecutionException
from pipeline_platform.steps.load import LoadRun
from pipeline_platform_tests.duckdb_rows import frame_of

EPOCH = datetime(1970, 1, 1)
# Days before are those of the Julian calendar in ORC, as Spark writes it; pyarrow takes them for Gregorian ones.
GREGORIAN = date(1582, 10, 15)
TEXTS = [
    *('say "hi"', "  pad  ", "line\nbreak", "cr\rx", "crlf\r\nx", "", "comma,x", "\\", 'back\\"q', "\\n", "#c", "\t"),
    *("\ttab", "\u00a0", '"', '""', "nul\0x", "\x01", "\x1f", "\u2028", "\ufeffbom", "é😀", "NULL", "x\\", "'", "\0"),
    *(" ", "\n", "\v", "\x85", "\x7f", "null", "NaN", "[1]", "{}", ",", '",', "\r"),
]
Row = dict[str, Any]
SCHEMA = "id BIGINT, t STRING, m DECIMAL(38,6), l BIGINT, d DOUBLE, day DATE, at TIMESTAMP, local TIMESTAMP_NTZ"


def any_text(rng: random.Random) -> str | None:
    if rng.random() < 0.1:
        return None
    if rng.random() < 0.3:
        return rng.choice(TEXTS)
    pools = ["abc ", '",;\n\r\t\\', "äßλж日本", "😀𝕏", "\0\x01\x0b\x1f\x7f\x85\u2028\ufeff"]
    return "".join(rng.choice(rng.choice(pools)) for _ in range(rng.randrange(12)))


def any_rows(number: int) -> list[Row]:
    rng = random.Random(20261126)
    days = (datetime(9999, 12, 31) - EPOCH).days, (datetime(1, 1, 1) - EPOCH).days
    rows: list[Row] = []
    for place in range(number):
        at = EPOCH + timedelta(days=rng.randint(days[1], days[0]), microseconds=rng.randrange(86_400_000_000))
        rows.append(
            {
                "id": place,
                "t": any_text(rng),
                "m": Decimal(f"{rng.randint(-(10**38) + 1, 10**38 - 1) if rng.random() < 0.9 else 0}E-6"),
                "l": rng.choice([2**63 - 1, -(2**63), rng.randint(-(2**63), 2**63 - 1)]),
                "d": rng.choice([rng.uniform(-1, 1) * 10 ** rng.randint(-300, 300), -0.0, 1e-7, 5e-324, 1e22]),
                "day": at.date(),
                "at": at,
                "local": at.replace(microsecond=rng.choice([0, 1, 123000, 999999])),
            }
        )
    return rows


def timed_frame(spark: SparkSession, rows: list[Row]) -> DataFrame:
    """The rows, whose times are handed over as numbers, since pyspark makes local time of them."""

    def micros(value: datetime) -> int:
        return (value - EPOCH) // timedelta(microseconds=1)

    plain = [
        (
            r["id"],
            r["t"],
            str(r["m"]),
            r["l"],
            r["d"],
            (r["day"] - EPOCH.date()).days,
            micros(r["at"]),
            micros(r["local"]),
        )
        for r in rows
    ]
    raw = frame_of(spark, plain, "id BIGINT, t STRING, m STRING, l BIGINT, d DOUBLE, a INT, b BIGINT, c BIGINT")
    return raw.selectExpr(
        "id", "t", "CAST(m AS DECIMAL(38,6)) m", "l", "d", "date_from_unix_date(a) day", "timestamp_micros(b) at",
        "CAST(timestamp_micros(c) AS TIMESTAMP_NTZ) local",
    )  # fmt: skip


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return any_rows(1000)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., list[Path]]:
    def once(frame: DataFrame, **config: Any) -> list[Path]:
        ToFiles(path=str(tmp_path / "out"), **config).prepare(frame, LoadRun("x", "x")).write()
        found = [name for name in listing(tmp_path / "out") if not name.startswith("_")]
        return [tmp_path / "out" / name for name in found]

    return once


def by_python(file_format: str, file: Path) -> list[Row]:
    """The rows of a file, as the library reads it that belongs to its format."""
    match file_format:
        case "parquet":
            return pyarrow.parquet.read_table(file, coerce_int96_timestamp_unit="us").to_pylist()
        case "orc":
            # Times have nanoseconds to pyarrow, which takes none that is so far off.
            return pyarrow.orc.read_table(file, columns=["id", "t", "m", "l", "d", "day"]).to_pylist()
        case "avro":
            with file.open("rb") as stream:
                return list(fastavro.reader(stream))  # pyright: ignore[reportReturnType]
        case "json":
            lines = file.read_bytes().decode().removesuffix("\n").split("\n")
            return [json.loads(line, parse_float=Decimal) for line in lines]
        case _:
            return list(csv.DictReader(io.StringIO(file.read_bytes().decode(), newline="")))


def parsed(row: Row) -> Row:
    """A row whose values are of the types of the frame, whatever the format has for them."""
    at, local, day = row.get("at", EPOCH), row.get("local", EPOCH), row["day"]
    at = datetime.fromisoformat(at) if isinstance(at, str) else at
    return {
        "id": int(row["id"]),
        "t": row.get("t"),
        "m": Decimal(row["m"]),
        "l": int(row["l"]),
        "d": float(row["d"]),
        "day": date.fromisoformat(day) if isinstance(day, str) else day,
        "at": at.astimezone(UTC).replace(tzinfo=None) if at.tzinfo is not None else at,
        "local": datetime.fromisoformat(local) if isinstance(local, str) else local.replace(tzinfo=None),
    }


@pytest.mark.parametrize("file_format", ["csv", "json", "parquet", "avro", "orc"])
def test_a_thousand_rows_of_anything_come_back_as_they_were(
    spark: SparkSession, tmp_path: Path, write: Callable[..., list[Path]], rows: list[Row], file_format: str
) -> None:
    files = write(timed_frame(spark, rows), format=file_format)
    read = sorted((parsed(row) for file in files for row in by_python(file_format, file)), key=lambda row: row["id"])
    expected = {
        # Python's csv knows no NULL.
        "csv": [{**row, "t": row["t"] or ""} for row in rows],
        "orc": [{**row, "at": EPOCH, "local": EPOCH} for row in rows],
    }
    known = [place for place, row in enumerate(rows) if file_format != "orc" or row["day"] >= GREGORIAN]
    assert [read[place] for place in known] == [expected.get(file_format, rows)[place] for place in known]

    back = load("toFiles", path=str(tmp_path / "back"), format="parquet")
    source = extract("fromFiles", **reading(tmp_path / "out", file_format))
    assert last_step(run(spark, source, back)).rows == len(rows)
    names = [tmp_path / "back" / name for name in listing(tmp_path / "back") if not name.startswith("_")]
    ours = sorted((parsed(row) for file in names for row in by_python("parquet", file)), key=lambda row: row["id"])
    assert ours == rows


def test_a_thousand_rows_come_back_from_csv_with_other_quotes_and_escapes(
    spark: SparkSession, tmp_path: Path, write: Callable[..., list[Path]], rows: list[Row]
) -> None:
    keys = {"quote": "'", "escape": "\\", "delimiter": "|"}
    write(timed_frame(spark, rows), format="csv", **keys)
    back = load("toFiles", path=str(tmp_path / "back"), format="parquet")
    run(spark, extract("fromFiles", **reading(tmp_path / "out", "csv"), **keys), back)
    names = [tmp_path / "back" / name for name in listing(tmp_path / "back") if not name.startswith("_")]
    ours = sorted((parsed(row) for file in names for row in by_python("parquet", file)), key=lambda row: row["id"])
    assert ours == rows


def test_all_digits_of_a_decimal_in_json_are_read(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "in.json").write_text('{"m": 37996183193216476838938847078455.979411}\n')
    source = extract("fromFiles", path=str(tmp_path / "in.json"), format="json", schema="m DECIMAL(38,6)")
    run(spark, source, load("toFiles", path=str(tmp_path / "back"), format="parquet"))
    (name,) = [name for name in listing(tmp_path / "back") if not name.startswith("_")]
    read = pyarrow.parquet.read_table(tmp_path / "back" / name)["m"].to_pylist()
    assert read == [Decimal("37996183193216476838938847078455.979411")]


def reading(folder: Path, file_format: str) -> dict[str, Any]:
    keys = {"path": str(folder), "format": file_format}
    return keys | ({"schema": SCHEMA} if file_format in ("csv", "json") else {})


def test_a_nul_in_quotes_is_read_as_it_stands_there(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text(f'id,t\n1,{"x" * 70_000}\n2,"say ""\0"""\n')
    source = extract("fromFiles", path=str(tmp_path / "in.csv"), format="csv", schema="id INT, t STRING")
    run(spark, source, load("toFiles", path=str(tmp_path / "back"), format="parquet"))
    (name,) = [name for name in listing(tmp_path / "back") if not name.startswith("_")]
    assert pyarrow.parquet.read_table(tmp_path / "back" / name)["t"].to_pylist()[1] == 'say "\0"'


@pytest.mark.parametrize("file_format", ["csv", "json"])
def test_duckdb_reads_what_was_written_as_text(
    spark: SparkSession, write: Callable[..., list[Path]], rows: list[Row], file_format: str
) -> None:
    names = [str(file) for file in write(timed_frame(spark, rows), format=file_format)]
    columns = {"id": "BIGINT", "t": "VARCHAR", "m": "DECIMAL(38,6)", "l": "BIGINT", "d": "DOUBLE", "day": "DATE"}
    columns |= {"at": "TIMESTAMPTZ", "local": "TIMESTAMP"}
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        if file_format == "csv":
            found = connection.read_csv(
                names,  # pyright: ignore[reportArgumentType]
                header=True,
                quotechar='"',
                escapechar='"',
                dtype=columns,
                allow_quoted_nulls=False,
            )
        else:
            # Numbers of JSON are doubles to DuckDB.
            found = connection.read_json(
                names,  # pyright: ignore[reportArgumentType]
                columns=columns | {"m": "DOUBLE"},
                format="newline_delimited",
            )
        times = 'CAST(epoch_us("at") AS BIGINT) AS a, CAST(epoch_us("local") AS BIGINT) AS b'
        read = found.order("id").project(f"id, t, m, l, d, day, {times}").fetchall()
    expected = [
        (
            row["id"], row["t"], row["m"] if file_format == "csv" else float(row["m"]), row["l"], row["d"], row["day"],
            *((row[name] - EPOCH) // timedelta(microseconds=1) for name in ("at", "local")),
        )
        for row in rows
    ]  # fmt: skip
    assert read == expected


def test_times_beyond_four_digits_and_old_offsets_are_exact(
    spark: SparkSession, write: Callable[..., list[Path]]
) -> None:
    spark.conf.set("spark.sql.session.timeZone", "Europe/Berlin")
    try:
        frame = spark.sql(
            "SELECT timestamp_micros(-2524521600000001) AS at, TIMESTAMP_NTZ'2024-03-31 02:30:00.000001' AS gap, "
            "timestamp_micros(1729992600123456) AS twice, TIMESTAMP'+12345-01-02 03:04:05.6 UTC' AS far, "
            "TIMESTAMP_NTZ'-0044-03-15 00:00:00' AS caesar"
        )
        (file,) = write(frame, format="json")
    finally:
        spark.conf.set("spark.sql.session.timeZone", "UTC")
    told = json.loads(file.read_text())
    # Berlin's own time was 53 min 28 s ahead of Greenwich.
    assert told.pop("at") == "1890-01-01T00:53:27.999999+00:53:28"
    assert told == {
        "gap": "2024-03-31T02:30:00.000001",
        "twice": "2024-10-27T02:30:00.123456+01:00",
        "far": "+12345-01-02T04:04:05.600000+01:00",
        "caesar": "-0044-03-15T00:00:00.000000",
    }


def only_text(files: list[Path]) -> bytes:
    (file,) = files
    return file.read_bytes()


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({}, b'id,"a ""q"""\n1,"say ""hi"""\n2,""\n3,\n'),
        ({"quote": "'"}, b'id,a "q"\n1,say "hi"\n2,\'\'\n3,\n'),
        ({"escape": "\\"}, b'id,"a \\"q\\""\n1,"say \\"hi\\""\n2,""\n3,\n'),
        ({"nullValue": "\\N", "header": False}, b'1,"say ""hi"""\n2,""\n3,\\N\n'),
        ({"lineSep": "\r\n", "delimiter": ";"}, b'id;"a ""q"""\r\n1;"say ""hi"""\r\n2;""\r\n3;\r\n'),
        ({"encoding": "utf-16-le", "header": False}, '1,"say ""hi"""\n2,""\n3,\n'.encode("utf-16-le")),
        ({"options": {"extension": "txt", "EMPTYVALUE": "-"}, "header": False}, b'1,"say ""hi"""\n2,-\n3,\n'),
    ],
)
def test_csv_is_written_as_its_keys_say(
    spark: SparkSession, write: Callable[..., list[Path]], config: dict[str, Any], text: bytes
) -> None:
    frame = frame_of(spark, [(1, 'say "hi"'), (2, ""), (3, None)], 'id INT, `a "q"` STRING').coalesce(1)
    assert only_text(write(frame, format="csv", **config)) == text


def test_dates_and_times_are_written_in_the_formats_asked_for(
    spark: SparkSession, write: Callable[..., list[Path]]
) -> None:
    frame = spark.sql(
        "SELECT DATE'2024-07-01' day, TIMESTAMP'2024-07-01 12:30:00' at, TIMESTAMP_NTZ'2024-07-01 1:2:3' l"
    )
    config = {"dateFormat": "dd.MM.yyyy", "timestampFormat": "dd.MM.yyyy HH:mm", "options": {"timestampNTZFormat": "H"}}
    assert only_text(write(frame, format="csv", header=False, **config)) == b"01.07.2024,01.07.2024 12:30,1\n"


def test_json_in_a_narrow_encoding_loses_no_character(spark: SparkSession, write: Callable[..., list[Path]]) -> None:
    frame = frame_of(spark, [("Köln 日本 😀", ["ж"])], "t STRING, more ARRAY<STRING>").coalesce(1)
    text = only_text(write(frame, format="json", encoding="latin-1")).decode("latin-1")
    assert json.loads(text) == {"t": "Köln 日本 😀", "more": ["ж"]}


@pytest.mark.parametrize(
    ("values", "config", "told"),
    [
        (["a", None], {}, "'t': a line of a single column can't represent NULL: set 'nullValue'"),
        (["a", "-"], {"nullValue": "-"}, "'t': the text '-' is read as NULL"),
        (["a", ""], {"options": {"quoteAll": True}, "nullValue": "-"}, None),
        (["Köln"], {"encoding": "latin-1"}, None),
        (["日本"], {"encoding": "latin-1"}, "'t': ISO-8859-1 can't encode one of its characters"),
        (["ab\u0080"], {"encoding": "ascii"}, "'t': US-ASCII can't encode one of its characters"),
        (["a\nb"], {"lineSep": "\r\n"}, "'t': a line feed in a text is written as 'lineSep'"),
    ],
)
def test_a_text_that_csv_would_not_give_back_is_refused(
    spark: SparkSession, tmp_path: Path, values: list[str | None], config: dict[str, Any], told: str | None
) -> None:
    source = tmp_path / "in.json"
    source.write_text("".join(json.dumps({"t": value}) + "\n" for value in values))
    steps = [
        extract("fromFiles", path=str(source), format="json", schema="t STRING"),
        load("toFiles", path=str(tmp_path / "out"), format="csv", **config),
    ]
    if told is None:
        assert last_step(run(spark, *steps)).rows == len(values)
        return
    with pytest.raises(PipelineExecutionException) as raised:
        run(spark, *steps)
    assert raised.value.message == f"the sink can't represent what is in the column {told}"
    assert not raised.value.retryable
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("value", ["", "__HIVE_DEFAULT_PARTITION__"])
def test_a_partition_value_that_would_be_read_as_null_is_refused(
    spark: SparkSession, write: Callable[..., list[Path]], value: str
) -> None:
    frame = frame_of(spark, [(1, value)], "id INT, p STRING")
    with pytest.raises(Exception, match="the sink can't represent what is in the column 'p'"):
        write(frame, format="parquet", partitionBy="p")


def test_other_partition_values_are_folders_of_their_own(
    spark: SparkSession, tmp_path: Path, write: Callable[..., list[Path]]
) -> None:
    values = [".", "..", "a/b=c%d", "x\ny", " ", None, "ä"]
    frame = frame_of(spark, [(place, value) for place, value in enumerate(values)], "id INT, p STRING")
    files = write(frame, format="json", partitionBy="p")
    folders = {file.parent.name: json.loads(file.read_text())["id"] for file in files}
    assert folders == {
        "p=.": 0,
        "p=..": 1,
        "p=a%2Fb%3Dc%25d": 2,
        "p=x%0Ay": 3,
        "p= ": 4,
        "p=__HIVE_DEFAULT_PARTITION__": 5,
        "p=ä": 6,
    }


@pytest.mark.parametrize(
    ("schema", "config", "told", "hint"),
    [
        ("id INT, b BINARY", {"format": "csv"}, "csv can't hold the column 'b', binary", "base64(b)"),
        ("id INT, m MAP<DATE, INT>", {"format": "json"}, "the keys of an object are strings", "transform_keys"),
        ("id INT, b BINARY", {"format": "orc", "partitionBy": "b"}, "binary can't be the name of a folder", ""),
    ],
)
def test_what_a_format_has_no_place_for_is_refused_at_planning(
    spark: SparkSession, tmp_path: Path, schema: str, config: dict[str, Any], told: str, hint: str
) -> None:
    sink = ToFiles(path=str(tmp_path / "out"), **config)
    with pytest.raises(PipelineExecutionException) as raised:
        sink.prepare(spark.createDataFrame([], schema), LoadRun("x", "x"))
    assert told in raised.value.message
    assert hint in (raised.value.hint or "")


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"format": "parquet", "quote": "'"}, "'quote' is for csv files, and format is parquet"),
        ({"format": "json", "nullValue": "-"}, "'nullValue' is for csv files, and format is json"),
        ({"format": "csv", "quote": "''"}, "expected one character"),
        ({"format": "csv", "encoding": "cp1252"}, "the encoding 'cp1252' is not one of those that Spark knows: UTF-8"),
        ({"format": "csv", "options": {"quoteAl": True}}, "did you mean 'quoteAll'?"),
        ({"format": "csv", "options": {"sep": ";"}}, "has a key of its own: write 'delimiter'"),
        ({"format": "orc", "mode": "append", "partitionOverwrite": "dynamic"}, "needs mode overwrite"),
        ({"format": "orc", "mode": "overwrite", "partitionOverwrite": "dynamic"}, "needs 'partitionBy'"),
    ],
)
def test_keys_that_do_not_go_together_are_mistakes_in_the_file(config: dict[str, Any], told: str) -> None:
    with pytest.raises(PipelineConfigurationException) as raised:
        pipeline_of([load("toFiles", path="x", **config)])
    assert told in str(raised.value)
