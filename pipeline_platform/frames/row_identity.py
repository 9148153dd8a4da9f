"""What tells a row from any other, in little room."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.columns import HELPER_PREFIX, find_column, quoted
from pipeline_platform.frames.nested_values import types_in

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

_HASHES = (f"{HELPER_PREFIX}hash_1", f"{HELPER_PREFIX}hash_2")
IDENTITY = (*_HASHES, f"{HELPER_PREFIX}copy")
"""Columns of what tells a row from any other: two hashes of 64 bits, and which of several equal rows it is, from 1.

Of rows that have a key, where there are no equal ones, that is 0.
"""
_WITHOUT_HASH = frozenset({"map", "variant"})


def identity_columns(frame: DataFrame, names: list[str]) -> dict[str, str]:
    """The columns that tell a row from others, with their types.

    Args:
        frame: The frame.
        names: Some of its columns.

    Raises:
        PipelineExecutionException: One is of a type that has no hash.
    """
    for name in names:
        data_type = frame.schema[name].dataType
        if any(inner.typeName() in _WITHOUT_HASH for inner in types_in(data_type)):
            raise PipelineExecutionException(
                f"rows can't be told from each other by the column '{name}', {data_type.simpleString()}",
                hint="name the columns that tell them apart in 'key'",
            )
    return {name: frame.schema[name].dataType.simpleString() for name in names}


def with_identity(frame: DataFrame, columns: Mapping[str, str], *, is_key: bool) -> DataFrame:
    """The frame with the columns `IDENTITY`.

    Args:
        frame: The frame.
        columns: What tells its rows apart, as `identity_columns` has found it, perhaps when some had other types.
        is_key: Whether they are a key, so that two rows with the same are one.

    Raises:
        PipelineExecutionException: The frame has lost one of them.
    """
    from pyspark.sql import Window
    from pyspark.sql import functions as F
    from pyspark.sql import types as T

    parts: list[Column] = []
    for name, data_type in columns.items():
        found = find_column(frame.columns, name)
        if found is None:
            raise PipelineExecutionException(
                f"the source has no column '{name}' any more, by which rows that were loaded were told from new ones",
                hint="have the rows from a value on loaded again with: pipeline-platform cursor FILE --set VALUE; if "
                "'key' names the columns that tell rows apart, others may go",
            )
        value = F.col(quoted(found))
        if frame.schema[found].dataType.simpleString() != data_type:
            # The hash of a number depends on its type.
            value = value.try_cast(data_type)
        if isinstance(frame.schema[found].dataType, (T.StructType, T.ArrayType)):
            # As text, in which NULL within it has its place too.
            value = F.to_json(value, {"ignoreNullFields": "false"})
        # A NULL leaves a hash as it is, so that 1, NULL and NULL, 1 would have the same.
        parts += [value.isNull(), value]
    hashed = frame.withColumns(dict(zip(_HASHES, (F.xxhash64(*parts), F.xxhash64(F.lit(1), *parts)), strict=True)))
    if is_key:
        return hashed.withColumn(IDENTITY[-1], F.lit(0))
    same = Window.partitionBy(*_HASHES).orderBy(_HASHES[0])
    return hashed.withColumn(IDENTITY[-1], F.row_number().over(same))
