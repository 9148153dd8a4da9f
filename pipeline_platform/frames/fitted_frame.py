"""A frame that is brought to the columns of its table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pipeline_platform.frames.columns import quoted
from pipeline_platform.frames.nested_values import anywhere
from pipeline_platform.frames.schema_drift import RESCUED, Cast, Drift, Entries, Fields, Items, Shape

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import DataType, StructType

_JSON: Mapping[str, str] = {
    "timestampFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX",
    "timestampNTZFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSS",
}


def fitted_frame(frame: DataFrame, drift: Drift) -> DataFrame:
    """The frame, with the columns that its table has or gets.

    Args:
        frame: What is loaded.
        drift: How it is different.
    """
    from pyspark.sql import functions as F

    columns = [
        shaped(F.col(quoted(column.name)), column.shape).alias(column.target)
        if column.shape is not None or column.target != column.name
        else F.col(quoted(column.name))
        for column in drift.columns
    ]
    columns += [F.lit(None).cast(kind).alias(name) for name, kind in drift.nulls]
    if drift.rescued:
        columns.append(_rescued(drift.rescued, frame.schema).alias(RESCUED))
    return frame.select(*columns)


def shaped(value: Column, shape: Shape) -> Column:
    """A value as its table has it, or gets it.

    Args:
        value: The value.
        shape: What is made of it.
    """
    from pyspark.sql import functions as F

    match shape:
        case None:
            return value
        case Cast(to):
            return value.cast(to)
        case Fields(fields):
            made = [shaped(value.getField(name), inner).alias(name) for name, inner in fields]
            return F.when(value.isNotNull(), F.struct(*made))
        case Items(inner):
            return F.transform(value, lambda item: shaped(item, inner))
        case Entries(key, inner):
            made = F.transform_values(value, lambda _, item: shaped(item, inner))
            return F.transform_keys(made, lambda item, _: shaped(item, key))


def _rescued(places: Sequence[tuple[str, ...]], schema: StructType) -> Column:
    """The JSON object of the values that are not NULL; NULL if all are."""
    from pyspark.sql import functions as F

    values = [_as_utf8(_value(place), place, schema).alias(".".join(place)) for place in places]
    found = F.to_json(F.struct(*values), dict(_JSON))
    return F.when(found != "{}", found)


def _as_utf8(value: Column, place: Sequence[str], schema: StructType) -> Column:
    """A value, or an error where a text in it is not UTF-8, of which JSON would have other characters."""
    from pyspark.sql import functions as F
    from pyspark.sql.types import StringType, StructType

    kind: DataType = schema
    for name in place:
        assert isinstance(kind, StructType)
        kind = kind[name].dataType
    broken = anywhere(value, kind, lambda text, of: ~F.is_valid_utf8(text) if isinstance(of, StringType) else None)
    if broken is None:
        return value
    said = f"'newColumns' quarantine can't keep a text that is not UTF-8, which is in the column [{'.'.join(place)}]"
    return F.when(broken, F.raise_error(F.lit(said)).cast(kind)).otherwise(value)


def _value(place: Sequence[str]) -> Column:
    from pyspark.sql import functions as F

    value = F.col(quoted(place[0]))
    for name in place[1:]:
        value = value.getField(name)
    return value
