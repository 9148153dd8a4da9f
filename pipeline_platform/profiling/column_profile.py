"""What is in the columns of a frame, found out in two passes by aggregates of Spark's own."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from pipeline_platform.frames.columns import quoted
from pipeline_platform.frames.promised_values import is_comparable, value_kind

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import DataType, StructField

Kind = Literal["text", "whole", "number", "flag", "date", "timestamp", "other"]
MOST_COUNTED = 100
"""Of columns with at most about so many different values, each value is counted."""
_MOST_SHAPES = 5
PATTERNS: Mapping[str, str] = {
    "email": r"^[^@\s]+@[^@\s]+\.[^@\s]+\z",
    "uuid": r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\z",
}
"""Well-known forms of texts, by their names."""


@dataclass(frozen=True)
class ColumnProfile:
    """What is in a column.

    Args:
        name: Its name.
        type: Its type, as in SQL.
        kind: What its values are.
        rows: Rows of the frame.
        nulls: Rows in which it is NULL.
        distinct: About how many different values it has; None for a type of which Spark does not tell.
        is_hidden: Whether its values are not shown.
        least: The smallest value, as text; None if there is none, and where values are not shown or have no order.
        most: The largest value.
        nans: Rows in which it is NaN.
        lengths: The fewest and the most characters of a text.
        matches: How many texts match each of the well-known patterns.
        values: How often each value occurs, the most frequent first; None if there are too many values.
        shapes: As `values`, of the texts with `A`, `a` and `9` for letters and digits.
    """

    name: str
    type: str
    kind: Kind
    rows: int
    nulls: int
    distinct: int | None = None
    is_hidden: bool = False
    least: str | None = None
    most: str | None = None
    nans: int = 0
    lengths: tuple[int, int] | None = None
    matches: Mapping[str, int] = field(default_factory=dict[str, int])
    values: Sequence[tuple[str, int]] | None = None
    shapes: Sequence[tuple[str, int]] | None = None

    @property
    def filled(self) -> int:
        """Rows in which it has a value."""
        return self.rows - self.nulls


def column_profiles(frame: DataFrame, hidden: Collection[str]) -> list[ColumnProfile]:
    """What is in each column of a frame; its rows are read twice.

    Args:
        frame: The frame.
        hidden: Names of the columns of which no value is shown.
    """
    asked = {
        f"{place}_{name}": column
        for place, (one, shown) in enumerate(_fields(frame, hidden))
        for name, column in _aggregates(one.name, one.dataType, is_shown=shown)
    }
    from pyspark.sql import functions as F

    row = frame.agg(F.count(F.lit(1)).alias("rows"), *(column.alias(name) for name, column in asked.items()))
    found = row.collect()[0].asDict()
    profiles = [
        _profile(one.name, one.dataType, found, place, is_shown=shown)
        for place, (one, shown) in enumerate(_fields(frame, hidden))
    ]
    return _with_values(frame, profiles, found)


def _fields(frame: DataFrame, hidden: Collection[str]) -> Iterator[tuple[StructField, bool]]:
    for one in frame.schema.fields:
        yield one, one.name not in hidden


def _kind(data_type: DataType) -> Kind:
    from pyspark.sql.types import IntegralType

    known = value_kind(data_type)
    if known == "number":
        return "whole" if isinstance(data_type, IntegralType) else "number"
    return known or "other"


def _aggregates(name: str, data_type: DataType, *, is_shown: bool) -> Iterator[tuple[str, Column]]:
    from pyspark.sql import functions as F
    from pyspark.sql.types import DoubleType, FloatType

    column, kind = F.col(quoted(name)), _kind(data_type)
    yield "filled", F.count(column)
    if is_comparable(data_type):
        yield "distinct", F.approx_count_distinct(column, 0.02)
    if isinstance(data_type, (DoubleType, FloatType)):
        yield "nans", F.count_if(F.isnan(column))
    if kind == "other" or not is_shown:
        return
    yield "least", F.min(column).cast("string")
    yield "most", F.max(column).cast("string")
    if kind == "text":
        yield "shortest", F.min(F.char_length(column))
        yield "longest", F.max(F.char_length(column))
        yield "shapes", F.approx_count_distinct(_shape(column))
        for known, pattern in PATTERNS.items():
            yield known, F.count_if(column.rlike(pattern))


def _shape(column: Column) -> Column:
    from pyspark.sql import functions as F

    for letters, letter in (("[A-Z]", "A"), ("[a-z]", "a"), ("[0-9]", "9")):
        column = F.regexp_replace(column, letters, letter)
    return column


def _profile(name: str, data_type: DataType, found: Mapping[str, Any], place: int, *, is_shown: bool) -> ColumnProfile:
    def of(what: str) -> Any:
        return found.get(f"{place}_{what}")

    shortest = of("shortest")
    filled, distinct = int(of("filled")), of("distinct")
    return ColumnProfile(
        name=name,
        type=data_type.simpleString(),
        kind=_kind(data_type),
        rows=int(found["rows"]),
        nulls=int(found["rows"]) - filled,
        distinct=min(int(distinct), filled) if distinct is not None else None,
        is_hidden=not is_shown,
        least=of("least"),
        most=of("most"),
        nans=int(of("nans") or 0),
        lengths=(int(shortest), int(of("longest"))) if shortest is not None else None,
        matches={known: int(of(known)) for known in PATTERNS if of(known) is not None},
    )


def _with_values(frame: DataFrame, profiles: list[ColumnProfile], found: Mapping[str, Any]) -> list[ColumnProfile]:
    """The profiles with how often each value and each shape occurs, of columns that have few of them."""
    from pyspark.sql import functions as F

    parts: dict[str, Column] = {}
    for place, profile in enumerate(profiles):
        column = F.col(quoted(profile.name))
        if profile.is_hidden or profile.kind == "other" or profile.filled == 0:
            continue
        if profile.distinct is not None and profile.distinct <= MOST_COUNTED:
            parts[f"{place}_values"] = column.cast("string")
        if profile.kind == "text" and int(found[f"{place}_shapes"]) <= _MOST_SHAPES:
            parts[f"{place}_shapes"] = _shape(column)
    if not parts:
        return profiles
    pairs = (F.struct(F.lit(part).alias("part"), column.alias("value")) for part, column in parts.items())
    exploded = frame.select(F.explode(F.array(*pairs)).alias("one")).select("one.part", "one.value")
    counted = exploded.filter("value IS NOT NULL").groupBy("part", "value").count().collect()
    counts: dict[str, list[tuple[str, int]]] = {}
    for row in counted:
        counts.setdefault(row[0], []).append((row[1], int(row[2])))
    ordered = {part: sorted(values, key=lambda one: (-one[1], one[0])) for part, values in counts.items()}
    return [
        replace(profile, values=ordered.get(f"{place}_values"), shapes=ordered.get(f"{place}_shapes"))
        for place, profile in enumerate(profiles)
    ]
