"""Values of a column that grows: compared, written as text, and as Spark has them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, localcontext
from typing import TYPE_CHECKING, Any, Self

from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.columns import own_column
from pipeline_platform.frames.partition_rows import fits

if TYPE_CHECKING:
    from pyspark.sql import Column
    from pyspark.sql.types import DataType, StructType

Value = int | Decimal | date | datetime
_DAY = timedelta(days=1)
_DIGITS = 38


@dataclass(frozen=True)
class CursorColumn:
    """A column that says what is new.

    Args:
        name: As the frame spells it.
        kind: What its values are: `integer`, `decimal`, `date`, `timestamp` or `timestamp_ntz`.
        data_type: Its type.
    """

    name: str
    kind: str
    data_type: DataType

    def value(self, given: Any, place: str = "the source") -> CursorValue:
        """A value of the column.

        Args:
            given: As a driver, a config or `str` of such a value has it. A time without a zone is in UTC.
            place: Where it stands, for the message.

        Raises:
            PipelineExecutionException: It is none.
        """
        try:
            value = _PARSED[self.kind](given)
            self._require_in_range(value)
            return CursorValue(self.kind, value)
        except (ArithmeticError, ValueError, TypeError):
            column = f"the column '{self.name}', {self.data_type.simpleString()}"
            raise PipelineExecutionException(
                f"{place} has '{given}', which is no value of {column}",
                hint=f"write it as {_EXAMPLES[self.kind]}",
            ) from None

    def _require_in_range(self, value: Value) -> None:
        """Raise unless the type holds it: where Spark is not strict, a larger one would be NULL.

        Raises:
            ValueError: It does not.
        """
        from pyspark.sql import types as T

        if isinstance(value, int) and not fits(value, self.data_type):
            raise ValueError(value)
        if isinstance(self.data_type, T.DecimalType) and isinstance(value, Decimal):
            whole = self.data_type.precision - self.data_type.scale
            if abs(value) >= Decimal(10) ** whole:
                raise ValueError(value)

    def literal(self, value: CursorValue) -> Column:
        """A value of the column in Spark, which it can hand on to the source."""
        from pyspark.sql import functions as F

        return F.lit(str(value)).cast(self.data_type)


@dataclass(frozen=True)
class CursorValue:
    """A value of such a column.

    Args:
        kind: As `CursorColumn.kind`.
        value: The value; a timestamp is in UTC, and does not say so.
    """

    kind: str
    value: Any

    def before(self, lag: Decimal | timedelta) -> Self:
        """The value that is so much smaller.

        Raises:
            PipelineExecutionException: A duration for numbers, a number for times, or a part of a day for dates.
        """
        wanted, is_right = {
            "integer": ("a whole number", isinstance(lag, Decimal) and lag == lag.to_integral_value()),
            "decimal": ("a number", isinstance(lag, Decimal)),
            "date": ("whole days", isinstance(lag, timedelta) and not lag % _DAY),
        }.get(self.kind, ("a duration", isinstance(lag, timedelta)))
        if not is_right:
            raise PipelineExecutionException(
                f"'lag' has to be {wanted}, as the column of 'cursorColumn' holds {self.kind} values",
                hint="such as '2 days'" if isinstance(self.value, date) else "such as 100",
            )
        if not isinstance(lag, timedelta):
            # Python's own context has 28 digits, and Spark's decimals 38.
            with localcontext(prec=2 * _DIGITS):
                return type(self)(self.kind, _PARSED[self.kind](self.value - lag))
        try:
            return type(self)(self.kind, self.value - lag)
        except OverflowError:
            return type(self)(self.kind, datetime.min if self.kind != "date" else date.min)

    def __str__(self) -> str:
        return f"{self.value}+00:00" if self.kind == "timestamp" else str(self.value)


def cursor_column(schema: StructType, name: str) -> CursorColumn:
    """The column of a frame that says what is new.

    Args:
        schema: Of the frame.
        name: `cursorColumn`.

    Raises:
        PipelineExecutionException: There is no such column, or its values have no order that source and Spark agree on.
    """
    from pyspark.sql import types as T

    column = own_column(schema.names, name)
    data_type = schema[column].dataType
    kinds: tuple[tuple[type[DataType], str], ...] = (
        (T.IntegralType, "integer"),
        (T.DecimalType, "decimal"),
        (T.DateType, "date"),
        (T.TimestampType, "timestamp"),
        (T.TimestampNTZType, "timestamp_ntz"),
    )
    kind = next((kind for type_, kind in kinds if isinstance(data_type, type_)), None)
    if kind is None:
        raise PipelineExecutionException(
            f"'cursorColumn' is '{column}', which is {data_type.simpleString()}: text is ordered otherwise in each "
            "system, and floating-point numbers are not exact",
            hint="name a column of integers, decimals, dates or timestamps, or cast it to one of these in 'query'",
        )
    return CursorColumn(column, kind, data_type)


def _integer(given: Any) -> int:
    number = _decimal(given)
    if number.adjusted() > _DIGITS or number != number.to_integral_value():
        raise ValueError(given)
    return int(number)


def _decimal(given: Any) -> Decimal:
    number = Decimal(str(given))
    if not number.is_finite():
        raise ValueError(given)
    return number


def _date(given: Any) -> date:
    if isinstance(given, datetime):
        raise ValueError(given)
    return given if isinstance(given, date) else date.fromisoformat(str(given).strip())


def _time(given: Any) -> datetime:
    if isinstance(given, (int, float)):
        raise ValueError(given)
    if isinstance(given, date) and not isinstance(given, datetime):
        given = datetime(given.year, given.month, given.day)
    time = given if isinstance(given, datetime) else datetime.fromisoformat(str(given).strip())
    return time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo is not None else time


def _local_time(given: Any) -> datetime:
    time = given if isinstance(given, datetime) else datetime.fromisoformat(str(given).strip())
    if time.tzinfo is not None:
        raise ValueError(given)
    return time


def point_in_time(text: str, place: str) -> CursorValue:
    """A time, in UTC unless it says otherwise.

    Args:
        text: As somebody has written it.
        place: Where it stands, for the message.

    Raises:
        PipelineExecutionException: It is none.
    """
    try:
        return CursorValue("timestamp", _time(text))
    except (ArithmeticError, ValueError):
        raise PipelineExecutionException(
            f"{place} has '{text}', which is no time", hint=f"write it as {_EXAMPLES['timestamp']}"
        ) from None


def is_value_of_some_column(text: str) -> bool:
    """Whether a text could be a value of a column of some kind."""
    for parsed in _PARSED.values():
        try:
            parsed(text)
        except (ArithmeticError, ValueError):
            continue
        return True
    return False


_PARSED = {"integer": _integer, "decimal": _decimal, "date": _date, "timestamp": _time, "timestamp_ntz": _local_time}
_EXAMPLES = {
    "integer": "a whole number, such as 100",
    "decimal": "a number, such as 10.5",
    "date": "a date, such as 2026-01-31",
    "timestamp": "a time, such as 2026-01-31 12:00:00, in UTC if it has no offset",
    "timestamp_ntz": "a time without an offset, such as 2026-01-31 12:00:00",
}
