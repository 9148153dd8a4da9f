"""What holds somewhere within a value: in itself, its fields, its items, its keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from pipeline_platform.frames.columns import any_of

if TYPE_CHECKING:
    from pyspark.sql import Column
    from pyspark.sql.types import DataType

Test = Callable[["Column", "DataType"], "Column | None"]
"""Makes of a value and its type the test of this value alone; None where values of the type need none."""


def types_in(data_type: DataType) -> Iterator[DataType]:
    """The type itself, and every type in it."""
    from pyspark.sql import types as T

    yield data_type
    match data_type:
        case T.StructType():
            for field in data_type.fields:
                yield from types_in(field.dataType)
        case T.ArrayType():
            yield from types_in(data_type.elementType)
        case T.MapType():
            yield from types_in(data_type.keyType)
            yield from types_in(data_type.valueType)
        case _:
            pass


def with_leaves(data_type: DataType, leaf: Callable[[DataType], DataType]) -> DataType:
    """The type with others in place of the types in it that have none in them; keys of maps stay, all may be null.

    Args:
        data_type: The type.
        leaf: Gives the other type.
    """
    from pyspark.sql import types as T

    match data_type:
        case T.StructType():
            return T.StructType(
                [T.StructField(each.name, with_leaves(each.dataType, leaf)) for each in data_type.fields]
            )
        case T.ArrayType():
            return T.ArrayType(with_leaves(data_type.elementType, leaf))
        case T.MapType():
            return T.MapType(data_type.keyType, with_leaves(data_type.valueType, leaf))
        case _:
            return leaf(data_type)


def anywhere(value: Column, data_type: DataType, test: Test) -> Column | None:
    """Whether a value or anything in it passes the test; never null. None where no type in it needs the test.

    Args:
        value: The value.
        data_type: Its type.
        test: The test; null, as it may be for a null, counts as false.
    """
    from pyspark.sql import functions as F
    from pyspark.sql import types as T

    def among(items: Column, item_type: DataType) -> Column | None:
        # Whether the items need the test has to be known before there is an item.
        if all(test(items, inner) is None for inner in types_in(item_type)):
            return None
        return F.exists(items, lambda item: _required(anywhere(item, item_type, test)))

    inner: list[Column | None] = []
    match data_type:
        case T.StructType():
            inner = [anywhere(value.getField(field.name), field.dataType, test) for field in data_type.fields]
        case T.ArrayType():
            inner = [among(value, data_type.elementType)]
        case T.MapType():
            inner = [among(F.map_keys(value), data_type.keyType), among(F.map_values(value), data_type.valueType)]
        case _:
            pass
    found = (test(value, data_type), *inner)
    return any_of(F.coalesce(one, F.lit(False)) for one in found if one is not None)


def _required(found: Column | None) -> Column:
    assert found is not None
    return found
