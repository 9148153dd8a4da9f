"""Change events that the real Debezium wrote in Avro: the rows in them are those of the table. Needs no JVM."""

from __future__ import annotations

import base64
import datetime as dt
import json
from decimal import Decimal
from typing import Any

import pytest
from pyspark.sql import types as T

from devtools.debezium_avro_recording import AVRO_RECORDING
from pipeline_platform.connectors.kafka.debezium_avro import json_of_avro
from pipeline_platform.connectors.kafka.debezium_events import Rows, UnusableError, change_reader
from pipeline_platform_tests.connectors.kafka.test_debezium import KINDS

LEFT_OUT = ("wide", "short", "fixed", "stamps", "net")
COLUMNS = {name: kind for name, kind in KINDS.items() if name not in LEFT_OUT} | {"more": T.StringType()}
ROW: dict[str, Any] = {
    "id": 1,
    "small": -2,
    "big": 9007199254740993,
    "flag": True,
    "single": pytest.approx(0.1),
    "twice": pytest.approx(float("nan"), nan_ok=True),
    "price": Decimal("-12.34"),
    "free": Decimal("1.50"),
    "day": dt.date(1583, 1, 31),
    "at": dt.datetime(2026, 1, 31, 12, 0, 0, 123456),
    "at_milli": dt.datetime(2026, 1, 31, 12, 0, 0, 123000),
    "at_zone": dt.datetime(2026, 1, 31, 11, 0, 0, 123456, dt.UTC),
    "body": "é",
    "data": b"\0\xff",
    "doc": '{"a": 1}',
    "uid": "123e4567-e89b-12d3-a456-426614174000",
    "mood": "ok",
    "tags": ["a", None],
    "numbers": [1, 2],
    "days": [dt.date(2026, 1, 31)],
    "prices": [Decimal("1.234"), None],
    "more": None,
}


def test_a_row_in_avro_is_that_of_the_table_and_so_is_one_of_a_schema_that_came_later():
    recording = json.loads(AVRO_RECORDING.read_text())
    schemas = {int(key): json.dumps(schema) for key, schema in recording["schemas"].items()}
    in_json = json_of_avro(schemas)
    read = change_reader(Rows(T.StructType([T.StructField(name, kind) for name, kind in COLUMNS.items()])))
    values = [base64.b64decode(text) for text in recording["values"]]
    changes = [read(in_json(value)) for value in values]
    nothing = dict.fromkeys(COLUMNS)
    as_python = [{name: in_python(change[name], COLUMNS[name]) for name in COLUMNS} for change in changes]
    assert as_python == [ROW, {**nothing, "id": 2}, {**nothing, "id": 2, "big": 5}, {**nothing, "id": 1}]
    assert [change["change_op"] for change in changes] == ["r", "r", "u", "d"]
    assert len(schemas) == 2
    for broken in (values[0][:-1], values[0] + b"\0", b"\0\0\0\0\x63x", values[0][:5]):
        with pytest.raises(UnusableError):
            in_json(broken)


def in_python(value: Any, kind: T.DataType) -> Any:
    """What Arrow makes of a value, as Python has it."""
    import pyarrow as pa

    from pipeline_platform.connectors.kafka.debezium import _arrow

    return pa.array([value], _arrow(kind)).to_pylist()[0]
