"""Values as JSON spells them, read as what the type of their column makes of them, exactly or not at all."""

from __future__ import annotations

import base64
import binascii
import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, tzinfo
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, cast

from pipeline_platform.config.config_error import ConfigError, did_you_mean
from pipeline_platform.config.documents.document import SourcePosition, json_type

if TYPE_CHECKING:
    from pyspark.sql.types import DataType, StructType

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_TIME = re.compile(
    r"(?P<day>\d{4}-\d{2}-\d{2})(?:[Tt ](?P<time>\d{2}:\d{2}(?::\d{2})?)(?:\.(?P<fraction>\d{1,9}))?)?"
    r"(?P<zone>[Zz]|[+-]\d{2}(?::?\d{2})?)?"
)
_INTEGER = re.compile(r"-?\d+")
_NO_NUMBERS = {"NaN": math.nan, "Infinity": math.inf, "+INF": math.inf, "-Infinity": -math.inf, "-INF": -math.inf}
_BYTES = {"tinyint": 1, "smallint": 2, "int": 4, "bigint": 8}


class _Misfit(Exception):
    """A value is none of the type, or would be another one in it."""


@dataclass
class ValueReader:
    """Reads values, and notes what is wrong with those that can't be read.

    Args:
        zone: Of times that say none.
        problems: What was wrong.
    """

    zone: tzinfo
    problems: list[ConfigError] = field(default_factory=list[ConfigError])

    def row(self, place: SourcePosition, columns: StructType) -> dict[str, Any]:
        """A row, in which a column that it does not name is NULL.

        Args:
            place: Where it is written, an object.
            columns: The columns.
        """
        return self._fields(place, columns, "column")

    def _fields(self, place: SourcePosition, fields: StructType, what: str) -> dict[str, Any]:
        written = cast("dict[str, Any]", place.value)
        names = {one.name: one for one in fields.fields}
        for name in [one for one in written if one not in names]:
            hint = did_you_mean(name, names)
            self.problems.append((place / name).problem(f"there is no {what} '{name}'", on_key=True, hint=hint))
        read = {name: self._value(place / name, one.dataType) for name, one in names.items()}
        for name, one in names.items():
            if not one.nullable and written.get(name) is None:
                told = f"'{name}' is NOT NULL, and it is missing or null"
                self.problems.append((place / name).problem(told))
        return read

    def _value(self, place: SourcePosition, kind: DataType) -> Any:
        from pyspark.sql import types as T

        value = place.value
        match kind:
            case _ if value is None:
                return None
            case T.StructType() if isinstance(value, dict):
                return self._fields(place, kind, "field")
            case T.ArrayType() if isinstance(value, list):
                length = len(cast("list[Any]", value))
                return [self._value(place / number, kind.elementType) for number in range(length)]
            case T.MapType() if isinstance(value, dict):
                pairs = cast("dict[str, Any]", value)
                return [(name, self._value(place / name, kind.valueType)) for name in pairs]
            case _:
                pass
        try:
            return self._single(value, place.text, kind)
        except _Misfit as misfit:
            self.problems.append(place.problem(_told(str(misfit), place, kind, value)))
            return None

    def _single(self, value: Any, text: str, kind: DataType) -> Any:
        from pyspark.sql import types as T

        match kind:
            case T.StringType() if isinstance(value, str):
                return value
            case T.BooleanType() if isinstance(value, bool):
                return value
            case T.IntegralType():
                return _integer(text, _BYTES[kind.simpleString()])
            case T.DoubleType() | T.FloatType():
                return _float(value, text, is_single=isinstance(kind, T.FloatType))
            case T.DecimalType() if isinstance(value, (str, int, float)) and not isinstance(value, bool):
                return _decimal(value if isinstance(value, str) else text, kind.precision, kind.scale)
            case T.DateType() if isinstance(value, str):
                return _day(value)
            case T.TimestampType() if isinstance(value, str):
                return self._moment(value)
            case T.TimestampNTZType() if isinstance(value, str):
                return _local_moment(value)
            case T.BinaryType() if isinstance(value, str):
                return _bytes(value)
            case T.VariantType():
                made = T.VariantVal.parseJson(text)
                return {"value": made.value, "metadata": made.metadata}
            case _:
                raise _Misfit("is not")

    def _moment(self, text: str) -> datetime:
        moment, zone = _parts(text)
        try:
            return (moment if zone else moment.replace(tzinfo=self.zone)).astimezone(UTC)
        except (OverflowError, ValueError) as error:
            raise _Misfit("does not fit") from error


def _told(misfit: str, place: SourcePosition, kind: DataType, value: Any) -> str:
    from pyspark.sql import types as T

    if isinstance(kind, T.StringType):
        return f"expected a string, as the column holds text, not {json_type(value)}"
    names = [part for part in place.pointer if isinstance(part, str)]
    return f"'{names[-1]}' {misfit} {kind.simpleString().upper()[:60]}"


def _integer(text: str, length: int) -> int:
    if not _INTEGER.fullmatch(text):
        raise _Misfit("is not")
    number = int(text)
    if not -(1 << 8 * length - 1) <= number < 1 << 8 * length - 1:
        raise _Misfit("does not fit")
    return number


def _float(value: Any, text: str, *, is_single: bool) -> float:
    if isinstance(value, str) and value in _NO_NUMBERS:
        return _NO_NUMBERS[value]
    if isinstance(value, (str, bool)) or not isinstance(value, (int, float)):
        raise _Misfit("is not")
    try:
        number = float(text)
        if is_single:
            (number,) = struct.unpack("f", struct.pack("f", number))
    except OverflowError as error:
        raise _Misfit("does not fit") from error
    # Of one with a fraction or an exponent, the nearest is what is meant.
    if math.isinf(number) or (_INTEGER.fullmatch(text) and int(number) != int(text)):
        raise _Misfit("does not fit")
    return number


def _decimal(text: str, precision: int, scale: int) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation as error:
        raise _Misfit("is not") from error
    if not number.is_finite() or abs(number.adjusted()) > 100:
        raise _Misfit("does not fit")
    sign, digits, exponent = number.as_tuple()
    assert isinstance(exponent, int)
    written = int("".join(map(str, digits)))
    shift = scale + exponent
    unscaled, left = (written * 10**shift, 0) if shift >= 0 else divmod(written, 10**-shift)
    if left or (len(str(unscaled)) > precision and unscaled):
        raise _Misfit("does not fit")
    return Decimal((sign if unscaled else 0, tuple(map(int, str(unscaled))), -scale))


def _day(text: str) -> date:
    if not _DAY.fullmatch(text):
        raise _Misfit("is not")
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise _Misfit("is not") from error


def _local_moment(text: str) -> datetime:
    moment, zone = _parts(text)
    if zone:
        raise _Misfit("is not")
    return moment


def _parts(text: str) -> tuple[datetime, bool]:
    """A time to the microsecond, and whether it says its zone.

    Raises:
        _Misfit: It is none, or finer than that.
    """
    found = _TIME.fullmatch(text)
    if found is None:
        raise _Misfit("is not")
    fraction = (found["fraction"] or "0").ljust(9, "0")
    if fraction[6:] != "000":
        raise _Misfit("has more than six decimals of a second, which do not fit")
    time = found["time"] or "00:00"
    try:
        moment = datetime.fromisoformat(f"{found['day']}T{time}{'' if time.count(':') == 2 else ':00'}")
        zone = (found["zone"] or "").upper()
        moment = moment.replace(microsecond=int(fraction[:6]))
        return (moment.replace(tzinfo=datetime.fromisoformat(f"2000-01-01T00:00{zone}").tzinfo), bool(zone))
    except ValueError as error:
        raise _Misfit("is not") from error


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise _Misfit("is not") from error


def unreadable_types(columns: StructType) -> Iterator[tuple[str, DataType]]:
    """The columns whose values nobody can write into a test, each with the type that is in the way.

    Args:
        columns: The columns.
    """
    for one in columns.fields:
        for kind in _unreadable(one.dataType):
            yield one.name, kind


def _unreadable(kind: DataType) -> Iterator[DataType]:
    from pyspark.sql import types as T

    readable = (
        T.StringType,
        T.BooleanType,
        T.IntegralType,
        T.FractionalType,
        T.DateType,
        T.TimestampType,
        T.TimestampNTZType,
        T.BinaryType,
        T.VariantType,
        T.NullType,
    )
    match kind:
        case T.StructType():
            for one in kind.fields:
                yield from _unreadable(one.dataType)
        case T.ArrayType():
            yield from _unreadable(kind.elementType)
        case T.MapType() if isinstance(kind.keyType, T.StringType):
            yield from _unreadable(kind.valueType)
        case _ if isinstance(kind, readable) and not isinstance(kind, (T.CharType, T.VarcharType)):
            pass
        case _:
            yield kind
