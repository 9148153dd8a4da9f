"""Types are brought to one only where no value becomes another: whole numbers, for a computer, are exact or are not."""

from __future__ import annotations

import numpy as np
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import types as T

from pipeline_platform.frames.widening import holds, widen_without_loss

WHOLE: dict[T.DataType, int] = {T.ByteType(): 8, T.ShortType(): 16, T.IntegerType(): 32, T.LongType(): 64}


@pytest.mark.parametrize("whole", WHOLE, ids=lambda kind: kind.simpleString())
@pytest.mark.parametrize(
    ("floating", "held"), [(T.FloatType(), np.float32), (T.DoubleType(), np.float64)], ids=["float", "double"]
)
def test_a_whole_number_is_held_by_a_floating_point_type_if_the_largest_are(
    whole: T.DataType, floating: T.DataType, held: type[np.floating]
) -> None:
    largest = 2 ** (WHOLE[whole] - 1) - 1
    exact = all(int(held(value)) == value for value in (largest, largest - 1, -largest))
    assert widen_without_loss(whole, floating) is widen_without_loss(floating, whole) is exact


@pytest.mark.parametrize(
    ("one", "other", "fits"),
    [
        ("tinyint", "bigint", True),
        ("float", "double", True),
        ("bigint", "decimal(19,0)", True),
        ("bigint", "decimal(20,2)", True),
        ("bigint", "decimal(38,20)", False),
        ("decimal(38,0)", "decimal(38,10)", False),
        ("decimal(10,2)", "decimal(12,3)", True),
        ("decimal(5,0)", "double", True),
        ("decimal(3,1)", "double", False),
        ("date", "timestamp", True),
        ("timestamp", "timestamp_ntz", False),
        ("bigint", "string", False),
        ("boolean", "string", False),
        ("boolean", "int", False),
        ("date", "string", False),
        ("binary", "string", False),
        ("void", "string", True),
        ("array<int>", "array<bigint>", True),
        ("array<bigint>", "array<string>", False),
        ("map<string,int>", "map<string,string>", False),
        ("struct<a:int,b:string>", "struct<b:string,a:bigint>", True),
        ("struct<a:struct<b:int>>", "struct<a:struct<b:string>>", False),
    ],
)
def test_other_types_widen_where_every_value_stays_what_it_was(
    spark: SparkSession, one: str, other: str, fits: bool
) -> None:
    left, right = (spark.createDataFrame([], f"x {kind}").schema["x"].dataType for kind in (one, other))
    assert widen_without_loss(left, right) is widen_without_loss(right, left) is fits


@pytest.mark.parametrize(
    ("wanted", "found", "fits"),
    [
        (T.DecimalType(10, 2), T.DecimalType(9, 2), True),
        (T.DecimalType(10, 3), T.DecimalType(9, 2), True),
        (T.DecimalType(10, 1), T.DecimalType(8, 2), False),
        (T.DecimalType(10, 4), T.DecimalType(9, 2), False),
        (T.DecimalType(12, 2), T.IntegerType(), True),
        (T.DecimalType(11, 2), T.IntegerType(), False),
        (T.IntegerType(), T.LongType(), False),
        (T.DoubleType(), T.IntegerType(), True),
        (T.DoubleType(), T.LongType(), False),
        (T.FloatType(), T.DoubleType(), False),
        (T.IntegerType(), T.DoubleType(), False),
        (T.StringType(), T.LongType(), True),
        (T.StringType(), T.BinaryType(), False),
        (T.StringType(), T.ArrayType(T.StringType()), False),
        (T.ArrayType(T.LongType()), T.ArrayType(T.IntegerType()), True),
        (T.ArrayType(T.IntegerType()), T.ArrayType(T.LongType()), False),
        (T.MapType(T.StringType(), T.IntegerType()), T.MapType(T.StringType(), T.LongType()), False),
        (T.TimestampType(), T.DateType(), True),
        (T.DateType(), T.TimestampType(), False),
    ],
)
def test_a_type_holds_another_if_it_has_each_of_its_values_or_the_text_of_it(
    wanted: T.DataType, found: T.DataType, fits: bool
) -> None:
    assert holds(wanted, found) is fits
