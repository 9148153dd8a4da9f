"""A thousand values of every type, by chance, from each database to Delta, Parquet and the database again."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow.dataset as ds
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from devtools.pipelines import load, run
from pipeline_platform_tests.connectors.databases import Schema

ROWS = 1000
CHANCE = random.Random(12)


def text(longest: int = 40) -> str:
    """Any text without surrogates, and without NUL, which PostgreSQL can't hold."""
    pieces = ('"', "'", "\\", ",", "\n", "\r\n", "\t", " ", "%s", "{", "NULL", "\u2028", "é", "𝄞")
    some = (chr(CHANCE.choice((CHANCE.randrange(1, 0xD800), CHANCE.randrange(0xE000, 0x110000)))) for _ in range(9))
    return "".join(CHANCE.choices([*pieces, *some], k=CHANCE.randrange(longest)))


def words(longest: int) -> str:
    """Text without blanks at its end, which a CHAR of MySQL does not keep."""
    return "".join(CHANCE.choices(("a", "B", "é", "𝄞", " "), k=CHANCE.randrange(longest))).rstrip()


def double(form: str = "d") -> float:
    """Any finite number of double, or with `f` of single precision."""
    while True:
        [number] = struct.unpack(form, CHANCE.randbytes(struct.calcsize(form)))
        # MySQL rounds those of fewer digits than a number has, next to zero.
        if abs(number) != float("inf") and number == number and abs(number) > 1e-37:
            return number


def integer(bits: int) -> int:
    return CHANCE.choice((0, -1, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1, CHANCE.randrange(-(2 ** (bits - 1)), 2**31)))


def decimal() -> Decimal:
    return Decimal(CHANCE.randrange(-(10**38) + 1, 10**38) // 10 ** CHANCE.randrange(38)).scaleb(-10)


def time(first: datetime = datetime(1, 1, 1), last: datetime = datetime(9999, 12, 31, 23, 59, 59, 999999)) -> datetime:
    micros = (last - first) // timedelta(microseconds=1)
    return first + timedelta(microseconds=CHANCE.choice((0, micros, CHANCE.randrange(micros))))


def day() -> date:
    return date.fromordinal(CHANCE.choice((1, date.max.toordinal(), CHANCE.randrange(1, date.max.toordinal()))))


COMMON: dict[str, tuple[str, Callable[[], Any]]] = {
    "words": ("text", text),
    "big": ("bigint", lambda: integer(64)),
    "medium": ("int", lambda: integer(32)),
    "small": ("smallint", lambda: CHANCE.randrange(-(2**15), 2**15)),
    "exact": ("decimal(38,10)", decimal),
    "d": ("double precision", double),
    "day": ("date", day),
}
POSTGRES: dict[str, tuple[str, Callable[[], Any]]] = {
    **COMMON,
    "f": ("real", lambda: double("f")),
    "clock": ("timestamp", time),
    "instant": ("timestamptz", lambda: time().replace(tzinfo=UTC)),
    "flag": ("boolean", lambda: CHANCE.random() < 0.5),
    "raw": ("bytea", lambda: CHANCE.randbytes(CHANCE.randrange(20))),
    "free": ("numeric", lambda: Decimal(CHANCE.randrange(-(10**38) + 1, 10**38)).scaleb(-18)),
    "numbers": ("int[]", lambda: [CHANCE.choice((None, integer(32))) for _ in range(CHANCE.randrange(4))]),
    "texts": ("text[]", lambda: [CHANCE.choice((None, text(9))) for _ in range(CHANCE.randrange(4))]),
    "fixed": ("char(9)", lambda: f"{words(9):9}"),
    "clocks": ("timestamp[]", lambda: [CHANCE.choice((None, time())) for _ in range(CHANCE.randrange(4))]),
}
MYSQL: dict[str, tuple[str, Callable[[], Any]]] = {
    **COMMON,
    "f": ("float", lambda: double("f")),
    "clock": ("datetime(6)", time),
    "instant": ("timestamp(6)", lambda: time(datetime(1970, 1, 1, 0, 0, 1), datetime(2038, 1, 19, 3, 14, 7))),
    "words": ("text CHARACTER SET utf8mb4", text),
    "raw": ("varbinary(20)", lambda: CHANCE.randbytes(CHANCE.randrange(20))),
    "huge": ("bigint unsigned", lambda: CHANCE.randrange(2**64)),
    "fixed": ("char(9) CHARACTER SET utf8mb4", lambda: words(9)),
    "size": ("enum('small','extra large','m')", lambda: CHANCE.choice(("small", "extra large", "m"))),
    "some": ("set('aa','b')", lambda: CHANCE.choice(("", "aa", "b", "aa,b"))),
    "v4": ("inet4", lambda: str(IPv4Address(CHANCE.randrange(2**32)))),
    "v6": ("inet6", lambda: str(IPv6Address(CHANCE.randrange(2**32, 2**128)))),
    "uuid": ("uuid", lambda: str(UUID(int=CHANCE.randrange(2**128), version=4))),
}


def test_any_value_comes_through_every_system_as_it_is(spark: SparkSession, schema: Schema, tmp_path: Path) -> None:
    kinds = POSTGRES if schema.is_postgres else MYSQL
    columns = ", ".join(f"{name} {type_} NULL" for name, (type_, _) in kinds.items())
    for table in ("t", "back"):
        schema.query(f"CREATE TABLE {schema.name}.{table} (id int, {columns})")
    rows = [(id_, *(None if CHANCE.random() < 0.05 else value() for _, value in kinds.values())) for id_ in range(ROWS)]
    places = ", ".join(["%s"] * (1 + len(kinds)))
    settings: dict[str, Any] = {"init_command": "SET time_zone = '+00:00'", "charset": "utf8mb4"}
    if schema.is_postgres:
        settings = {"options": "-c TimeZone=UTC"}
    with schema.connect(**settings) as connection, connection.cursor() as cursor:
        cursor.executemany(f"INSERT INTO {schema.name}.t VALUES ({places})", rows)
    delta, parquet = tmp_path / "delta", tmp_path / "parquet"
    sinks = load("toDeltaLake", path=str(delta)), load("toFiles", path=str(parquet), format="parquet")
    run(spark, schema.extract(), *sinks, schema.load("back"))

    expected = [[plain(value) for value in row] for row in rows]
    found = {
        "delta": DeltaTable(delta).to_pyarrow_table().to_pylist(),
        "parquet": ds.dataset(parquet, format="parquet").to_table().to_pylist(),
    }
    for system, found_rows in found.items():
        assert_equal(system, kinds, expected, [list(row.values()) for row in found_rows])
    # MySQL gives a client the first six digits of a FLOAT.
    names = ", ".join(["id", *("f + 0e0" if name == "f" else name for name in kinds)])
    for table in ("t", "back"):
        stored = schema.at_utc(f"SELECT {names} FROM {schema.name}.{table}")
        assert_equal(table, kinds, expected, [list(row) for row in stored])


def assert_equal(system: str, kinds: Any, expected: list[list[Any]], found: list[list[Any]]) -> None:
    rows = sorted(([plain(value) for value in row] for row in found), key=lambda row: row[0])
    assert len(rows) == len(expected)
    for place, name in enumerate(["id", *kinds]):
        pairs = [(was[place], row[place]) for was, row in zip(expected, rows, strict=True)]
        if name == "f":
            pairs = [(single(was), single(now)) for was, now in pairs]
        different = [(was, now) for was, now in pairs if was != now]
        assert not different, f"{system}, {name}: {len(different)} differ, such as {different[:3]}"


def plain(value: Any) -> Any:
    """Instants without their zone, which is UTC."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(UTC).replace(tzinfo=None)
    return value


def single(value: float | None) -> bytes | None:
    """A number of single precision, which clients show with as many digits as they like."""
    return struct.pack("f", value) if value is not None else None
