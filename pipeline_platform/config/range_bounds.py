"""Conditions on the bounds of a run, such as `day >= '${partition:start}'`, that hold for a range as for one partition.

For a row of one of the partitions that are loaded such a condition has to give the same whether the run loads this
partition alone or several. That is so where the bound is the run's own or lies outside: a day is not before the start
of its partition, nor before that of any range with it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from sqlglot import exp

from pipeline_platform.config.partitions import Partitions
from pipeline_platform.config.placeholders import with_partition_texts
from pipeline_platform.config.range_frames import EVERYTHING, Value
from pipeline_platform.config.sql import number_in

_START, _END = "start_of_partition", "end_of_partition"
_MARKS = {"start": _START, "end": _END}
VARIABLE = "value_of_variable"
"""What stands in parsed SQL for a variable whose value is known at run time only."""
TIMES = ("TIMESTAMP", "TIMESTAMPTZ", "TIMESTAMPLTZ", "TIMESTAMPNTZ", "DATETIME")
"""The types that have a time of day, as sqlglot names them."""
# In days, the fewest and the most.
_LENGTHS: Mapping[str, tuple[float, float]] = {
    "SECOND": (1 / 86400, 1 / 86400),
    "MINUTE": (1 / 1440, 1 / 1440),
    "HOUR": (1 / 24, 1 / 24),
    "DAY": (1, 1),
    "WEEK": (7, 7),
    "MONTH": (28, 31),
    "QUARTER": (90, 92),
    "YEAR": (365, 366),
}
_MOMENT = 1e-9


def with_marks(text: str) -> str:
    """The text with words in place of the placeholders, so that it can be parsed and they are found again."""
    return with_partition_texts(text, _MARKS, VARIABLE)


def marked(text: str) -> str:
    """What was written where `with_marks` has put words."""
    return text.replace(_START, "${partition:start}").replace(_END, "${partition:end}")


def is_marked(node: exp.Expr) -> bool:
    """Whether a bound of the partition stands anywhere in it."""
    found = node.find_all(exp.Literal, exp.Identifier, exp.Var)
    return any(_START in one.name or _END in one.name for one in found)


def check_bound(operator: type[exp.Expr], value: Value | None, bound: exp.Expr, partitions: Partitions) -> float | None:
    """How far back a comparison with a bound of the run reads, where it is the same for one partition and for several.

    Args:
        operator: `GT`, `GTE`, `LT` or `LTE`.
        value: What is compared, on the left.
        bound: The bound, on the right.
        partitions: Of the pipeline.

    Returns:
        In days; None where the comparison may give something else for a row if more partitions are loaded with its own.
    """
    found = _Bounds(partitions).of(bound)
    if found is None or value is None:
        return None
    is_start, days = found
    # What is true from a time on excludes that time, or is true up to it.
    excludes = operator in (exp.GT, exp.LTE)
    if is_start:
        if days > 0 or (days == 0 and excludes):
            return None
        before = 0.0 if not excludes else 1.0 if value.is_date else _MOMENT
        return max(-days - before, 0.0)
    # A date that is before the end is at most the day before it.
    is_last_day = excludes and value.is_date and partitions.type != "hourly" and partitions.timezone == "UTC"
    return EVERYTHING if days >= (-1 if is_last_day else 0) else None


class _Bounds:
    def __init__(self, partitions: Partitions) -> None:
        self.by_hour = partitions.type == "hourly"
        self.is_utc = partitions.timezone == "UTC"

    def of(self, node: exp.Expr) -> tuple[bool, float] | None:
        """Whether a time is reckoned from the start, and how many days after it, or after the end, it is at least.

        Before the start, at least so far before it. None if that can't be told.
        """
        match node:
            case exp.Literal() if node.is_string and node.name in (_START, _END):
                return node.name == _START, 0.0
            case exp.Paren():
                return self.of(node.this)
            case exp.Cast() if node.to.this.name in TIMES:
                return self.of(node.this) if self.is_utc else None
            case exp.Cast() if node.to.this.name == "DATE":
                return self._whole_days(node.this)
            case exp.TsOrDsToDate() if node.args.get("format") is None:
                return self._whole_days(node.this)
            case exp.Add() | exp.TsOrDsAdd() | exp.DateAdd() | exp.TimestampAdd() | exp.DatetimeAdd() | exp.AddMonths():
                return self._moved(node, 1)
            case exp.Sub() | exp.DateSub() | exp.TimestampSub() | exp.DatetimeSub():
                return self._moved(node, -1)
            case exp.DateTrunc() | exp.TimestampTrunc():
                # The start of a month, or of a year, is not after the start of a part of it.
                found = self.of(node.this)
                return found if found is not None and found[0] and self.is_utc else None
            case _:
                return None

    def _whole_days(self, node: exp.Expr) -> tuple[bool, float] | None:
        found = self.of(node)
        if found is None or not self.is_utc or (self.by_hour and not found[0]):
            return None
        is_start, days = found
        return is_start, days if is_start else math.floor(days)

    def _moved(self, node: exp.Expr, sign: int) -> tuple[bool, float] | None:
        found, amount = self.of(node.this), node.args.get("expression")
        # Without a zone, a day of another one than the session's would begin at another time.
        if found is None or amount is None or not self.is_utc:
            return None
        if self.by_hour and not found[0] and isinstance(node, (exp.TsOrDsAdd, exp.AddMonths)):
            # They make a date of a time.
            return None
        unit = "MONTH" if isinstance(node, exp.AddMonths) else node.text("unit")
        least = days_of(amount, unit, 0, may_be_days=isinstance(node.this, (exp.Cast, exp.TsOrDsToDate)))
        most = days_of(amount, unit, 1, may_be_days=isinstance(node.this, (exp.Cast, exp.TsOrDsToDate)))
        if least is None or most is None:
            return None
        is_start, days = found
        is_outwards = sign * least <= 0 if is_start else sign * least >= 0
        # `add_months('2024-01-31', 1)` and the like are not reckoned back and forth.
        if not is_outwards and least != most:
            return None
        return is_start, days + sign * least


def days_of(amount: exp.Expr, unit: str, which: int, *, may_be_days: bool = False) -> float | None:
    """How many days a step in time is; None if that can't be told.

    Args:
        amount: The number of units, or an interval.
        unit: The unit where the amount is a number; empty if it does not say.
        which: 0 for the fewest days that it can be, 1 for the most.
        may_be_days: Whether a number without a unit is one of days.
    """
    interval = amount if isinstance(amount, exp.Interval) else amount.find(exp.Interval)
    if interval is not None:
        unit = interval.text("unit")
    elif not unit and may_be_days:
        unit = "DAY"
    number = number_in(amount)
    length = _LENGTHS.get(unit.upper().removesuffix("S"))
    return number * length[which] if number is not None and length is not None else None


def most_days(amount: exp.Expr) -> float | None:
    """How many days an interval, or a number of days, has at most; None if that can't be told."""
    return days_of(amount, "", 1, may_be_days=True)
