"""The rules of a data contract about single rows, as conditions on columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from pipeline_platform.config.contracts.promises import RuleKind
from pipeline_platform.config.contracts.values import WrongValue
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.columns import field_named, own_column, quoted
from pipeline_platform.frames.promised_values import exact_limit, moment_text, value_kind, values_in

if TYPE_CHECKING:
    from pyspark.sql import Column
    from pyspark.sql.types import DataType, StructType


@dataclass(frozen=True)
class PromisedValue:
    """A column, or a field within one.

    Args:
        column: Its value.
        kind: Its type.
        outer: Whether what it is in has a value.
    """

    column: Column
    kind: DataType
    outer: Column

    @classmethod
    def at(cls, columns: StructType, path: Sequence[str]) -> PromisedValue:
        """The value of a column, or of a field.

        Args:
            columns: The columns there are.
            path: Name of the column, and of the fields that lead to the value.

        Raises:
            PipelineExecutionException: There is no such field.
        """
        from pyspark.sql import functions as F
        from pyspark.sql.types import StructType

        name = own_column(columns.names, path[0])
        value, kind, outer = F.col(quoted(name)), columns[name].dataType, F.lit(True)
        for part in path[1:]:
            field = field_named(kind, part) if isinstance(kind, StructType) else None
            if field is None:
                raise PipelineExecutionException(
                    f"the contract has a rule about '{'.'.join(path)}', and '{name}' has no field '{part}'",
                    hint="add the field to the contract's properties, or take the rule out",
                )
            outer, value, kind = value.isNotNull(), value.getField(field.name), field.dataType
        return cls(value, kind, outer)


def breaks(rule: RuleKind, value: PromisedValue, asked: Any) -> Column:
    """Whether a value breaks a rule; null counts as kept.

    Args:
        rule: The kind of the rule; any but `unique`, which no value breaks by itself.
        value: The value.
        asked: What the rule compares it with.

    Raises:
        WrongValue: With something that no value of the column can be.
    """
    from pyspark.sql import functions as F
    from pyspark.sql.types import NullType

    # A column that is null everywhere has no value, and no type that anything could be compared in.
    is_empty = isinstance(value.kind, NullType) and rule not in ("notNull", "noneOf")
    return F.lit(False) if is_empty else _CONDITIONS[rule](value, asked)


def _limited(rule: RuleKind) -> Callable[[PromisedValue, Any], Column]:
    """Whether a value is outside of a limit, in whose type nothing is rounded."""

    def broken(value: PromisedValue, limit: Any) -> Column:
        from pyspark.sql import functions as F
        from pyspark.sql.types import DoubleType, FloatType, NumericType

        column = value.column
        match value.kind:
            case FloatType() | DoubleType():
                # NaN is within no bounds.
                return _COMPARED[rule](column, F.lit(float(limit)).cast(value.kind)) | F.isnan(column)
            case NumericType():
                exact = exact_limit(value.kind, Decimal(limit), is_least=rule in ("minimum", "below"))
                if isinstance(exact, bool):
                    return F.lit(exact is (rule in ("minimum", "above"))) & column.isNotNull()
                return _COMPARED[rule](column, F.lit(format(exact, "f")).cast(value.kind))
            case _:
                text = moment_text(value.kind, limit) if isinstance(limit, date) else str(limit)
                return _COMPARED[rule](column, F.lit(text).cast(value.kind))

    return broken


def _among(value: PromisedValue, allowed: Sequence[Any], *, is_strict: bool) -> Column:
    """Whether a value is one of these, each of them in its type."""
    from pyspark.sql import functions as F

    of = value_kind(value.kind)
    given: list[Column] = []
    for one in allowed:
        if one is None:
            continue
        try:
            if of is None:
                given.append(_as_text(value.kind, one))
                continue
            given += [F.lit(text).cast(value.kind) for text in values_in(value.kind, of, one)]
        except WrongValue:
            # What a column can't have is not missing there, as '' in one of numbers.
            if is_strict or of == "text":
                raise
    column = value.column.cast("string") if of is None else value.column
    return column.isin(*given) if given else F.lit(False) & column.isNotNull()


def _as_text(kind: DataType, one: Any) -> Column:
    from pyspark.sql import functions as F
    from pyspark.sql.types import BinaryType, TimeType

    if not isinstance(kind, (BinaryType, TimeType)):
        raise WrongValue(f"nothing is compared with values of the type {kind.simpleString()}", "take the rule out")
    return F.lit(str(one))


def _missing(value: PromisedValue, unwanted: Sequence[Any]) -> Column:
    from pyspark.sql import functions as F

    is_null = value.column.isNull() if None in unwanted else F.lit(False)
    return is_null | F.coalesce(_among(value, unwanted, is_strict=False), F.lit(False))


def _repeats(value: PromisedValue) -> Column:
    from pyspark.sql import functions as F

    return F.size(value.column) > F.size(F.array_distinct(value.column))


def _length(value: PromisedValue) -> Column:
    from pyspark.sql import functions as F

    return F.char_length(value.column.cast("string"))


def _size(value: PromisedValue) -> Column:
    from pyspark.sql import functions as F

    return F.size(value.column)


def _bytes(value: PromisedValue) -> Column:
    from pyspark.sql import functions as F

    return F.octet_length(value.column)


def _remainder(value: PromisedValue, step: Any) -> Column:
    from pyspark.sql import functions as F

    return value.column % F.lit(Decimal(step))


_COMPARED: Mapping[RuleKind, Callable[[Column, Column], Column]] = {
    "minimum": lambda column, limit: column < limit,
    "maximum": lambda column, limit: column > limit,
    "above": lambda column, limit: column <= limit,
    "below": lambda column, limit: column >= limit,
}
_CONDITIONS: Mapping[RuleKind, Callable[[PromisedValue, Any], Column]] = {
    **{rule: _limited(rule) for rule in _COMPARED},
    "notNull": lambda value, _: value.outer & value.column.isNull(),
    "multipleOf": lambda value, step: _remainder(value, step) != 0,
    "minLength": lambda value, least: _length(value) < least,
    "maxLength": lambda value, most: _length(value) > most,
    "maxBytes": lambda value, most: _bytes(value) > most,
    "pattern": lambda value, pattern: ~value.column.cast("string").rlike(pattern),
    "oneOf": lambda value, allowed: ~_among(value, allowed, is_strict=True),
    "noneOf": _missing,
    "minItems": lambda value, least: value.column.isNotNull() & (_size(value) < least),
    "maxItems": lambda value, most: value.column.isNotNull() & (_size(value) > most),
    "uniqueItems": lambda value, _: value.column.isNotNull() & _repeats(value),
}
