"""Change events that the real Debezium wrote: the rows in them are those that PostgreSQL says it has. Needs no JVM."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import pytest
from pyspark.sql import types as T

from pipeline_platform.connectors.kafka.debezium_events import Rows, UnusableError, change_reader
from pipeline_platform.connectors.kafka.debezium_types import Told, UnfitError, named, reader
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform_tests.connectors.kafka.debezium_recording import POSTGRES, Json

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
WITHOUT_TYPE = {"docb", "spot", "span", "range", "cash", "bits", "one", "clock", "clock_zone"}
"""Columns that PostgreSQL writes in another way than Debezium, or that are not read."""
KINDS: dict[str, T.DataType] = {
    "id": T.IntegerType(),
    "small": T.ShortType(),
    "big": T.LongType(),
    "flag": T.BooleanType(),
    "single": T.FloatType(),
    "twice": T.DoubleType(),
    "price": T.DecimalType(10, 2),
    "wide": T.DecimalType(38, 10),
    "free": T.DecimalType(32, 2),
    "day": T.DateType(),
    "at": T.TimestampNTZType(),
    "at_milli": T.TimestampNTZType(),
    "at_zone": T.TimestampType(),
    "short": T.StringType(),
    "fixed": T.StringType(),
    "body": T.StringType(),
    "data": T.BinaryType(),
    "doc": T.StringType(),
    "uid": T.StringType(),
    "mood": T.StringType(),
    "tags": T.ArrayType(T.StringType()),
    "numbers": T.ArrayType(T.IntegerType()),
    "days": T.ArrayType(T.DateType()),
    "prices": T.ArrayType(T.DecimalType(8, 3)),
    "stamps": T.ArrayType(T.TimestampType()),
    "net": T.StringType(),
}
TYPES = {
    **dict.fromkeys(("at", "stamps"), "MicroTimestamp"),
    "at_milli": "Timestamp",
    "data": "Bytes",
    "price": "Decimal(2)",
    "wide": "Decimal(10)",
    "prices": "Decimal(3)",
}
CUSTOMER = {"id": T.IntegerType(), "name": T.StringType(), "city": T.StringType()}
REST = ("balance", "joined", "seen", "called", "note")


def rows(columns: Mapping[str, T.DataType], **options: Any) -> Rows:
    return Rows(T.StructType([T.StructField(name, kind) for name, kind in columns.items()]), **options)


def read(data: bytes, columns: Mapping[str, T.DataType], **options: Any) -> Json:
    """The change in a message, or `why` it can't be used."""
    try:
        return change_reader(rows(columns, **options))(data)
    except UnusableError as error:
        return {"why": str(error)}


def as_told(value: Any, kind: T.DataType) -> Any:
    """A value as PostgreSQL writes it in JSON, as what Arrow takes for a type."""
    if value is None:
        return None
    match kind:
        case T.ArrayType():
            return [as_told(item, kind.elementType) for item in value]
        case T.DateType():
            return (dt.date.fromisoformat(value) - EPOCH.date()).days
        case T.TimestampType() | T.TimestampNTZType():
            time = dt.datetime.fromisoformat(value)
            return ((time if time.tzinfo else time.replace(tzinfo=dt.UTC)) - EPOCH) // dt.timedelta(microseconds=1)
        case T.FloatType() | T.DoubleType():
            return value if value == "NaN" else float(value)
        case T.BinaryType():
            return bytes.fromhex(value.removeprefix("\\x"))
        case T.StringType() if not isinstance(value, str):
            return json.dumps(value, default=float).replace("1.1", "1.10")
        case _:
            return value


@pytest.mark.parametrize("schemas", [True, False], ids=["with schemas", "without"])
def test_each_type_is_read_as_what_postgres_has_or_not_at_all(schemas: bool):
    wanted = POSTGRES.rows_of("kinds", parse_float=Decimal)
    given = {} if schemas else TYPES
    found = [read(data, KINDS, types=given, ignored=WITHOUT_TYPE) for data in POSTGRES.events("kinds", schemas=schemas)]
    for row, expected in zip(found[:3], wanted, strict=False):
        # NaN is not NaN.
        values = {name: "NaN" if row[name] != row[name] else row[name] for name in KINDS}
        told = {name: as_told(expected[name], kind) for name, kind in KINDS.items()}
        assert values == told
    refused = [f"'{name}' is not {kind}" for name, kind in [("day", "DATE"), ("at", "TIMESTAMP_NTZ")]]
    assert [row.get("why") for row in found[3:]] == [*refused, "'at_zone' is not TIMESTAMP"]


def test_what_spark_has_no_type_for_is_a_number_or_bytes():
    kinds: dict[str, T.DataType] = {"clock": T.LongType(), "span": T.LongType(), "clock_zone": T.StringType()}
    kinds |= {"bits": T.BinaryType(), "one": T.BooleanType(), "cash": T.DecimalType(9, 2), "range": T.StringType()}
    found = read(POSTGRES.events("kinds")[0], kinds, ignored={*KINDS, "docb", "spot"})
    wanted = [45_296_123_456, 2_802_600_000_000, "10:34:56Z", b"\x81", True, Decimal("12.34"), "[1,5)"]
    assert [found[name] for name in kinds] == wanted


@pytest.mark.parametrize("name", TYPES)
def test_what_only_a_schema_can_tell_is_not_guessed(name: str):
    [data] = [event for event in POSTGRES.events("kinds", schemas=False) if b'"id":1,' in event]
    ignored = {*KINDS, *WITHOUT_TYPE} - {name}
    unclear = f"'{name}' is not clear without the schema of the message, or its type in 'valueTypes'"
    assert read(data, {name: KINDS[name]}, ignored=ignored) == {"why": unclear}


@pytest.mark.parametrize("name", ["body", "pages", "tags", "scan", "doc"])
def test_a_value_that_debezium_left_out_is_no_value(name: str):
    kinds = {"pages": T.ArrayType(T.IntegerType()), "tags": T.ArrayType(T.StringType()), "scan": T.BinaryType()}
    columns = {"id": T.IntegerType(), name: kinds.get(name, T.StringType())}
    ignored = {"title", "body", "pages", "tags", "scan", "doc"} - {name}
    found = [read(data, columns, ignored=ignored) for data in POSTGRES.events("letters")]
    left_out = {"why": f"'{name}' was left out, as it had not changed: its table needs REPLICA IDENTITY FULL"}
    # Inserted, updated, its key changed, which is a delete and an insert, and deleted.
    assert [row.get("change_op", row) for row in found] == ["c", left_out, "d", left_out, "d"]


def test_a_column_that_was_added_to_the_table_is_not_lost():
    known = {name: kind for name, kind in CUSTOMER.items() if name != "city"}
    found = [read(data, known, ignored=REST) for data in POSTGRES.events("customers")]
    with_city = [data for data in POSTGRES.events("customers", schemas=False) if b'"city"' in data]
    assert with_city
    lacking = {"why": "'valueSchema' lacks the column 'city'"}
    assert [row for row in found if "why" in row] == [lacking] * len(with_city)
    assert "why" not in str([read(data, CUSTOMER, ignored=REST) for data in POSTGRES.events("customers")])


def test_a_change_comes_after_what_the_snapshot_read_also_if_it_was_written_before():
    source = [json.loads(data)["source"] for data in POSTGRES.events("customers", schemas=False)]
    found = [read(data, CUSTOMER, ignored=REST) for data in POSTGRES.events("customers")]
    ada = [
        (row["name"], row["change_op"], lsn["lsn"]) for row, lsn in zip(found, source, strict=True) if row["id"] == 1
    ]
    [(_, _, of_snapshot), (_, _, of_change)] = ada
    # The transaction was open while the snapshot was made.
    assert [(name, op) for name, op, _ in ada] == [("Ada", "r"), ("Ada L.", "u")]
    assert of_change < of_snapshot
    for key in {row["id"] for row in found}:
        places = [row["change_sequence"] for row in found if row["id"] == key]
        assert places == sorted(set(places))


def test_a_row_that_comes_again_has_the_same_place_and_a_truncation_has_one():
    visits = [read(data, {"id": T.IntegerType(), "page": T.StringType()}) for data in POSTGRES.events("visits")]
    assert [(row["change_op"], row["id"], row["page"]) for row in visits] == [
        ("r", 1, "before"),
        ("r", 2, "before"),
        ("c", 3, "between"),
        ("t", None, None),
        ("c", 2, "after"),
    ]
    assert [row["change_sequence"] for row in visits[2:]] == sorted({row["change_sequence"] for row in visits[2:]})
    assert all(row["change_transaction"].isdigit() for row in visits)


def test_a_schema_that_comes_again_is_read_as_before():
    reads = change_reader(rows(CUSTOMER, ignored=REST))
    known = {name: kind for name, kind in CUSTOMER.items() if name != "city"}
    told = [read(data, CUSTOMER, ignored=REST) for data in POSTGRES.events("customers")]
    assert [reads(data) for data in POSTGRES.events("customers")] == told
    # A row of another type in it, and what stands after the row.
    number = [data.replace(b'"name":"Bob"', b'"name":7') for data in POSTGRES.events("customers")[:2]]
    for broken, why in [
        (number[1], "'name' is not STRING"),
        (POSTGRES.events("customers")[0][:-1] + b',"schema":null}', "a key occurs twice in it"),
        (POSTGRES.events("customers")[0][:-1], "not JSON"),
        (POSTGRES.events("customers")[0] + b"}", "not JSON"),
    ]:
        read_again = change_reader(rows(known, ignored=REST))
        read_again(POSTGRES.events("customers")[0])
        with pytest.raises(UnusableError, match=why):
            read_again(broken)


def test_a_message_with_spaces_in_it_is_the_same_message():
    data = POSTGRES.events("customers")[0]
    for again in (json.dumps(json.loads(data), indent=indent).encode() for indent in (None, 1)):
        assert read(again, CUSTOMER, ignored=REST) == read(data, CUSTOMER, ignored=REST)


@pytest.mark.parametrize(
    ("topic", "why"),
    [
        ("dbz.transaction", "a mark of a transaction, and no change of a row"),
        ("__debezium-heartbeat.dbz", "a heartbeat, and no change of a row"),
        ("dbz.message", "a message that an application wrote into the log, and no change of a row"),
    ],
)
@pytest.mark.parametrize("schemas", [True, False], ids=["with schemas", "without"])
def test_other_messages_of_debezium_are_no_changes(topic: str, why: str, schemas: bool):
    found = [read(data or b"", CUSTOMER) for _, data in POSTGRES.messages_in(topic, schemas=schemas)]
    assert {row["why"] for row in found} == {why}


def event(**changed: Any) -> bytes:
    source = {"connector": "postgresql", "lsn": 7, "sequence": '["5","7"]', "ts_ms": 1, "snapshot": "false"}
    whole: Json = {"before": None, "after": {"id": 1}, "op": "c", "source": source}
    whole["source"] |= changed.pop("source", {})
    return json.dumps(whole | changed).encode()


DECIMAL = "org.apache.kafka.connect.data.Decimal"
MYSQL: Json = {"connector": "mysql", "file": "mysql-bin.000012", "pos": 345, "row": 2, "gtid": "a:7"}


@pytest.mark.parametrize(
    ("data", "place"),
    [
        (event(), ["5", "7"]),
        (event(source={"sequence": '[null,"7"]'}), ["7", "7"]),
        (event(op="r"), ["0", "7"]),
        (event(source={"snapshot": "incremental"}), ["0", "7"]),
        (event(source=MYSQL), ["12", "345", "2"]),
        (event(source={**MYSQL, "connector": "mariadb", "gtid": "0-1-43"}), ["12", "345", "2"]),
        (event(source={**MYSQL, "snapshot": True}, op="r"), ["0", "12", "345", "2"]),
    ],
)
def test_the_place_of_a_change_can_be_compared_as_text(data: bytes, place: list[str]):
    found = read(data, {"id": T.IntegerType()})
    assert found["change_sequence"] == "-".join(number.zfill(20) for number in place)
    assert found["change_time"] == 1000


@pytest.mark.parametrize(
    ("connector", "told", "value", "wanted"),
    [
        ("mysql", None, -1, None),
        ("mariadb", {"type": "int64"}, -1, None),
        ("mariadb", {"type": "int64"}, 1, Decimal(1)),
        ("mysql", {"type": "int32"}, -1, Decimal(-1)),
        ("mysql", {"type": "string"}, "-1", Decimal(-1)),
        # As it comes with bigint.unsigned.handling.mode=precise.
        ("mysql", {"type": "bytes", "name": DECIMAL, "parameters": {"scale": "0"}}, "AP//////////", Decimal(2**64 - 1)),
        ("mysql", {"type": "bytes", "name": DECIMAL, "parameters": {"scale": "0"}}, -1, Decimal(-1)),
        ("postgresql", {"type": "int64"}, -1, Decimal(-1)),
    ],
)
def test_a_number_that_may_be_a_large_unsigned_one_is_not_taken_for_a_negative_decimal(
    connector: str, told: Json | None, value: Any, wanted: Decimal | None
):
    payload = json.loads(event(after={"id": value}, source={**MYSQL, "connector": connector}))
    after = {"field": "after", "fields": [{"field": "id", **(told or {})}]}
    message = {"schema": {"fields": [after]}, "payload": payload} if told else payload
    found = read(json.dumps(message).encode(), {"id": T.DecimalType(20, 0)})
    assert found.get("id") == wanted
    assert ("why" in found) == (wanted is None)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "empty"),
        (b"\xff", "not UTF-8"),
        (b"[]", "not a JSON object"),
        (b"7", "not a JSON object"),
        (event() + b"{}", "not JSON"),
        (event()[:-1], "not JSON"),
        (b'{"op": NaN}', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (event(after={"id": 1}).replace(b'"id": 1', b'"id": 1, "id": 2'), "a key occurs twice in it"),
        (event(after={"id": 1, "x": "\ud800"}), "a text in it has half of a surrogate pair"),
        (b'{"id": 1}', "no change event of Debezium, which has an 'op'"),
        (b'{"schema": null, "payload": null}', "no change event of Debezium, which has an 'op'"),
        (event(op="x"), "its 'op' is none of c, u, d, r and t"),
        (event(op=["c"]), "its 'op' is none of c, u, d, r and t"),
        (event(op="d"), "it has the op 'd', and no row in 'before'"),
        (event(after={"id": None}), "'id' is missing or null"),
        (event(after={"id": 1.0}), "'id' is not INT"),
        (event(source={"connector": "sqlserver"}), "its source is neither PostgreSQL nor MySQL or MariaDB"),
        (event(source={"lsn": None}), "its source does not say at which position of the log it is"),
        (event(source={"sequence": "x"}), "its source does not say at which position of the log it is"),
        (event(source={**MYSQL, "file": "binlog"}), "its source does not say at which position of the log it is"),
        (event(source={"ts_ms": None}), "its source does not say when it was"),
    ],
)
def test_a_message_that_is_no_whole_change_says_why(data: bytes, why: str):
    schema = T.StructType([T.StructField("id", T.IntegerType(), nullable=False)])
    with pytest.raises(UnusableError) as caught:
        change_reader(Rows(schema))(data)
    assert str(caught.value) == why


def _time(name: str) -> Told:
    return Told("int64", f"io.debezium.time.{name}")


@pytest.mark.parametrize(
    ("precision", "told", "value", "is_read"),
    [
        (15, Told("double"), Decimal("1.5"), True),
        (16, Told("double"), Decimal("1.5"), False),
        (16, None, Decimal("1.5"), False),
        (16, None, 15, True),
        (16, named("Decimal(2)"), Decimal("1.5"), True),
        (16, Told("bytes", DECIMAL, 2), Decimal("1.5"), True),
    ],
)
def test_a_decimal_is_not_made_of_a_double_that_has_fewer_digits(
    precision: int, told: Told | None, value: Any, is_read: bool
):
    read_decimal = reader(T.DecimalType(precision, 2))
    assert read_decimal is not None
    if is_read:
        assert read_decimal(value, told) == value
    else:
        with pytest.raises(UnfitError, match="has come as a double" if told else "is not clear"):
            read_decimal(value, told)


def _decimal(scale: int) -> Told:
    return named(f"Decimal({scale})")


DAY, ZONED = T.DateType(), T.TimestampType()
FIRST, LAST = -62_135_596_800_000, 253_402_300_799_999


@pytest.mark.parametrize(
    ("kind", "told", "value", "wanted"),
    [
        (T.ByteType(), None, 127, 127),
        (T.ByteType(), None, 128, UnfitError),
        (T.ByteType(), None, True, UnfitError),
        # A day is no number.
        (T.IntegerType(), Told("int32", "io.debezium.time.Date"), 5, UnfitError),
        (T.IntegerType(), Told("int32", "io.debezium.time.Year"), 2026, 2026),
        (T.BooleanType(), None, 1, UnfitError),
        (T.FloatType(), None, Decimal("3.5e38"), UnfitError),
        (T.DoubleType(), None, Decimal("1e400"), UnfitError),
        (T.DoubleType(), None, "1.5", UnfitError),
        (T.StringType(), Told("bytes"), "AQ==", UnfitError),
        (T.StringType(), None, 5, UnfitError),
        (T.BinaryType(), Told("string"), "abcd", UnfitError),
        (T.BinaryType(), Told("bytes"), "a-_=", UnfitError),
        (T.DecimalType(5, 2), _decimal(2), "AQ==", Decimal("0.01")),
        (T.DecimalType(5, 2), _decimal(0), "/w==", Decimal("-1.00")),
        (T.DecimalType(5, 2), _decimal(-2), "AQ==", Decimal("100.00")),
        (T.DecimalType(5, 2), _decimal(3), "AQ==", UnfitError),
        (T.DecimalType(5, 2), _decimal(3), "Cg==", Decimal("0.01")),
        (T.DecimalType(5, 2), _decimal(0), "A+g=", UnfitError),
        (T.DecimalType(5, 2), _decimal(0), "", Decimal(0)),
        (T.DecimalType(5, 2), Told("string"), "1.5", Decimal("1.50")),
        (T.DecimalType(5, 2), Told("string"), "NaN", UnfitError),
        (T.DecimalType(5, 2), None, Decimal("1.005"), UnfitError),
        (T.DecimalType(5, 2), None, {"scale": 1, "value": "Dw=="}, Decimal("1.50")),
        (T.DecimalType(5, 2), None, {"scale": 10**9, "value": "Dw=="}, UnfitError),
        (DAY, None, -1, -1),
        (DAY, Told("int32"), 5, UnfitError),
        (DAY, None, 2_932_897, UnfitError),
        (DAY, None, "1970-01-02", 1),
        (DAY, None, "1970-02-30", UnfitError),
        (ZONED, _time("Timestamp"), FIRST, FIRST * 1000),
        (ZONED, _time("Timestamp"), LAST + 1, UnfitError),
        (ZONED, _time("NanoTimestamp"), -1, -1),
        (ZONED, Told("int64", "org.apache.kafka.connect.data.Timestamp"), 7, 7000),
        (ZONED, Told("int64"), 1, UnfitError),
        (ZONED, None, "1970-01-01T01:00:00.000001999+01:00", 1),
        (ZONED, None, "1970-01-01T00:00:00", UnfitError),
        (ZONED, None, "0001-01-01T00:00:00+01:00", UnfitError),
        (T.TimestampNTZType(), Told("string", "io.debezium.time.ZonedTimestamp"), "1970-01-01T00:00:00Z", UnfitError),
        (T.TimestampNTZType(), named("IsoTimestamp"), "1970-01-01T00:00:01Z", 1_000_000),
        (T.ArrayType(T.IntegerType()), None, [1, "2"], UnfitError),
        (T.ArrayType(T.IntegerType()), None, "[1]", UnfitError),
    ],
)
def test_a_value_that_does_not_fit_is_not_bent(kind: T.DataType, told: Told | None, value: Any, wanted: Any):
    read: Callable[..., Any] | None = reader(kind)
    assert read is not None
    if wanted is UnfitError:
        with pytest.raises(UnfitError):
            read(value, told)
    else:
        assert read(value, told) == wanted


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (rows({"a": T.StructType()}), "'a' is STRUCT<> in 'valueSchema', which no value in a change of debezium"),
        (rows({"a": T.MapType(T.StringType(), T.StringType())}), "which no value in a change of debezium is read as"),
        (rows({"Change_Op": T.StringType()}), "'valueSchema' has a column 'Change_Op', which is what debezium calls"),
        (rows({"price": T.StringType()}, types={"prize": "String"}), "'valueTypes' has a column 'prize'"),
    ],
)
def test_a_schema_that_no_change_has_is_refused_before_anything_is_read(given: Rows, message: str):
    with pytest.raises(PipelineConfigurationException, match=message):
        change_reader(given)
