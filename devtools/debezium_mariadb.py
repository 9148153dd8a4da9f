"""The tables of MariaDB that `debezium_recording` records, and what is done to them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from devtools.services.debezium import PREFIX, Debezium, start_debezium
from devtools.services.kafka import Kafka
from devtools.services.mariadb import MariaDB, start_mariadb

Row = dict[str, str | None]
_NAMES = ("customers", "visits", "days", "kinds", "packed", "parents", "children")
_READER = "reader"
_RIGHTS = "SELECT, RELOAD, SHOW DATABASES, REPLICATION SLAVE, REPLICATION CLIENT"
_SECONDS = 90
# What Debezium does right before it lets others write again.
_SNAPSHOT = "START TRANSACTION WITH CONSISTENT SNAPSHOT"
_OLD_DAYS = ("0001-01-01", "0069-12-31", "0099-01-01", "0100-03-01", "1500-03-01", "1582-10-10", "9999-12-31")

_TABLES = [
    """
CREATE TABLE customers (
    id int PRIMARY KEY, name varchar(20) NOT NULL, balance decimal(10,2), joined date, seen datetime(6),
    called timestamp(6) NULL, note text
)""",
    "CREATE TABLE visits (id int PRIMARY KEY, page text)",
    "CREATE TABLE packed (id int PRIMARY KEY, page text)",
    "CREATE TABLE done (id int PRIMARY KEY)",
    """
CREATE TABLE kinds (
    id int PRIMARY KEY, tiny tinyint, tiny_u tinyint unsigned, small smallint, small_u smallint unsigned,
    medium mediumint, medium_u mediumint unsigned, whole int, whole_u int unsigned, padded int(5) unsigned zerofill,
    big bigint, big_u bigint unsigned, flag tinyint(1), one bit(1), eight bit(8), twelve bit(12),
    price decimal(10,2), price_u decimal(10,2) unsigned, wide decimal(38,10), widest decimal(65,30),
    single float, twice double, day date, at datetime, at_milli datetime(3), at_micro datetime(6),
    stamp timestamp NULL, stamp_micro timestamp(6) NULL, clock time, clock_micro time(6), born year,
    fixed char(4) CHARACTER SET utf8mb4, short varchar(9) CHARACTER SET latin1, body text CHARACTER SET utf8mb4,
    large mediumtext CHARACTER SET utf8mb4, raw binary(4), var_raw varbinary(9), data blob, doc json,
    mood enum('sad','ok'), tags set('a','b','c'), spot point
)""",
    """
INSERT INTO kinds VALUES (
    1, -128, 255, -32768, 65535, -8388608, 16777215, -2147483648, 4294967295, 42,
    -9223372036854775808, 9223372036854775807, 2, b'1', b'10000001', b'100000000001',
    -12.34, 12.34, 1234567890123456789012345678.0123456789,
    12345678901234567890123456789012345.012345678901234567890123456789,
    1.1, 1e300, '2026-01-31', '2026-01-31 12:00:00', '1969-12-31 23:59:59.999', '2026-01-31 12:00:00.123456',
    '2026-01-31 12:00:00', '2026-01-31 12:00:00.123456', '12:34:56', '-838:59:58.999999', 2026,
    'ab', 'grün €', 'a\n\U0001f600"', 'x', x'ab00', x'00ff', x'deadbeef', '{"a": 1.10}', 'ok', 'a,c', POINT(1.5, 2)
)""",
    """
INSERT INTO kinds (id, tiny, big, flag, one, eight, price, wide, single, twice, clock, clock_micro, born, fixed, short,
    body, raw, var_raw, data, doc, mood, tags)
VALUES (2, 0, 9007199254740993, 1, b'0', b'0', 0, -9999999999999999999999999999.9999999999, 16777216, -0.1,
    '-00:00:01', '838:59:59', 1901, ' a  ', '', '', '', '', '', '[]', 'sad', '')""",
    "INSERT INTO kinds (id) VALUES (3)",
    "INSERT INTO kinds (id, big_u) VALUES (4, 18446744073709551615)",
    "INSERT INTO kinds (id, single) VALUES (5, 1.2345678)",
    """
CREATE TABLE days (
    id int PRIMARY KEY, day date, day_must date NOT NULL, at datetime(6), at_must datetime NOT NULL,
    stamp timestamp(6) NULL, stamp_must timestamp NOT NULL DEFAULT '2026-01-01'
)""",
    "INSERT INTO days VALUES (1, 0, 0, 0, 0, 0, 0), (2, '2026-00-00', '2026-01-00', '2026-00-00', 0, NULL, 0)",
    *(
        f"INSERT INTO days VALUES ({number}, '{day}', '{day}', '{day}', '{day} 23:59:59', NULL, DEFAULT)"
        for number, day in enumerate(_OLD_DAYS, 3)
    ),
    """
INSERT INTO customers VALUES (1, 'Ada', 1.50, '2026-01-01', '2026-01-01 10:00', '2026-01-01 10:00', 'short'),
    (2, 'Bob', NULL, NULL, NULL, NULL, NULL),
    (3, 'Eve', -0.01, '1970-01-01', '1969-12-31 23:59:59.999999', NULL, '')""",
    "INSERT INTO visits VALUES (1, 'before'), (2, 'before')",
    "CREATE TABLE parents (id int PRIMARY KEY)",
    """
CREATE TABLE children (
    id int PRIMARY KEY, parent int, note text, FOREIGN KEY (parent) REFERENCES parents (id) ON DELETE CASCADE
)""",
    "INSERT INTO parents VALUES (1), (2)",
    "INSERT INTO children VALUES (1, 1, 'a'), (2, 2, 'b')",
]
_CHANGES: list[Sequence[str]] = [
    ["INSERT INTO customers (id, name, balance) SELECT seq, concat('n', seq), seq / 7.0 FROM seq_10_to_19"],
    ["UPDATE customers SET balance = balance + 1 WHERE id % 2 = 0"],
    # Each takes the key that the one before has left.
    ["UPDATE customers SET id = id + 1 WHERE id >= 17 ORDER BY id DESC"],
    ["UPDATE customers SET id = id + 100 WHERE id IN (11, 12)"],
    ["DELETE FROM customers WHERE id IN (3, 13, 112)"],
    [
        "BEGIN",
        *(f"UPDATE customers SET name = '{name}' WHERE id = 2" for name in "ab"),
        "SAVEPOINT here",
        "UPDATE customers SET name = 'never' WHERE id = 2",
        "ROLLBACK TO here",
        "COMMIT",
    ],
    ["FLUSH BINARY LOGS"],
    ["UPDATE customers SET name = 'c' WHERE id = 2"],
    [
        "BEGIN",
        "DELETE FROM customers WHERE id = 14",
        "INSERT INTO customers (id, name) VALUES (14, 'again')",
        "COMMIT",
    ],
    ["BEGIN", "UPDATE customers SET name = 'never' WHERE id = 15", "ROLLBACK"],
    ["ALTER TABLE customers ADD COLUMN city text"],
    ["FLUSH BINARY LOGS", "UPDATE customers SET city = 'Oslo' WHERE id = 15"],
    ["SET GLOBAL log_bin_compress = 1", "SET GLOBAL log_bin_compress_min_len = 10"],
    ["INSERT INTO packed VALUES (1, repeat('a', 300))"],
    ["SET GLOBAL log_bin_compress = 0"],
    ["INSERT INTO visits VALUES (3, 'between')"],
    ["TRUNCATE visits"],
    ["INSERT INTO visits VALUES (2, 'after')"],
    # The same values, from the log and not from a query.
    ["CREATE TEMPORARY TABLE again SELECT * FROM kinds", "UPDATE again SET id = id + 100",
     "INSERT INTO kinds SELECT * FROM again"],
    ["CREATE TEMPORARY TABLE again SELECT * FROM days", "UPDATE again SET id = id + 100",
     "INSERT INTO days SELECT * FROM again"],
    ["DELETE FROM parents WHERE id = 1"],
    ["XA START 'x'", "INSERT INTO parents VALUES (3)", "XA END 'x'", "XA PREPARE 'x'", "XA ROLLBACK 'x'"],
    ["INSERT INTO done VALUES (1)"],
]  # fmt: skip


def record(kafka: Kafka, wait: Callable[[str], None]) -> dict[str, list[Row]]:
    """Change tables while Debezium follows them.

    Args:
        kafka: Where Debezium writes.
        wait: Called with the topic of the last change, before the servers end.

    Returns:
        The rows that each table has in the end, as the server sends them to PyMySQL: texts, of bytes in hexadecimal
        after `0x`.
    """
    # In a time zone that no value may depend on.
    mariadb = start_mariadb(binlog=True, default_time_zone="+05:30")
    try:
        for sql in [
            *_TABLES,
            f"CREATE USER {_READER} IDENTIFIED BY '{_READER}'",
            f"GRANT {_RIGHTS} ON *.* TO {_READER}",
        ]:
            mariadb.query(sql)
        names = [f"{mariadb.database}.{name}" for name in (*_NAMES, "done")]
        with ThreadPoolExecutor(1) as pool:
            debezium = _with_open_transactions(
                mariadb,
                pool,
                lambda: start_debezium(
                    kafka,
                    mariadb,
                    names,
                    database_user=_READER,
                    database_password=_READER,
                    skipped_operations="none",
                    heartbeat_interval_ms="1000",
                ),
            )
        for statements in _CHANGES:
            with mariadb.connect() as connection, connection.cursor() as cursor:
                for sql in statements:
                    cursor.execute(sql)
        wait(f"{PREFIX}.{mariadb.database}.done")
        debezium.stop()
        return {name: _rows(mariadb, name) for name in _NAMES}
    finally:
        mariadb.stop()


def _with_open_transactions(mariadb: MariaDB, pool: ThreadPoolExecutor, start: Callable[[], Debezium]) -> Debezium:
    """Start Debezium while a transaction is open that commits after the snapshot, and write while it reads."""
    with mariadb.connect(autocommit=False) as first, mariadb.connect() as second:
        with first.cursor() as cursor:
            cursor.execute("UPDATE customers SET name = 'Ada L.' WHERE id = 1")
            cursor.execute("INSERT INTO customers (id, name) VALUES (4, 'first')")
        started = pool.submit(start)
        deadline = time.monotonic() + _SECONDS
        while _SNAPSHOT not in mariadb.log():
            if time.monotonic() > deadline or (started.done() and started.exception() is not None):
                raise TimeoutError("Debezium makes no snapshot") from started.exception(0)
            time.sleep(0.01)
        with second.cursor() as cursor:
            # Waits until Debezium has the position, and is before it reads the tables.
            cursor.execute("INSERT INTO customers (id, name) VALUES (5, 'second')")
            cursor.execute("UPDATE customers SET balance = 7 WHERE id = 2")
        first.commit()
        return started.result()


def _rows(mariadb: MariaDB, table: str) -> list[Row]:
    where = f"table_name = '{table}' AND table_schema = '{mariadb.database}'"
    columns = mariadb.query(
        f"SELECT column_name, data_type FROM information_schema.columns WHERE {where} ORDER BY ordinal_position"
    )
    # Of a float, it would send six digits.
    sent = {"float": "{} + 0e0", "point": "ST_AsText({})"}
    found = ", ".join(sent.get(kind, "{}").format(name) for name, kind in columns)
    with mariadb.connect(conv={}, init_command="SET time_zone = '+00:00'") as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT {found} FROM {table} ORDER BY id")
        return [{name: _text(value) for (name, _), value in zip(columns, row, strict=True)} for row in cursor]


def _text(value: str | bytes | None) -> str | None:
    return f"0x{value.hex()}" if isinstance(value, bytes) else value
