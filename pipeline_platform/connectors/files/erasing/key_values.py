"""Which value of a typed column is the same as a key, which is given as text."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any

from pipeline_platform.connectors.files.erasing.untyped import arrow

_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d{1,3})?", re.ASCII)
_DAY = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})", re.ASCII)
_MOMENT = re.compile(
    r"(?P<day>\d{4}-\d{1,2}-\d{1,2})"
    r"([T ](?P<hour>\d{1,2}):(?P<minute>\d{2})(:(?P<second>\d{2})(\.(?P<part>\d{1,9}))?)?)?"
    r" ?(?P<zone>Z|[+-]\d{2}(:?\d{2})?)?",
    re.ASCII,
)
# Up to here each decimal number of so many digits, and each whole number, is another floating-point number.
_DIGITS = {32: 6, 64: 15}
_WHOLE = {32: 2**24, 64: 2**53}
_SQL = {
    "int8": "TINYINT",
    "int16": "SMALLINT",
    "int32": "INT",
    "int64": "BIGINT",
    "bool": "BOOLEAN",
    "date32[day]": "DATE",
    "list": "ARRAY",
    "large_list": "ARRAY",
}
_SPARK = {
    "byte": "int8",
    "short": "int16",
    "integer": "int32",
    "long": "int64",
    "float": "float32",
    "double": "float64",
    "date": "date32",
    "string": "string",
    "binary": "binary",
    "boolean": "bool_",
}


@dataclass(frozen=True)
class KeyValues:
    """The values of a key, to be compared with values as a reader of a file gives them.

    Args:
        texts: The values as text.
    """

    texts: frozenset[str]

    def has(self, value: object) -> bool:
        """Whether a value is one of them: a number what is the same number, a text what has the same characters."""
        match value:
            case str():
                return value in self.texts
            case bytes():
                return value in {text.encode() for text in self.texts}
            case bool():
                return False
            case float():
                return value in self._floats
            case int() | Decimal():
                return value in self._numbers
            case dt.datetime():
                return _in_utc(value) in self._moments
            case dt.date():
                return value in self._days
            case _:
                return False

    def may_have(self, value: object) -> bool:
        """Whether it can't be said that a value is none of them: not all of them are something of its type."""
        match value:
            case None | str() | bytes():
                return False
            case bool():
                return True
            case float():
                return any(float_of(text) is None for text in self.texts)
            case int() | Decimal():
                return any(number(text) is None for text in self.texts)
            case dt.datetime():
                return any(moment(text) is None for text in self.texts)
            case dt.date():
                return any(day(text) is None for text in self.texts)
            case _:
                return True

    def may_be(self, text: str) -> bool:
        """Whether a text of a column whose type is not known is the same number as one of them, written otherwise."""
        return text not in self.texts and (found := number(text)) is not None and found in self._numbers

    @cached_property
    def _numbers(self) -> frozenset[Decimal]:
        return frozenset(found for text in self.texts if (found := number(text)) is not None)

    @cached_property
    def _floats(self) -> frozenset[float]:
        return frozenset(found for text in self.texts if (found := float_of(text)) is not None)

    @cached_property
    def _days(self) -> frozenset[dt.date]:
        return frozenset(found for text in self.texts if (found := day(text)) is not None)

    @cached_property
    def _moments(self) -> frozenset[dt.datetime]:
        return frozenset(found for text in self.texts if (found := moment(text)) is not None)


@dataclass(frozen=True)
class KeyColumn:
    """A column by which rows are found.

    Args:
        name: Its name.
        kind: pyarrow's type of it; None if it is not known.
        texts: The values of the key as text.
    """

    name: str
    kind: Any
    texts: frozenset[str]

    def has(self, value: object) -> bool:
        """Whether a value is one of the key's; a text of a column whose type is known is what it is there."""
        if isinstance(value, str) and self.kind is not None:
            return self._keys.has(value_as(self.kind, value))
        return self._keys.has(value)

    def why_unclear(self, value: object) -> str | None:
        """Why it can't be said whether a value is one of the key's; None if it can."""
        if isinstance(value, str) and self.kind is not None:
            if value and value_as(self.kind, value) is None and can_be_searched(self.kind):
                return f"'{self.name}' has texts that can't be read as its type {_sql(self.kind)}"
            return self._not_searched
        if self._keys.may_have(value):
            return f"'{self.name}' has values of a type that the key is none of ({type(value).__name__})"
        return None

    def other_spelling(self, value: object) -> str | None:
        """That a text of a column whose type is not known is the same number as the key; None if it is not."""
        if self.kind is not None or not isinstance(value, str) or not self._keys.may_be(value):
            return None
        return (
            f"'{self.name}' has the key's number in another spelling, and its type is not known: give the key as it is "
            "written there, too, or name the column if such rows are somebody else's"
        )

    @cached_property
    def _keys(self) -> KeyValues:
        return KeyValues(self.texts)

    @cached_property
    def _not_searched(self) -> str | None:
        return not_searched(self.name, self.kind, self.texts)


def value_as(kind: Any, text: str) -> Any:
    """What a text is in a column; None if it can't be a value of its type, or rows can't be found by such a column.

    Args:
        kind: pyarrow's type of the column.
        text: The value.
    """
    pa = arrow()
    types: Any = pa.types

    if types.is_dictionary(kind):
        kind = kind.value_type
    if types.is_string(kind) or types.is_large_string(kind):
        return text
    if not can_be_searched(kind):
        return None
    if types.is_integer(kind) or types.is_decimal(kind) or types.is_floating(kind):
        return _number_as(kind, text)
    if types.is_date(kind):
        return day(text)
    if types.is_timestamp(kind):
        found = moment(text)
        return found.replace(tzinfo=None) if found is not None and kind.tz is None else found
    try:
        return pa.scalar(text).cast(kind).as_py()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None


def as_written(kind: Any, text: str) -> str:
    """A value as every engine reads it as one of the column's type; as it was given, if it is none.

    Args:
        kind: pyarrow's type of the column.
        text: The value.
    """
    match value_as(kind, text):
        case Decimal() as found:
            return f"{found:f}"
        case int() | float() as found:
            return repr(found)
        case dt.datetime() as found:
            return found.isoformat(" ")
        case dt.date() as found:
            return found.isoformat()
        case _:
            return text


def can_be_searched(kind: Any) -> bool:
    """Whether rows can be found by a column of a type.

    Args:
        kind: pyarrow's type.
    """
    types: Any = arrow().types
    return not (types.is_nested(kind) or types.is_boolean(kind))


def not_searched(column: str, kind: Any, texts: Collection[str]) -> str | None:
    """Why rows of a person may be there that are not found by a column; None if none are.

    Args:
        column: Its name.
        kind: pyarrow's type of it.
        texts: The values that are looked for.
    """
    types: Any = arrow().types

    if types.is_null(kind):
        return None
    if types.is_dictionary(kind):
        kind = kind.value_type
    if not can_be_searched(kind):
        return f"rows can't be found by '{column}', whose type is {_sql(kind)}"
    return none_of_type(column, _sql(kind), sum(value_as(kind, text) is None for text in texts), len(texts))


def none_of_type(column: str, kind: str, count: int, total: int) -> str | None:
    """That values of a key are no values of a column, and so were not looked for; None if all are.

    Args:
        column: Its name.
        kind: Its type.
        count: How many are none.
        total: How many there are.
    """
    if not count:
        return None
    # The values themselves are told nowhere.
    which = "the key's value is" if total == 1 else f"{count} of the key's {total} values are"
    return f"{which} no {kind}, the type of '{column}', and can't be looked for there"


def fields_within(schema: Any, names: Collection[str]) -> Iterator[str]:
    """Fields within columns that are named like a key, by which no row is found, as a person is told of them.

    Args:
        schema: pyarrow's, of the columns.
        names: Of the keys' columns.
    """
    lower = {name.lower() for name in names}
    for field in schema:
        inner = lower & set(_names_within(field.type))
        if inner and field.name.lower() not in lower:
            yield f"'{', '.join(sorted(inner))}' within the column '{field.name}' is not looked into"


def _names_within(kind: Any) -> Iterator[str]:
    types: Any = arrow().types
    if not types.is_nested(kind):
        return
    for place in range(kind.num_fields):
        field = kind.field(place)
        if types.is_struct(kind):
            yield field.name.lower()
        yield from _names_within(field.type)


def kind_of_spark(name: object) -> Any:
    """pyarrow's type for one of Spark's, as its schemas name it in JSON; None for one that is not known.

    Args:
        name: The name.
    """
    pa = arrow()
    if not isinstance(name, str):
        return None
    if (found := re.fullmatch(r"decimal\((\d+),\s*(-?\d+)\)", name)) is not None:
        return pa.decimal128(int(found[1]), int(found[2]))
    if name.startswith("timestamp"):
        return pa.timestamp("us", None if name == "timestamp_ntz" else "UTC")
    return getattr(pa, _SPARK[name])() if name in _SPARK else None


def number(text: str) -> Decimal | None:
    """The number that a text is; None if it is none.

    Args:
        text: The text.
    """
    return Decimal(text) if _NUMBER.fullmatch(text) else None


def float_of(text: str, bits: int = 64) -> float | None:
    """The floating-point number that is this number and no other one; None if there is none.

    Args:
        text: The number.
        bits: Those of the type.
    """
    found = number(text)
    return _float(found, bits) if found is not None else None


def _float(value: Decimal, bits: int) -> float | None:
    is_whole = value == value.to_integral_value() and abs(value) <= _WHOLE[bits]
    is_short = len(value.normalize().as_tuple().digits) <= _DIGITS[bits] and abs(value.adjusted()) < _DIGITS[bits] * 2
    return float(value) if is_whole or is_short else None


def _number_as(kind: Any, text: str) -> Any:
    pa = arrow()
    found = number(text)
    if found is None:
        return None
    if pa.types.is_floating(kind):
        return _float(found, kind.bit_width) if kind.bit_width in _WHOLE else None
    try:
        if pa.types.is_decimal(kind):
            return pa.scalar(found, kind).as_py()
        return pa.scalar(int(found), kind).as_py() if found == found.to_integral_value() else None
    except (pa.ArrowInvalid, OverflowError):
        return None


def day(text: str) -> dt.date | None:
    """The day that a text is, such as `2026-01-31`; None if it is none.

    Args:
        text: The text.
    """
    found = _DAY.fullmatch(text)
    try:
        return dt.date(*map(int, found.groups())) if found is not None else None
    except ValueError:
        return None


def moment(text: str) -> dt.datetime | None:
    """The moment that a text is, without a zone in UTC, as in the platform's sessions; None if it is none.

    Args:
        text: The text.
    """
    found = _MOMENT.fullmatch(text)
    date = day(found["day"]) if found is not None else None
    part = (found["part"] or "").rstrip("0") if found is not None else ""
    if found is None or date is None or len(part) > 6:
        return None
    hour, minute, second = (int(found[name] or 0) for name in ("hour", "minute", "second"))
    zone = (found["zone"] or "Z").replace("Z", "+00").replace(":", "").ljust(5, "0")
    try:
        time = dt.time(hour, minute, second, int(part.ljust(6, "0")))
        away = dt.timedelta(hours=int(zone[1:3]), minutes=int(zone[3:]))
        at = dt.datetime.combine(date, time, dt.UTC)
        return at + away if zone[0] == "-" else at - away
    except (ValueError, OverflowError):
        return None


def _in_utc(value: dt.datetime) -> dt.datetime:
    return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)


def _sql(kind: Any) -> str:
    types: Any = arrow().types
    name = str(kind)
    if types.is_decimal(kind):
        return f"DECIMAL({kind.precision},{kind.scale})"
    if types.is_timestamp(kind):
        return "TIMESTAMP" if kind.tz is not None else "TIMESTAMP_NTZ"
    return _SQL.get(name) or _SQL.get(name.partition("<")[0]) or name.partition("<")[0].upper()
