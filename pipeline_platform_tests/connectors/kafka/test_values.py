"""What is made of the values of messages, without a broker; the Avro in them is fastavro's."""

from __future__ import annotations

import datetime as dt
import io
import json
import random
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, cast

import fastavro
import pytest
from pyspark.sql import DataFrame, Row, SparkSession

from pipeline_platform.connectors.kafka.source import FromKafka
from pipeline_platform.connectors.kafka.values import Values, with_values
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.steps.malformed import MALFORMED, RECORD
from pipeline_platform_tests.duckdb_rows import frame_of

Json = dict[str, Any]
_RECORD = "key BINARY, value BINARY, topic STRING, partition INT, offset BIGINT, timestamp TIMESTAMP, timestampType INT"
CUT_OFF, FOLLOWED = "not Avro of the schema, or cut off", "bytes follow the Avro record"

AVRO: Json = {
    "type": "record",
    "name": "Event",
    "namespace": "shop",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "what", "type": ["null", "string"]},
        {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "tags", "type": {"type": "array", "items": "string"}},
        {"name": "by_name", "type": {"type": "map", "values": ["null", "double"]}},
        {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["A", "B"]}},
        {"name": "hash", "type": {"type": "fixed", "name": "Hash", "size": 3}},
        {"name": "inner", "type": {"type": "record", "name": "Inner", "fields": [{"name": "kind", "type": "Kind"}]}},
    ],
}


def read(spark: SparkSession, data: Sequence[bytes | None], values: Values) -> list[Row]:
    """The rows of messages with these values, in their order."""
    return with_values(records_of(spark, data), values).orderBy("offset").collect()


def records_of(spark: SparkSession, data: Sequence[bytes | None]) -> DataFrame:
    rows = [(b"k", value, "t", 0, offset, dt.datetime(2026, 1, 1), 0) for offset, value in enumerate(data)]
    return frame_of(spark, rows, _RECORD).coalesce(1)


def avro(value: Mapping[str, Any], schema: Json = AVRO) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), value)
    return out.getvalue()


def text(chance: random.Random) -> str:
    return "".join(chance.choice('a\0é€\U0001f600"\\') for _ in range(chance.randrange(6)))


def event(chance: random.Random) -> Json:
    return {
        "id": chance.choice([0, -1, 2**63 - 1, chance.randrange(2**40)]),
        "what": chance.choice([None, text(chance)]),
        "price": Decimal(chance.randrange(-(10**9) + 1, 10**9)) / 100,
        "at": dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=chance.randrange(-(10**15), 10**16)),
        "tags": [text(chance) for _ in range(chance.randrange(3))],
        "by_name": {text(chance): chance.choice([None, 0.5]) for _ in range(chance.randrange(3))},
        "kind": chance.choice("AB"),
        "hash": chance.randbytes(3),
        "inner": {"kind": chance.choice("AB")},
    }


def test_avro_is_read_as_fastavro_wrote_it_and_malformed_where_a_byte_is_missing_or_too_many(spark: SparkSession):
    chance = random.Random(12)
    events = [event(chance) for _ in range(200)]
    whole = [avro(value) for value in events]
    cut = [data[:end] for data in whole[:20] for end in range(len(data))]
    longer = [data + more for data in whole[:20] for more in (b"\0", chance.randbytes(20), data)]
    rows = read(spark, [*whole, *cut, *longer], Values("avro", json.dumps(AVRO)))
    good, short, long = rows[:200], rows[200 : 200 + len(cut)], rows[200 + len(cut) :]
    assert [row[MALFORMED] for row in good] == [None] * 200
    fields = [field["name"] for field in AVRO["fields"]]
    found = [{name: row.asDict(recursive=True)[name] for name in fields} for row in good]
    # pyspark gives times as those of the machine, without their zone.
    assert [value | {"at": value["at"].astimezone(dt.UTC)} for value in found] == events
    assert [row[MALFORMED] for row in short] == ["empty" if not data else CUT_OFF for data in cut]
    assert [row[MALFORMED] for row in long] == [FOLLOWED] * len(longer)
    assert {row[name] for row in (*short, *long) for name in ("id", "what", "kind")} == {None}
    assert [row[RECORD].value for row in short] == cut


NULLS: Json = {
    "type": "record",
    "name": "Nulls",
    "fields": [{"name": "a", "type": ["null", "int"]}, {"name": "b", "type": ["null", "string"]}],
}
ODD: list[tuple[bytes | None, str | None]] = [
    (None, None),
    (avro({"a": None, "b": None}, NULLS), None),
    (b"", "empty"),
    (b"\x00\x02\x04\xc3\xa9", None),
    (b"\x00\x02\x04\xc3\x28", "a text in 'b' is not UTF-8"),
    # Branch 2 of two, a negative length, a length of 2 GB, a number of 11 bytes.
    (b"\x04\x00", CUT_OFF),
    (b"\x00\x02\x03", CUT_OFF),
    (b"\x00\x02\xfe\xff\xff\xff\x0f", CUT_OFF),
    (b"\x02" + b"\xff" * 11, CUT_OFF),
    # What a schema registry puts before it is a null and a null here, and then bytes that are left over.
    (b"\0\0\0\0\7" + avro({"a": 1, "b": "x"}, NULLS), FOLLOWED),
]


def test_a_record_of_nulls_is_one_and_a_tombstone_is_not_malformed(spark: SparkSession):
    rows = read(spark, [value for value, _ in ODD], Values("avro", json.dumps(NULLS)))
    assert [row[MALFORMED] for row in rows] == [reason for _, reason in ODD]
    assert [row.b for row in rows] == [None, None, None, "é", *[None] * 6]


def test_a_text_that_is_not_utf8_is_malformed_also_deep_within_a_record(spark: SparkSession):
    schema = {
        "type": "record",
        "name": "Deep",
        "fields": [
            {"name": "texts", "type": {"type": "array", "items": {"type": "map", "values": "string"}}},
            {"name": "n", "type": "int"},
        ],
    }
    good = avro({"texts": [{"kk": "vv"}, {}], "n": 1}, schema)
    data = [good, good.replace(b"kk", b"\xffk"), good.replace(b"vv", b"v\xff")]
    rows = read(spark, data, Values("avro", json.dumps(schema)))
    assert [row[MALFORMED] for row in rows] == [None, *["a text in 'texts' is not UTF-8"] * 2]
    assert [(row.texts, row.n) for row in rows] == [([{"kk": "vv"}, {}], 1), (None, 1), (None, 1)]


def test_framed_avro_is_read_with_the_schema_of_its_id_and_resolved_to_the_wanted_one(spark: SparkSession):
    old: Json = {
        "type": "record",
        "name": "E",
        "fields": [{"name": "b", "type": "string"}, {"name": "a", "type": "int"}],
    }
    new: Json = {
        "type": "record",
        "name": "E",
        "fields": [
            {"name": "a", "type": "long"},
            {"name": "b", "type": "string"},
            {"name": "c", "type": "int", "default": 9},
        ],
    }
    framed = [
        b"\0\0\0\0\7" + avro({"b": "old", "a": 1}, old),
        b"\0\0\1\0\0" + avro({"a": 2, "b": "new", "c": 3}, new),
        b"\0\0\0\0\x08" + avro({"b": "old", "a": 1}, old),
        avro({"b": "old", "a": 1}, old),
        b"\0\0\0\0\7",
        b"\0\0\0",
        b"\0\0\0\0\7" + avro({"b": "old", "a": 1}, old) + b"x",
        None,
    ]
    written = {7: json.dumps(old), 65536: json.dumps(new)}
    rows = read(spark, framed, Values("avro", json.dumps(new), "confluent", written))
    headless = "without the header of a schema registry"
    assert [(row.a, row.b, row.c) for row in rows] == [(1, "old", 9), (2, "new", 3), *[(None, None, None)] * 6]
    assert [row[MALFORMED] for row in rows] == [
        None,
        None,
        "written with a schema that 'writerSchemas' lacks",
        headless,
        "empty",
        headless,
        FOLLOWED,
        None,
    ]


def test_framed_json_is_read_without_its_header(spark: SparkSession):
    data = [b'\0\0\0\0\7{"id": 1}', b'{"id": 1}', b"\0\0\0\0\7", b'\0\0\0\0\7{"id": "x"}', None]
    rows = read(spark, data, Values("json", "id INT", "confluent"))
    assert [(row.id, row[MALFORMED]) for row in rows] == [
        (1, None),
        (None, "without the header of a schema registry"),
        (None, "empty"),
        (None, "'id' is not INT"),
        (None, None),
    ]


def test_a_text_is_utf8_or_malformed(spark: SparkSession):
    data = ["grün\0\U0001f600".encode(), b"", b"\xff", "é".encode("latin-1"), b"\xed\xa0\x80", b"\xc0\xaf", None]
    rows = read(spark, data, Values("string"))
    wanted: list[str | None] = []
    for value in data:
        try:
            wanted.append(value.decode() if value is not None else None)
        except UnicodeDecodeError:
            wanted.append(None)
    assert [row.value for row in rows] == wanted
    assert [row[MALFORMED] is None for row in rows] == [True, True, False, False, False, False, True]
    assert [cast("Row", row[RECORD]).value for row in rows] == data


def test_an_avro_schema_that_is_no_record_is_refused_at_planning(spark: SparkSession):
    with pytest.raises(PipelineConfigurationException, match="type string, and not a record"):
        read(spark, [b"\2a"], Values("avro", '"string"'))


def test_a_writer_whose_logical_types_differ_is_refused_by_its_id_also_without_a_registry(spark: SparkSession):
    def of(scale: int) -> Json:
        price = {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": scale}
        return {"type": "record", "name": "E", "fields": [{"name": "price", "type": ["null", price]}]}

    keys = {"valueFormat": "avro", "valueSchema": of(4), "valueFraming": "confluent"}
    config = {"topic": "t", **keys, "writerSchemas": {"7": json.dumps(of(2)), "8": json.dumps(of(4))}}
    source = FromKafka.model_validate(config)
    price = {"price": Decimal("12.34")}
    messages = [b"\0\0\0\0\7" + avro(price, of(2)), b"\0\0\0\0\x08" + avro(price, of(4)), b"\0\0\0\0\x09"]
    rows = source.with_parsed_values(records_of(spark, messages), None).orderBy("offset").collect()
    assert [(row.price, row[MALFORMED]) for row in rows] == [
        (
            None,
            "written with schema 7, which can't be read as the wanted one: "
            "'price' was written as decimal(10,2), and is wanted as decimal(10,4)",
        ),
        (Decimal("12.34"), None),
        (None, "written with a schema that 'writerSchemas' lacks"),
    ]


def test_days_outside_the_calendar_are_malformed_and_no_column_of_kafka_is_lost_to_a_field(spark: SparkSession):
    date, time = {"type": "int", "logicalType": "date"}, {"type": "long", "logicalType": "timestamp-millis"}
    local = {"type": "long", "logicalType": "local-timestamp-micros"}
    fields = [
        {"name": "key", "type": "string"},
        {"name": "Kafka_Key", "type": date},
        {"name": "at", "type": {"type": "array", "items": time}},
        {"name": "local", "type": ["null", local]},
    ]
    # A type may be called as one of those that values are read with.
    schema: Json = {"type": "record", "name": "pipeline_platform_end", "fields": fields}
    last = 253402300799999
    values = [
        {"key": "k", "Kafka_Key": -719162, "at": [0, last], "local": last * 1000},
        {"key": "k", "Kafka_Key": 20240101, "at": [0], "local": None},
        {"key": "k", "Kafka_Key": 0, "at": [0, last + 1], "local": None},
        {"key": "k", "Kafka_Key": 0, "at": [], "local": last * 1000 + 1000},
    ]
    plain = json.loads(json.dumps(schema))
    # fastavro has no such times to write.
    plain["fields"][1]["type"], plain["fields"][2]["type"]["items"], plain["fields"][3]["type"][1] = (
        "int",
        "long",
        "long",
    )
    rows = read(spark, [avro(value, plain) for value in values], Values("avro", json.dumps(schema)))
    assert [bytes(row.kafka_kafka_key) for row in rows] == [b"k"] * 4
    assert [(row.key, row.Kafka_Key) for row in rows[:1]] == [("k", dt.date(1, 1, 1))]
    told = "a date or a time in '{}' is not in the years 1 to 9999"
    assert [row[MALFORMED] for row in rows] == [None, *(told.format(each) for each in ("Kafka_Key", "at", "local"))]
