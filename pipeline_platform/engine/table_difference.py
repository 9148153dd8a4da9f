"""Where the rows of two tables differ: by a key, or, without one, how many of them have no equal in the other.

The rows of both are brought together by their key, in one shuffle: each key is one row then, with how often either
table has it. So a key that is there twice is told, and joins nothing. What reaches the driver is one row of counts, and
a few rows as examples.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.frames.columns import HELPER_PREFIX, find_column, own_column, quoted
from pipeline_platform.frames.nested_values import types_in
from pipeline_platform.frames.sensitive_fields import sensitive_columns
from pipeline_platform.frames.widening import widen_without_loss
from pipeline_platform.redacted_values import redacted_value
from pipeline_platform.redaction import MASK

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import DataType

_BEFORE, _AFTER = f"{HELPER_PREFIX}before", f"{HELPER_PREFIX}after"
_TIMES = (f"{HELPER_PREFIX}times_before", f"{HELPER_PREFIX}times_after")
_CHANGED, _KIND = f"{HELPER_PREFIX}changed", f"{HELPER_PREFIX}kind"
_IS_BEFORE, _COUNTS = f"{HELPER_PREFIX}is_before", f"{HELPER_PREFIX}counts"
_KEY, _RANK = f"{HELPER_PREFIX}key", f"{HELPER_PREFIX}rank"
_ONLY_BEFORE, _ONLY_AFTER, _OTHER, _REPEATED, _SAME = "before", "after", "changed", "repeated", "same"
DEFAULT_LIMIT = 5
"""Examples of each kind."""


@dataclass(frozen=True)
class ColumnTypes:
    """A column that has not the same type in both tables.

    Args:
        name: Its name.
        before: Its type in the first table; None if it has no such column.
        after: Its type in the second.
        is_compared: Whether its values are compared all the same, as one type holds those of both.
    """

    name: str
    before: str | None
    after: str | None
    is_compared: bool = False


@dataclass(frozen=True)
class Example:
    """A row that differs.

    Args:
        key: The values of the key, by column; of rows that are compared as a whole, all of them.
        times: How often the first table and the second one have it.
        before: The other values that the first table has, by column; None if it has no such row, or several.
        after: Those that the second has.
        changed: The columns whose values differ.
    """

    key: Mapping[str, Any]
    times: tuple[int, int]
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    changed: Sequence[str] = ()


@dataclass(frozen=True)
class TableDifference:
    """How two tables differ.

    Args:
        key: The columns that tell rows apart; none if rows were compared as a whole.
        compared: The other columns that were compared.
        columns: Those that have not the same type in both.
        rows_before: Rows of the first table.
        rows_after: Rows of the second.
        same: Rows that are in both.
        changed: Keys whose row has other values.
        only_before: Rows that only the first has.
        only_after: Rows that only the second has.
        repeated_before: Keys that the first table has several times, whose rows are not compared.
        repeated_after: Keys that the second has several times.
        changes: By column, in how many of the rows that are in both its value is another one.
        examples: A few of the rows that differ: `changed`, `before`, `after` and `repeated`.
        hidden: The columns whose values are not shown.
    """

    key: Sequence[str]
    compared: Sequence[str]
    columns: Sequence[ColumnTypes]
    rows_before: int
    rows_after: int
    same: int
    changed: int
    only_before: int
    only_after: int
    repeated_before: int
    repeated_after: int
    changes: Mapping[str, int]
    examples: Mapping[str, Sequence[Example]]
    hidden: Sequence[str]

    @property
    def is_all_compared(self) -> bool:
        """Whether the values of all columns were compared."""
        return all(one.is_compared for one in self.columns)

    @property
    def is_same(self) -> bool:
        """Whether there is no difference, and everything could be compared."""
        differs = self.changed or self.only_before or self.only_after or self.repeated_before or self.repeated_after
        return not differs and not self.columns

    @property
    def matched(self) -> int:
        """Rows of either table that have their counterpart in the other."""
        return self.same + self.changed


def table_difference(
    before: DataFrame,
    after: DataFrame,
    key: Sequence[str] = (),
    columns: Sequence[str] | None = None,
    limit: int = DEFAULT_LIMIT,
    hidden: Collection[str] = (),
) -> TableDifference:
    """Compare two frames, in one pass over each.

    NULL is NULL, NaN is NaN, and -0.0 is 0.0; nothing else is rounded. Maps are the same in any order of their keys.

    Args:
        before: The first one.
        after: The second one.
        key: The columns that tell rows apart; without them, rows are compared as a whole, and counted.
        columns: The columns that are compared, beside the key; None for all that both have.
        limit: How many examples there are of each kind.
        hidden: Columns whose values are not shown, or fields in them, beside those whose names say that they are
            secrets.

    Raises:
        PipelineConfigurationException: A column is in neither, or the key is not in both.
    """
    from pyspark.sql import functions as F

    keys = [_own_key(before, after, name) for name in key]
    types, compared = _columns(before, after, keys, columns)
    if not keys and not compared:
        raise PipelineConfigurationException(
            "the tables have no column in common whose values could be compared", hint="name others in --columns"
        )
    secret = {name.lower() for name in hidden}
    sensitive = {name.lower() for frame in (before, after) for name in sensitive_columns(frame.schema, secret)}
    masked = [name for name in (*keys, *compared) if name.lower() in sensitive]
    by, values = (keys, compared) if keys else (compared, [])
    rows = _side(before, by, values, is_before=True).unionByName(_side(after, by, values, is_before=False))
    row = [F.struct(*(F.col(quoted(name)) for name in values))] if values else []
    grouped = rows.groupBy(*map(quoted, by)).agg(
        F.count_if(F.col(_IS_BEFORE)).alias(_TIMES[0]),
        F.count_if(~F.col(_IS_BEFORE)).alias(_TIMES[1]),
        *(F.first(F.when(F.col(_IS_BEFORE), one), ignorenulls=True).alias(_BEFORE) for one in row),
        *(F.first(F.when(~F.col(_IS_BEFORE), one), ignorenulls=True).alias(_AFTER) for one in row),
    )
    told = grouped.withColumn(_CHANGED, _changed(values)).withColumn(_KIND, _kind(is_keyed=bool(keys)))
    counts = told.agg(F.struct(*_counts(values, is_keyed=bool(keys))).alias(_COUNTS))
    shown = _examples(told, by, values, masked, limit)
    # One job, in which Spark carries out once what both are made of.
    found = [one.asDict(recursive=True) for one in counts.unionByName(shown, allowMissingColumns=True).collect()]
    [numbers] = [one[_COUNTS] for one in found if one[_COUNTS] is not None]
    examples: dict[str, list[Example]] = {}
    for one in found:
        if one[_KIND] is not None:
            times = (one[_TIMES[0]], one[_TIMES[1]])
            sides = (redacted_value(one.get(side)) for side in (_KEY, _BEFORE, _AFTER))
            example = Example(next(sides), times, next(sides), next(sides), one[_CHANGED])
            examples.setdefault(one[_KIND], []).append(example)
    return TableDifference(
        key=keys,
        compared=compared,
        columns=types,
        changes={name: numbers[f"{_CHANGED}_{place}"] for place, name in enumerate(values)},
        examples=examples,
        hidden=masked,
        **{name: numbers[name] or 0 for name in _COUNTED},
    )


_COUNTED = (
    *("rows_before", "rows_after", "same", "changed"),
    *("only_before", "only_after", "repeated_before", "repeated_after"),
)


def _own_key(before: DataFrame, after: DataFrame, name: str) -> str:
    own_column(after.columns, name)
    return own_column(before.columns, name)


def _columns(
    before: DataFrame, after: DataFrame, keys: Sequence[str], wanted: Sequence[str] | None
) -> tuple[list[ColumnTypes], list[str]]:
    """The columns whose types differ, and those beside the key whose values are compared."""
    names = [*before.columns, *(name for name in after.columns if find_column(before.columns, name) is None)]
    if wanted is not None:
        names = [*keys, *(own_column(names, name) for name in wanted)]
    types: list[ColumnTypes] = []
    compared: list[str] = []
    for name in dict.fromkeys(names):
        found = [find_column(frame.columns, name) for frame in (before, after)]
        kinds = [frame.schema[own].dataType if own else None for frame, own in zip((before, after), found, strict=True)]
        one, other = kinds
        told = [kind.simpleString() if kind is not None else None for kind in kinds]
        may = one is not None and other is not None and _same_fields(one, other) and widen_without_loss(one, other)
        if told[0] != told[1]:
            types.append(ColumnTypes(name, told[0], told[1], is_compared=may))
        if may and name not in keys:
            compared.append(name)
        elif not may and name in keys:
            raise PipelineConfigurationException(
                f"the key '{name}' is {told[0]} in one table and {told[1]} in the other, so no two rows have the same",
                hint="name another key",
            )
    return types, compared


def _same_fields(one: DataType, other: DataType) -> bool:
    """Whether what is nested in the types has the same names, in the same order."""
    from pyspark.sql.types import StructType

    fields = [[t.fieldNames() for t in types_in(kind) if isinstance(t, StructType)] for kind in (one, other)]
    return fields[0] == fields[1]


def _side(frame: DataFrame, keys: Sequence[str], compared: Sequence[str], *, is_before: bool) -> DataFrame:
    from pyspark.sql import functions as F

    fields = {field.name.lower(): field for field in frame.schema}
    own = {name: fields[name.lower()] for name in (*keys, *compared)}
    values = [_comparable(F.col(quoted(field.name)), field.dataType).alias(name) for name, field in own.items()]
    return frame.select(*values, F.lit(is_before).alias(_IS_BEFORE))


def _comparable(value: Column, kind: DataType) -> Column:
    """A value in a form that Spark compares: a map as its entries in order, a variant as its text."""
    from pyspark.sql import functions as F
    from pyspark.sql import types as T

    if not any(inner.typeName() in ("map", "variant") for inner in types_in(kind)):
        return value
    match kind:
        case T.MapType():
            entry = T.StructType([T.StructField("key", kind.keyType), T.StructField("value", kind.valueType)])
            entries = F.transform(F.map_entries(value), lambda one: _comparable(one, entry))
            return F.array_sort(entries)
        case T.ArrayType():
            return F.transform(value, lambda one: _comparable(one, kind.elementType))
        case T.StructType():
            fields = [_comparable(value.getField(field.name), field.dataType).alias(field.name) for field in kind]
            return F.when(value.isNotNull(), F.struct(*fields))
        case _:
            return F.to_json(value)


def _changed(compared: Sequence[str]) -> Column:
    """The columns whose values differ, of a key that both have once."""
    from pyspark.sql import functions as F

    if not compared:
        return F.array().cast("array<string>")

    is_in_both = (F.col(_TIMES[0]) == 1) & (F.col(_TIMES[1]) == 1)
    differs = [
        F.when(
            is_in_both & ~F.col(f"{_BEFORE}.{quoted(name)}").eqNullSafe(F.col(f"{_AFTER}.{quoted(name)}")), F.lit(name)
        )
        for name in compared
    ]
    return F.array_compact(F.array(*differs))


def _kind(*, is_keyed: bool) -> Column:
    from pyspark.sql import functions as F

    before, after = (F.col(name) for name in _TIMES)
    if not is_keyed:
        others = F.when(before > after, _ONLY_BEFORE).when(before < after, _ONLY_AFTER)
        return others.otherwise(_SAME)
    return (
        F.when((before > 1) | (after > 1), _REPEATED)
        .when(after == 0, _ONLY_BEFORE)
        .when(before == 0, _ONLY_AFTER)
        .when(F.size(_CHANGED) > 0, _OTHER)
        .otherwise(_SAME)
    )


def _counts(values: Sequence[str], *, is_keyed: bool) -> list[Column]:
    from pyspark.sql import functions as F

    before, after = (F.col(name) for name in _TIMES)
    kind, none = F.col(_KIND), F.lit(0)
    if is_keyed:
        counts = {
            "same": F.count_if(kind == _SAME),
            "changed": F.count_if(kind == _OTHER),
            "only_before": F.count_if(kind == _ONLY_BEFORE),
            "only_after": F.count_if(kind == _ONLY_AFTER),
            "repeated_before": F.count_if(before > 1),
            "repeated_after": F.count_if(after > 1),
        }
    else:
        counts = {
            "same": F.sum(F.least(before, after)),
            "changed": none,
            "only_before": F.sum(F.greatest(before - after, none)),
            "only_after": F.sum(F.greatest(after - before, none)),
            "repeated_before": none,
            "repeated_after": none,
        }
    counts |= {"rows_before": F.sum(before), "rows_after": F.sum(after)}
    counts |= {f"{_CHANGED}_{place}": F.count_if(F.array_contains(_CHANGED, name)) for place, name in enumerate(values)}
    return [count.alias(name) for name, count in counts.items()]


def _examples(
    told: DataFrame, by: Sequence[str], values: Sequence[str], masked: Collection[str], limit: int
) -> DataFrame:
    """The first rows of each kind, by their key; of changed ones, of each column that is the first to differ."""
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    kind = F.col(_KIND)
    first = Window.partitionBy(kind, F.get(_CHANGED, F.lit(0))).orderBy(*map(quoted, by))
    ranked = told.filter(kind != _SAME).withColumn(_RANK, F.row_number().over(first)).filter(F.col(_RANK) <= limit)

    def shown(side: str) -> Column:
        found = F.struct(*(_masked(F.col(f"{side}.{quoted(name)}"), name, masked) for name in values))
        return F.when((kind != _REPEATED) & F.col(side).isNotNull(), found).alias(side)

    return ranked.select(
        kind,
        F.struct(*(_masked(F.col(quoted(name)), name, masked) for name in by)).alias(_KEY),
        *_TIMES,
        *(shown(side) for side in ((_BEFORE, _AFTER) if values else ())),
        _CHANGED,
    )


def _masked(value: Column, name: str, masked: Collection[str]) -> Column:
    from pyspark.sql import functions as F

    return (F.when(value.isNotNull(), F.lit(MASK)) if name in masked else value).alias(name)
