"""Steps that read further back than the partition of the run, as far as their SQL shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from sqlglot import exp
from sqlglot.errors import SqlglotError

from pipeline_platform.config.config_error import ConfigError
from pipeline_platform.config.graph import Draft
from pipeline_platform.config.partitions import Partitions
from pipeline_platform.config.placeholders import strings_in, with_partition_texts
from pipeline_platform.config.sql import number_in, parse_expression, parse_query

_START, _END = "start_of_partition", "end_of_partition"
_TEXTS = {"start": _START, "key": _START, "end": _END}
_COMPARISONS = (exp.GT, exp.GTE, exp.LT, exp.LTE, exp.EQ, exp.Between)
_ORDERED = (exp.GT, exp.GTE, exp.LT, exp.LTE)
_ADDS = (exp.Add, exp.TsOrDsAdd, exp.DateAdd, exp.TimestampAdd, exp.DatetimeAdd, exp.AddMonths)
_SUBTRACTS = (exp.Sub, exp.DateSub, exp.TimestampSub, exp.DatetimeSub)
_TRUNCATES = (exp.DateTrunc, exp.TimestampTrunc)
# How many days they have at most.
_DAYS: Mapping[str, float] = {
    "SECOND": 1 / 86400,
    "MINUTE": 1 / 1440,
    "HOUR": 1 / 24,
    "DAY": 1,
    "WEEK": 7,
    "MONTH": 31,
    "MON": 31,
    "MM": 31,
    "QUARTER": 92,
    "YEAR": 366,
    "YYYY": 366,
}
_MONTHS: Mapping[str, float] = {"MONTH": 1, "MON": 1, "MM": 1, "QUARTER": 3, "YEAR": 12, "YYYY": 12}
_DAYS_OF: Mapping[str, float] = {"hourly": 1 / 24, "daily": 1, "weekly": 7, "monthly": 28}
_SOMEWHAT = 0.001
"""In partitions: how far back it is where that can't be told."""
_HINT = (
    "give 'partitions' the number of partitions before its own that it reads, such as \"lookback\": 6 for a window of "
    'seven days; "lookback": 0 if nothing is to follow from it'
)


def reach_warnings(partitions: Partitions | None, drafts: Sequence[Draft]) -> Iterator[ConfigError]:
    """Every key of an extract or a transform with a condition that reaches further back than `lookback` says.

    Found is what compares with `${partition:start}` less something; what is written in another way is not. Where the
    file says `"lookback": 0` its author has decided.

    Args:
        partitions: Of the pipeline.
        drafts: Its steps, as far as they could be read.
    """
    if partitions is None or not partitions.by_time:
        return
    if "lookback" in partitions.model_fields_set and not partitions.lookback:
        return
    said = f"'lookback' says {partitions.lookback}" if partitions.lookback else "there is no 'lookback'"
    message = (
        f"this reads further back than the partition, and {said}: when an earlier one of what it reads is loaded "
        "again, Dagster does not run this one"
    )
    for draft in drafts:
        for key, place in draft.keys.items() if draft.type in ("extract", "transform") else ():
            reach = max((_reach(text, partitions) for text in strings_in(place.value)), default=0)
            if reach > partitions.lookback:
                yield draft.key(key).problem(message, hint=_HINT)


def _reach(text: str, partitions: Partitions) -> float:
    """How many partitions back a text goes, 0 for one that is no SQL."""
    parsed = _parsed(with_partition_texts(text, _TEXTS)) if "${partition:" in text else None
    if parsed is None:
        return 0
    return max((_reach_of(compared, partitions) for compared in parsed.find_all(*_COMPARISONS)), default=0)


def _reach_of(compared: exp.Expr, partitions: Partitions) -> float:
    """How many partitions back a comparison goes, 0 for one that does not."""
    day = 1 / _DAYS_OF[partitions.type]
    if (days := _days_between(compared)) is not None:
        return days * day
    reach = max((-shift for shift in _shifts_in(compared, partitions)), default=0)
    is_after = isinstance(compared, (exp.GT, exp.LT))
    left, right = compared.this, compared.args.get("expression")
    value, bound = (left, right) if isinstance(compared, (exp.GT, exp.GTE)) else (right, left)
    if value is None or bound is None or _is_marked(value) or not _is_marked(bound):
        return reach
    reach += _moved(value, partitions)
    # Of a date, what is after a day begins with the next one; whether a column is a date only the bound may tell.
    return reach - day if is_after and partitions.type != "hourly" and not _is_time(bound) else reach


def _is_marked(node: exp.Expr) -> bool:
    return any(_START in one.name or _END in one.name for one in node.find_all(exp.Literal))


def _is_time(bound: exp.Expr) -> bool:
    return any(cast.to.this.name.startswith("TIMESTAMP") for cast in bound.find_all(exp.Cast))


def _moved(value: exp.Expr, partitions: Partitions) -> float:
    """How many partitions are added to what is compared with a bound, as if they were taken from the bound."""
    amount = value.args.get("expression") if isinstance(value, (*_ADDS, *_SUBTRACTS)) else None
    found = _amount(value, amount, partitions) if amount is not None else None
    if found is None:
        return 0
    return -found if isinstance(value, _SUBTRACTS) else found


def _days_between(compared: exp.Expr) -> float | None:
    """How many days back a condition such as `datediff('${partition:start}', day) <= 9` goes; None for any other."""
    if not isinstance(compared, _ORDERED):
        return None
    counted, limit = compared.this, compared.expression
    is_most = isinstance(compared, (exp.LT, exp.LTE))
    if isinstance(limit, exp.DateDiff):
        counted, limit, is_most = limit, counted, not is_most
    days = number_in(limit)
    if not isinstance(counted, exp.DateDiff) or days is None or counted.text("unit").upper() not in ("", "DAY"):
        return None
    is_from_start = _is_marked(counted.this)
    if is_from_start == _is_marked(counted.expression) or is_from_start != is_most:
        return None
    back = days if is_from_start else -days
    is_strict = isinstance(compared, (exp.GT, exp.LT))
    to_end = any(_END in one.name for one in counted.find_all(exp.Literal))
    return max(back - is_strict - to_end, 0)


def _parsed(text: str) -> exp.Expr | None:
    for parse in (parse_expression, parse_query, partial(parse_query, dialect="postgres")):
        try:
            return parse(text)
        except (SqlglotError, RecursionError):
            continue
    return None


def _shifts_in(node: exp.Expr, partitions: Partitions) -> Iterator[float]:
    shift = _shift(node, partitions) if isinstance(node, (*_ADDS, *_SUBTRACTS, *_TRUNCATES)) else None
    if shift is not None:
        yield shift
        return
    for child in node.iter_expressions():
        yield from _shifts_in(child, partitions)


def _shift(node: exp.Expr, partitions: Partitions) -> float | None:
    """How many partitions after the start of the partition a time is; None if it is not reckoned from there."""
    if isinstance(node, exp.Literal) and node.is_string:
        return 0 if _START in node.name else 1 if _END in node.name else None
    if isinstance(node, (*_ADDS, *_SUBTRACTS)):
        start, amount = node.this, node.args.get("expression")
        if amount is None or (before := _shift(start, partitions)) is None or _shift(amount, partitions) is not None:
            return None
        found = _amount(node, amount, partitions)
        is_back = isinstance(node, _SUBTRACTS)
        if found is None:
            return before - _SOMEWHAT if is_back else None
        return before - found if is_back else before + found
    if isinstance(node, _TRUNCATES):
        before = _shift(node.this, partitions)
        length = _length(str(node.text("unit")), partitions)
        return before if before is None or length is None else before - max(length - 1, 0)
    shifts = [_shift(child, partitions) for child in node.iter_expressions()]
    known = [shift for shift in shifts if shift is not None]
    return known[0] if len(known) == 1 else None


def _amount(node: exp.Expr, amount: exp.Expr, partitions: Partitions) -> float | None:
    """How many partitions a step in time is long; None if that can't be told."""
    unit = "MONTH" if isinstance(node, exp.AddMonths) else node.text("unit")
    interval = amount if isinstance(amount, exp.Interval) else amount.find(exp.Interval)
    if interval is not None:
        unit = interval.text("unit")
    number = number_in(amount)
    # Without a unit it is of days, unless what it is taken from is no date but, say, seconds.
    length = _length(unit or "DAY", partitions)
    if number is None or length is None or (not unit and not isinstance(node.this, (exp.Cast, exp.TsOrDsToDate))):
        return None
    return number * length


def _length(unit: str, partitions: Partitions) -> float | None:
    """How many partitions fit into a unit of time, at most."""
    name = unit.upper().removesuffix("S")
    if partitions.type == "monthly" and name in _MONTHS:
        return _MONTHS[name]
    return _DAYS[name] / _DAYS_OF[partitions.type] if name in _DAYS else None
