"""The tables of PostgreSQL that `debezium_recording` records, and what is done to them."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg

from devtools.services.debezium import PREFIX, Debezium, start_debezium
from devtools.services.kafka import Kafka
from devtools.services.postgres import Postgres, start_postgres

_SECONDS = 90
_SLOT = "SELECT count(*) > 0 FROM pg_replication_slots"
_WAITS = "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND transactionid::text = '{transaction}'"
_TEXT = "(SELECT string_agg(md5({seed}::text || i), '') FROM generate_series(1, 100) i)"
_NAMES = ("customers", "letters", "visits", "kinds")

_TABLES = """
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TABLE customers (
    id int PRIMARY KEY, name text NOT NULL, balance numeric(10,2), joined date, seen timestamp, called timestamptz,
    note text
);
ALTER TABLE customers REPLICA IDENTITY FULL;
-- Never compressed, so that it is out of line.
ALTER TABLE customers ALTER note SET STORAGE EXTERNAL;
CREATE TABLE letters (id int PRIMARY KEY, title text, body text, pages int[], tags text[], scan bytea, doc json);
ALTER TABLE letters ALTER body SET STORAGE EXTERNAL, ALTER pages SET STORAGE EXTERNAL, ALTER tags SET STORAGE EXTERNAL,
    ALTER scan SET STORAGE EXTERNAL, ALTER doc SET STORAGE EXTERNAL;
CREATE TABLE visits (id int PRIMARY KEY, page text);
CREATE TABLE done (id int PRIMARY KEY);
CREATE TABLE kinds (
    id int PRIMARY KEY, small smallint, big bigint, flag boolean, single real, twice double precision,
    price numeric(10,2), wide numeric(38,10), free numeric, day date, at timestamp, at_milli timestamp(3),
    at_zone timestamptz, clock time, clock_zone timetz, short varchar(5), fixed char(4), body text, data bytea,
    doc json, docb jsonb, uid uuid, mood mood, tags text[], numbers int[], days date[], prices numeric(8,3)[],
    stamps timestamp[],
    bits bit(8), one bit(1), span interval, net inet, range int4range, cash money, spot point
);
INSERT INTO kinds VALUES (
    1, -3, 9007199254740993, true, 1.1, 1e300,
    -12.34, 1234567890123456789012345678.0123456789, 1.50, '0001-01-01', '2026-01-31 12:00:00.123456',
    '1969-12-31 23:59:59.999', '2026-01-31 12:00:00.123456+01', '12:34:56.123456', '12:34:56+02', 'grün', 'ab',
    E'a\\n\\U0001f600"',
    '\\xdeadbeef', '{"a": 1.10}', '{"b": 2}', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'ok', '{a,NULL,"b c"}',
    '{1,NULL,-3}', '{2026-01-31,NULL}', '{1.500,-2.125}', '{2026-01-31 12:00:00.5}', B'10000001', B'1', '1 mon 2 days',
    '10.0.0.1', '[1,5)', '12.34', '(1.5,2)'
);
INSERT INTO kinds (id, twice, wide, free) VALUES
    (2, 'NaN', -9999999999999999999999999999.9999999999, -123456789012345678901234567890.5),
    (3, '-Infinity', 0, 0);
INSERT INTO kinds (id, day) VALUES (4, 'infinity');
INSERT INTO kinds (id, at) VALUES (5, '-infinity');
INSERT INTO kinds (id, at_zone) VALUES (6, 'infinity');
INSERT INTO customers VALUES (1, 'Ada', 1.50, '2026-01-01', '2026-01-01 10:00', '2026-01-01 10:00+02', 'short'),
    (2, 'Bob', NULL, NULL, NULL, NULL, NULL), (3, 'Eve', -0.01, '1970-01-01', '1969-12-31 23:59:59.999999', NULL, '');
INSERT INTO visits VALUES (1, 'before'), (2, 'before');
"""
_CHANGES = [
    f"INSERT INTO customers SELECT i, 'n' || i, i / 7.0, NULL, NULL, NULL, {_TEXT.format(seed='i')} "
    "FROM generate_series(10, 19) i",
    "UPDATE customers SET balance = balance + 1 WHERE id % 2 = 0",
    "UPDATE customers SET id = id + 100 WHERE id IN (11, 12)",
    "DELETE FROM customers WHERE id IN (3, 13, 112)",
    "BEGIN; UPDATE customers SET name = 'a' WHERE id = 2; UPDATE customers SET name = 'b' WHERE id = 2; COMMIT",
    "BEGIN; DELETE FROM customers WHERE id = 14; INSERT INTO customers (id, name) VALUES (14, 'again'); COMMIT",
    "BEGIN; UPDATE customers SET name = 'never' WHERE id = 15; ROLLBACK",
    "ALTER TABLE customers ADD COLUMN city text",
    "UPDATE customers SET city = 'Oslo' WHERE id = 15",
    "INSERT INTO visits VALUES (3, 'between')",
    "TRUNCATE visits",
    "INSERT INTO visits VALUES (2, 'after')",
    f"INSERT INTO letters VALUES (1, 'one', {_TEXT.format(seed=1)}, array(SELECT generate_series(1, 2000)), "
    f"array[{_TEXT.format(seed=2)}], {_TEXT.format(seed=3)}::bytea, to_json({_TEXT.format(seed=4)}))",
    "UPDATE letters SET title = 'two'",
    "UPDATE letters SET id = 2",
    "DELETE FROM letters",
    "SELECT pg_logical_emit_message(true, 'app', 'hello')",
    "INSERT INTO done VALUES (1)",
]


def record(kafka: Kafka, wait: Callable[[str], None]) -> dict[str, list[str]]:
    """Change tables while Debezium follows them.

    Args:
        kafka: Where Debezium writes.
        wait: Called with the topic of the last change, before the servers end.

    Returns:
        The rows that each table has in the end, as PostgreSQL writes them in JSON.
    """
    postgres = start_postgres(wal_level="logical")
    try:
        postgres.query(_TABLES)
        names = [f"public.{name}" for name in (*_NAMES, "done")]
        with ThreadPoolExecutor(1) as pool:
            debezium = _with_open_transactions(
                postgres,
                pool,
                lambda: start_debezium(
                    kafka,
                    postgres,
                    names,
                    slot_name="recorded",
                    skipped_operations="none",
                    provide_transaction_metadata="true",
                    heartbeat_interval_ms="1000",
                ),
            )
        for change in _CHANGES:
            postgres.query(change)
        wait(f"{PREFIX}.public.done")
        debezium.stop()
        return {
            name: [text for (text,) in postgres.query(f"SELECT to_json(t)::text FROM {name} t ORDER BY id")]
            for name in _NAMES
        }
    finally:
        postgres.stop()


def _with_open_transactions(postgres: Postgres, pool: ThreadPoolExecutor, start: Callable[[], Debezium]) -> Debezium:
    """Start Debezium while transactions are open, so that one has written before the snapshot and commits after it."""
    with postgres.connect() as look:

        def until(sql: str) -> None:
            deadline = time.monotonic() + _SECONDS
            while look.execute(sql.encode()).fetchone() != (True,):
                if time.monotonic() > deadline:
                    raise TimeoutError(sql)
                time.sleep(0.05)

        first, second, third = (_transaction(postgres) for _ in range(3))
        waits_for_first = _WAITS.format(transaction=_written(first, "INSERT INTO customers VALUES (4, 'first')"))
        started = pool.submit(start)
        until(_SLOT)
        until(waits_for_first)
        waits_for_second = _WAITS.format(transaction=_written(second, "INSERT INTO customers VALUES (5, 'second')"))
        first.commit()
        until(waits_for_second)
        _written(third, "UPDATE customers SET name = 'Ada L.' WHERE id = 1")
        second.commit()
        started.result()
        third.commit()
        for connection in (first, second, third):
            connection.close()
        return started.result()


def _transaction(postgres: Postgres) -> psycopg.Connection:
    connection = postgres.connect()
    connection.autocommit = False
    return connection


def _written(connection: psycopg.Connection, sql: str) -> str:
    """Change something and give the number of the transaction."""
    connection.execute(sql.encode())
    found = connection.execute("SELECT pg_current_xact_id()::text").fetchone()
    assert found is not None
    return found[0]
