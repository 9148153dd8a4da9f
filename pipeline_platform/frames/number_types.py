"""Spark's types of numbers, by what systems call them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pipeline_platform.config.contracts.physical_type import Kind

if TYPE_CHECKING:
    from pyspark.sql.types import DataType


def number_type(kind: Kind) -> DataType | None:
    """The type of numbers of a kind; None for decimals, whose digits it does not tell, and for what is no number.

    Args:
        kind: Of a physical type.
    """
    from pyspark.sql import types as T

    numbers: Mapping[Kind, DataType] = {
        "tinyint": T.ByteType(),
        "smallint": T.ShortType(),
        "int": T.IntegerType(),
        "bigint": T.LongType(),
        "float": T.FloatType(),
        "double": T.DoubleType(),
    }
    return numbers.get(kind)
