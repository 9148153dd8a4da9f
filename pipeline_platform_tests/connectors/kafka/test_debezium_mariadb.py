"""Changes of MariaDB that the real Debezium wrote: rows and order are those that MariaDB says. Needs no JVM."""

from __future__ import annotations

import datetime as dt
import json
import random
import re
import struct
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import pytest
from pyspark.sql import types as T

from pipeline_platform_tests.connectors.kafka.debezium_recording import MARIADB, Json
from pipeline_platform_tests.connectors.kafka.test_debezium import read

TEXT, SMALL, WHOLE, BIG, LOCAL = T.StringType(), T.ShortType(), T.IntegerType(), T.LongType(), T.TimestampNTZType()
KINDS: dict[str, T.DataType] = {
    "id": WHOLE,
    "tiny": T.ByteType(),
    "tiny_u": SMALL,
    "small": SMALL,
    "small_u": WHOLE,
    "medium": WHOLE,
    "medium_u": WHOLE,
    "whole": WHOLE,
    "whole_u": BIG,
    "padded": BIG,
    "big": BIG,
    "big_u": T.DecimalType(20, 0),
    "flag": T.ByteType(),
    "price": T.DecimalType(10, 2),
    "price_u": T.DecimalType(10, 2),
    "wide": T.DecimalType(38, 10),
    "single": T.FloatType(),
    "twice": T.DoubleType(),
    "day": T.DateType(),
    "at": LOCAL,
    "at_milli": LOCAL,
    "at_micro": LOCAL,
    "stamp": T.TimestampType(),
    "stamp_micro": T.TimestampType(),
    "clock": BIG,
    "clock_micro": BIG,
    "born": SMALL,
    "one": T.BooleanType(),
    **dict.fromkeys(("eight", "twelve", "raw", "var_raw", "data"), T.BinaryType()),
    **dict.fromkeys(("fixed", "short", "body", "large", "doc", "mood", "tags"), TEXT),
}
BITS, TIMES = ("one", "eight", "twelve"), ("clock", "clock_micro")
TYPES = {
    **dict.fromkeys(("at", "at_milli"), "Timestamp"),
    **dict.fromkeys(("eight", "twelve", "raw", "var_raw", "data"), "Bytes"),
    **dict.fromkeys(("price", "price_u"), "Decimal(2)"),
    "at_micro": "MicroTimestamp",
    "wide": "Decimal(10)",
}
WITHOUT_TYPE = {"widest", "spot"}
DAYS = {"id": WHOLE, "day": T.DateType(), "day_must": T.DateType(), "at": LOCAL, "at_must": LOCAL}
STAMPS = {"stamp": T.TimestampType(), "stamp_must": T.TimestampType()}
CUSTOMER: dict[str, T.DataType] = {
    "id": WHOLE,
    "name": TEXT,
    "balance": T.DecimalType(10, 2),
    "joined": T.DateType(),
    "seen": LOCAL,
    "called": T.TimestampType(),
    "note": TEXT,
    "city": TEXT,
}
EPOCH = dt.datetime(1970, 1, 1)


def changes(table: str, columns: Mapping[str, T.DataType], schemas: bool = True, **options: Any) -> list[Json]:
    return [read(data, columns, **options) for data in MARIADB.events(table, schemas=schemas)]


def rows(table: str, columns: Mapping[str, T.DataType]) -> list[Json]:
    """The rows that MariaDB had in the end."""
    return [{name: told(row[name], name, kind) for name, kind in columns.items()} for row in MARIADB.rows_of(table)]


def told(text: str | None, name: str, kind: T.DataType) -> Any:
    """What MariaDB says in a text, as what Arrow takes for a type."""
    if text is None:
        return None
    if name in TIMES:
        sign, hours, minutes, seconds = re.fullmatch(r"(-?)(\d+):(\d+):([\d.]+)", text).groups()  # pyright: ignore[reportOptionalMemberAccess]
        micros = (int(hours) * 3600 + int(minutes) * 60) * 1_000_000 + int(Decimal(seconds) * 1_000_000)
        return -micros if sign else micros
    data = bytes.fromhex(text.removeprefix("0x")) if text.startswith("0x") else b""
    match kind:
        case T.BooleanType():
            return data == b"\1"
        case T.BinaryType():
            # Of bits, Debezium sends the last byte first.
            return data[::-1] if name in BITS else data
        case T.IntegralType():
            return int(text)
        case T.DecimalType():
            return Decimal(text)
        case T.FractionalType():
            return float(text)
        case T.DateType():
            return (dt.date.fromisoformat(text) - EPOCH.date()).days
        case T.TimestampType() | T.TimestampNTZType():
            return (dt.datetime.fromisoformat(text) - EPOCH) // dt.timedelta(microseconds=1)
        case _:
            return text


def single(number: float) -> float:
    """The nearest float of four bytes."""
    return struct.unpack("f", struct.pack("f", number))[0]


@pytest.mark.parametrize("schemas", [True, False], ids=["with schemas", "without"])
def test_each_type_is_read_as_what_mariadb_has(schemas: bool):
    found = changes("kinds", KINDS, schemas, types={} if schemas else TYPES, ignored=WITHOUT_TYPE)
    wanted = rows("kinds", KINDS)
    refused = [
        row.get("why", "") for row, expected in zip(found, wanted, strict=True) if expected["big_u"] == 2**64 - 1
    ]
    assert refused == [refused[0]] * 2
    assert "'big_u' is negative, as Debezium writes a large BIGINT UNSIGNED, too" in refused[0]
    for row, expected in zip(found, wanted, strict=True):
        if "why" not in row and expected["single"] is not None:
            row["single"] = single(row["single"])
            # A snapshot asks for the text of a number, which has six digits.
            digits = f"{expected['single']:.6g}" if row["change_op"] == "r" else expected["single"]
            expected["single"] = single(float(digits))
        assert "why" in row or {name: row[name] for name in KINDS} == expected
    assert [row.get("change_op") for row in found] == ["r", "r", "r", None, "r", "c", "c", "c", None, "c"]


@pytest.mark.parametrize(
    ("name", "kind"), [("widest", T.DecimalType(38, 30)), ("flag", T.BooleanType()), ("spot", TEXT)]
)
def test_what_the_type_of_a_column_does_not_hold_is_refused(name: str, kind: T.DataType):
    found = changes("kinds", {name: kind}, ignored={*KINDS, *WITHOUT_TYPE} - {name})
    assert found[0] == {"why": f"'{name}' is not {kind.simpleString().upper()}"}


@pytest.mark.parametrize("name", [name for name in TYPES if name != "twelve"])
def test_what_only_a_schema_can_tell_is_not_guessed(name: str):
    ignored = {*KINDS, *WITHOUT_TYPE} - {name}
    unclear = f"'{name}' is not clear without the schema of the message, or its type in 'valueTypes'"
    assert changes("kinds", {name: KINDS[name]}, schemas=False, ignored=ignored)[0] == {"why": unclear}


def test_a_day_of_the_year_1_is_one_and_a_zero_is_null_or_what_debezium_puts_in_its_place():
    found = changes("days", {**DAYS, **STAMPS})
    recorded = MARIADB.rows_of("days")
    zeros = [index for index, row in enumerate(recorded) if row["day"].endswith("00")]
    assert len(zeros) == 4
    for index in zeros:
        assert [found[index][name] for name in ("day", "at", "stamp")] == [None] * 3
        assert [found[index][name] for name in ("day_must", "at_must")] == [0, 0]
        # The default of the column.
        assert found[index]["stamp_must"] in (told(text, "", LOCAL) for text in ("2025-12-31 18:30", "2026-01-01"))
    for index, row in enumerate(recorded):
        if index not in zeros:
            expected = {name: told(row[name], name, kind) for name, kind in (DAYS | STAMPS).items()}
            if row["day"] == "1582-10-10" and found[index]["change_op"] == "r":
                # In the snapshot's calendar, the 4th of October was followed by the 15th.
                expected |= {name: expected[name] + 10 * 86_400_000_000 for name in ("at", "at_must")}
            assert {name: found[index][name] for name in expected} == expected


def newest(found: Sequence[Json]) -> list[Json]:
    """The rows that there are after these changes, in whatever order they come."""
    truncated = max((row["change_sequence"] for row in found if row["change_op"] == "t"), default="")
    rows: dict[Any, Json] = {}
    for row in found:
        if row["change_op"] != "t" and row["change_sequence"] > truncated:
            known = rows.setdefault(row["id"], row)
            rows[row["id"]] = max(known, row, key=lambda it: it["change_sequence"])
    return sorted((row for row in rows.values() if row["change_op"] != "d"), key=lambda row: row["id"])


@pytest.mark.parametrize(("table", "columns"), [("customers", CUSTOMER), ("visits", {"id": WHOLE, "page": TEXT})])
def test_in_any_order_the_last_change_of_each_row_is_what_mariadb_has(table: str, columns: Mapping[str, T.DataType]):
    found = changes(table, columns)
    for seed in range(5):
        random.Random(seed).shuffle(found)
        assert [{name: row[name] for name in columns} for row in newest(found)] == rows(table, columns)


def test_the_changes_of_a_row_are_in_the_order_of_the_log_also_over_several_of_its_files():
    found = changes("customers", CUSTOMER)
    for key in {row["id"] for row in found}:
        places = [row["change_sequence"] for row in found if row["id"] == key]
        assert places == sorted(set(places))
    of_changes = [row["change_sequence"] for row in found if row["change_op"] != "r"]
    assert {place.split("-")[0] for place in of_changes} == {f"{number:020}" for number in (1, 2, 3)}
    assert max(row["change_sequence"] for row in found if row["change_op"] == "r") < min(of_changes)
    # The transaction had been open while the snapshot was made, and the second wrote while tables were read.
    names = [(row["change_op"], row["name"]) for row in found if row["id"] in (1, 4, 5)]
    assert names == [("r", "Ada"), ("c", "second"), ("u", "Ada L."), ("c", "first")]


def test_a_column_that_was_added_to_the_table_is_not_lost():
    columns = {name: kind for name, kind in CUSTOMER.items() if name != "city"}
    why = [row["why"] for row in changes("customers", columns) if "why" in row]
    assert why == ["'valueSchema' lacks the column 'city'"]


@pytest.mark.parametrize(
    ("topic", "why"),
    [
        ("dbz", "a change of the schema, and not of a row"),
        ("__debezium-heartbeat.dbz", "a heartbeat, and no change of a row"),
    ],
)
@pytest.mark.parametrize("schemas", [True, False], ids=["with schemas", "without"])
def test_other_messages_of_debezium_are_no_changes(topic: str, why: str, schemas: bool):
    found = [read(data or b"", CUSTOMER) for _, data in MARIADB.messages_in(topic, schemas=schemas)]
    assert {row["why"] for row in found} == {why}


def test_what_the_log_does_not_tell_debezium_is_what_the_page_warns_of():
    def told_and_there(table: str) -> tuple[list[tuple[str, int]], list[int]]:
        events = [json.loads(data) for data in MARIADB.events(table, schemas=False)]
        changed = [(event["op"], (event["after"] or event["before"])["id"]) for event in events]
        return changed, [int(row["id"]) for row in MARIADB.rows_of(table)]

    # An event that log_bin_compress has made small, a foreign key's ON DELETE CASCADE, and XA ROLLBACK.
    assert told_and_there("packed") == ([], [1])
    assert told_and_there("children") == ([("r", 1), ("r", 2)], [2])
    assert told_and_there("parents") == ([("r", 1), ("r", 2), ("d", 1), ("c", 3)], [2])
