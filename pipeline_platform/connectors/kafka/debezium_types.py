"""How Debezium writes the values of a table's columns in JSON, and what is read of them.

The same number or text stands for different values: 5 for a day, a millisecond or a nanosecond, "AQ==" for a decimal or
a text. So a value is read by the type that the schema in the message names. Where there is none, it is read only if it
can be but one thing.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import decimal
import hashlib
import json
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from pyspark.sql.types import DataType

_CONNECT, _TIME, _DATA = "org.apache.kafka.connect.data.", "io.debezium.time.", "io.debezium.data."
_DECIMAL, _VARIABLE, _BITS = f"{_CONNECT}Decimal", f"{_DATA}VariableScaleDecimal", f"{_DATA}Bits"
_DATES, _ISO_DATE = (f"{_TIME}Date", f"{_CONNECT}Date"), f"{_TIME}IsoDate"
_NANOS = {
    f"{_TIME}Timestamp": 1_000_000,
    f"{_CONNECT}Timestamp": 1_000_000,
    f"{_TIME}MicroTimestamp": 1_000,
    f"{_TIME}NanoTimestamp": 1,
}
_ISO_TIMESTAMP, _ZONED = f"{_TIME}IsoTimestamp", f"{_TIME}ZonedTimestamp"
# Numbers that no type of Spark's stands for: an integer has them as they are.
_COUNTS = {
    f"{_CONNECT}Time",
    *(_TIME + name for name in ("Time", "MicroTime", "NanoTime", "MicroDuration", "NanoDuration", "Year")),
}
_FIRST_DAY, _LAST_DAY = (dt.date(1, 1, 1) - dt.date(1970, 1, 1)).days, (dt.date.max - dt.date(1970, 1, 1)).days
_DAY = 86_400_000_000
_FIRST_MICRO, _LAST_MICRO = _FIRST_DAY * _DAY, (_LAST_DAY + 1) * _DAY - 1
_DATE_TEXT = re.compile(r"(\d{4}-\d\d-\d\d)Z?", re.ASCII)
_TIME_TEXT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:\d\d(:\d\d)?)", re.ASCII)
_NUMBER_TEXT = re.compile(r"-?\d{1,100}(\.\d{1,100})?([eE][+-]?\d{1,3})?", re.ASCII)
_DIGITS_OF_DOUBLE = 15
_LARGEST_FLOAT = float.fromhex("0x1.ffffffp127")
_INTEGER_BYTES = {"tinyint": 1, "smallint": 2, "int": 4, "bigint": 8}


def _unavailable() -> list[Any]:
    text = b"__debezium_unavailable_value"
    # What Java makes of bytes as the name of a UUID.
    unique = uuid.UUID(bytes=hashlib.md5(text, usedforsecurity=False).digest(), version=3)
    name, encoded = text.decode(), base64.b64encode(text).decode()
    in_map = json.dumps({name: name}, separators=(",", ":"))
    return [name, encoded, in_map, [name], [encoded], list(text), [str(unique)], {name: name}]


_UNAVAILABLE = _unavailable()


@dataclass(frozen=True)
class Told:
    """What is told of the type of a value.

    Args:
        type: Kafka Connect's, such as `int64`, `bytes` or `array`.
        name: Debezium's, of what it stands for, such as `io.debezium.time.Date`; a plain number or text has none.
        scale: Of a decimal.
        items: Of an array: what is told of its items.
    """

    type: str
    name: str | None = None
    scale: int | None = None
    items: Told | None = None


_NAMED = {
    "Timestamp": Told("int64", f"{_TIME}Timestamp"),
    "MicroTimestamp": Told("int64", f"{_TIME}MicroTimestamp"),
    "NanoTimestamp": Told("int64", f"{_TIME}NanoTimestamp"),
    "IsoTimestamp": Told("string", _ISO_TIMESTAMP),
    "Bytes": Told("bytes"),
    "String": Told("string"),
}
PLAIN_TYPES = tuple(_NAMED)
"""The types of `valueTypes` that are told by their names alone."""
DEBEZIUM_TYPE = rf"{'|'.join(PLAIN_TYPES)}|Decimal\((\d{{1,2}})\)"
"""What a type of `valueTypes` looks like: the scale of a decimal is told, too."""


def named(text: str) -> Told:
    """What a type of `valueTypes` tells of a value, and of each item of an array."""
    told = _NAMED.get(text) or Told("bytes", _DECIMAL, int(text.removeprefix("Decimal(").removesuffix(")")))
    return replace(told, items=told)


class UnfitError(Exception):
    """A value is none of the wanted type; says why, with the name of the column to be filled in."""


Read = Callable[[Any, Told | None], Any]
"""Makes of a value, as it stands in JSON, what Arrow takes for the wanted type; raises `UnfitError`."""


def is_unavailable(value: Any) -> bool:
    """Whether a value was left out, as PostgreSQL had not written it into its log."""
    return isinstance(value, (str, list, dict)) and value in _UNAVAILABLE


def may_be_unsigned(value: Any, told: Told | None) -> bool:
    """Whether a negative number of MySQL or MariaDB can be one that is too large for Debezium: a `BIGINT UNSIGNED`.

    Args:
        value: The value, as it stands in JSON.
        told: What is told of it.
    """
    is_plain = told is None or (told.name is None and told.type == "int64")
    return is_plain and _is_in(value, -(2**63), -1)


def reader(wanted: DataType) -> Read | None:
    """What reads values as the wanted type; None for one that no column of a table has."""
    from pyspark.sql import types as T

    match wanted:
        case T.ArrayType():
            return _array_reader(wanted.elementType)
        case T.DecimalType():
            return _decimal_reader(wanted.precision, wanted.scale)
        case T.IntegralType():
            return _integer_reader(wanted.simpleString())
        case T.FloatType():
            return _floating_reader(_LARGEST_FLOAT)
        case T.DoubleType():
            return _floating_reader(None)
        case T.BooleanType():
            return _boolean
        # What a CHAR or VARCHAR has room for is not looked at.
        case T.StringType() if wanted.simpleString() == "string":
            return _text
        case T.BinaryType():
            return _binary
        case T.DateType():
            return _date
        case T.TimestampType():
            return _timestamp
        case T.TimestampNTZType():
            return _local_timestamp
        case _:
            return None


def _array_reader(element: DataType) -> Read | None:
    from pyspark.sql import types as T

    read = None if isinstance(element, T.ArrayType) else reader(element)
    if read is None:
        return None

    def array(value: Any, told: Told | None) -> Any:
        if not isinstance(value, list):
            raise UnfitError
        items = None if told is None else told.items or Told("")
        return [None if item is None else read(item, items) for item in cast("list[Any]", value)]

    return array


def _integer_reader(kind: str) -> Read:
    end = 2 ** (8 * _INTEGER_BYTES[kind] - 1)

    def integer(value: Any, told: Told | None) -> Any:
        return _required(value, told is None or told.name is None or told.name in _COUNTS, _is_in(value, -end, end - 1))

    return integer


def _floating_reader(largest: float | None) -> Read:
    def floating(value: Any, told: Told | None) -> Any:
        _required(value, told is None or (told.name is None and told.type in ("float", "double")))
        if value in ("NaN", "Infinity", "-Infinity"):
            return float(value)
        _required(value, _is_number(value))
        number = float(value)
        return _required(number, abs(number) != float("inf"), largest is None or abs(number) < largest)

    return floating


def _decimal_reader(precision: int, scale: int) -> Read:
    context = decimal.Context(prec=precision, traps=[decimal.InvalidOperation])
    unit = Decimal(f"1E{-scale}")

    def fitting(value: Any, told: Told | None) -> Any:
        if precision > _DIGITS_OF_DOUBLE:
            _require_all_digits(value, told)
        number = _decimal(value, told)
        try:
            fitted = number.quantize(unit, context=context)
        except decimal.InvalidOperation:
            raise UnfitError from None
        return _required(fitted, fitted == number)

    return fitting


def _require_all_digits(value: Any, told: Told | None) -> None:
    """Raise if a number has come by way of a double, which keeps fewer digits than the column may have."""
    if told is None and isinstance(value, Decimal):
        raise _unclear()
    if told is not None and told.name is None and told.type == "double":
        raise UnfitError(
            f"'{{column}}' has come as a double, which keeps {_DIGITS_OF_DOUBLE} digits: the connector needs "
            "decimal.handling.mode=precise, or 'valueSchema' a DOUBLE"
        )


def _decimal(value: Any, told: Told | None) -> Decimal:
    name = None if told is None else told.name
    if _is_number(value) and name in (None, _DECIMAL):
        return Decimal(value)
    if isinstance(value, dict) and (told is None or name == _VARIABLE):
        variable = cast("dict[str, Any]", value)
        return _scaled(variable.get("value"), variable.get("scale"))
    if isinstance(value, str) and told is None:
        raise _unclear()
    if name == _DECIMAL and told is not None:
        return _scaled(value, told.scale)
    is_text = told is not None and name is None and told.type == "string"
    if not (is_text and isinstance(value, str) and _NUMBER_TEXT.fullmatch(value)):
        raise UnfitError
    return Decimal(value)


def _scaled(value: Any, scale: Any) -> Decimal:
    if not isinstance(scale, int) or abs(scale) > 1000:
        raise UnfitError
    return Decimal(f"{int.from_bytes(_required(_bytes(value)), 'big', signed=True)}E{-scale}")


def _bytes(value: Any) -> bytes:
    try:
        return base64.b64decode(_required(value, isinstance(value, str)), validate=True)
    except (binascii.Error, ValueError):
        raise UnfitError from None


def _boolean(value: Any, told: Told | None) -> Any:
    return _required(value, isinstance(value, bool), told is None or told.name is None)


def _text(value: Any, told: Told | None) -> Any:
    return _required(value, isinstance(value, str), told is None or told.type == "string")


def _binary(value: Any, told: Told | None) -> Any:
    if told is None and isinstance(value, str):
        raise _unclear()
    _required(value, told is not None and told.type == "bytes" and told.name in (None, _BITS))
    return _bytes(value)


def _date(value: Any, told: Told | None) -> Any:
    if isinstance(value, str):
        found = _DATE_TEXT.fullmatch(_required(value, told is None or told.name == _ISO_DATE))
        if found is None:
            raise UnfitError
        return (_iso(dt.date.fromisoformat, found.group(1)) - dt.date(1970, 1, 1)).days
    return _required(value, told is None or told.name in _DATES, _is_in(value, _FIRST_DAY, _LAST_DAY))


def _timestamp(value: Any, told: Told | None) -> Any:
    if isinstance(value, str):
        _required(value, told is None or told.name in (_ZONED, _ISO_TIMESTAMP))
        return _micros_of(value)
    if told is None and _is_in(value, None, None):
        raise _unclear()
    return _counted(value, told)


def _local_timestamp(value: Any, told: Told | None) -> Any:
    if told is None and (isinstance(value, str) or _is_in(value, None, None)):
        raise _unclear()
    if isinstance(value, str):
        _required(value, told is not None and told.name == _ISO_TIMESTAMP, value.endswith("Z"))
        return _micros_of(value)
    return _counted(value, told)


def _counted(value: Any, told: Told | None) -> Any:
    """Microseconds since 1970 of a number of what is told; digits after them are dropped."""
    nanos = None if told is None else _NANOS.get(told.name or "")
    if nanos is None or not _is_in(value, None, None):
        raise UnfitError
    micros = value * nanos // 1000
    return _required(micros, _FIRST_MICRO <= micros <= _LAST_MICRO)


def _micros_of(text: str) -> int:
    _required(text, _TIME_TEXT.fullmatch(text) is not None)
    time = _iso(dt.datetime.fromisoformat, text)
    micros = (time - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)
    return _required(micros, _FIRST_MICRO <= micros <= _LAST_MICRO)


def _iso(parse: Callable[[str], Any], text: str) -> Any:
    try:
        return parse(text)
    except ValueError:
        raise UnfitError from None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, Decimal)) and not isinstance(value, bool)


def _is_in(value: Any, first: int | None, last: int | None) -> bool:
    """Whether a value is an integer, between two others if they are given."""
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    return is_integer and (first is None or last is None or first <= value <= last)


def _required(value: Any, *conditions: bool) -> Any:
    if not all(conditions):
        raise UnfitError
    return value


def _unclear() -> UnfitError:
    return UnfitError("'{column}' is not clear without the schema of the message, or its type in 'valueTypes'")
