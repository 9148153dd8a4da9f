"""Stand-ins for sensitive values."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from pyspark.sql import types as T

from pipeline_platform.testing.stand_ins import StandIns, single_values


def test_the_same_value_has_the_same_stand_in_and_none_is_a_real_value() -> None:
    texts = ["ann@example.com", "bo@example.com", "ann@example.com", *map(str, range(10))]
    stand_ins = StandIns(frozenset(texts))
    made = [stand_ins.hide(text, T.StringType()) for text in texts]
    assert made[0] == made[2] != made[1]
    assert len(set(made)) == len(set(texts))
    assert not set(made) & set(texts)
    assert [one if not one.isalpha() else "a" for one in made[0]] == [
        one if not one.isalpha() else "a" for one in texts[0]
    ]


def test_numbers_fit_the_same_types_and_those_that_are_equal_stay_equal() -> None:
    real = [7, 127, 32767, 2147483647, 9223372036854775807, -40]
    stand_ins = StandIns(frozenset(single_values(real, T.LongType())))
    made = [stand_ins.hide(number, T.LongType()) for number in real]
    assert not set(made) & set(real)
    for number, least in zip(made, (1, 100, 10_000, 10**9, 10**18), strict=False):
        assert least <= number
    assert [len(str(one)) for one in made] == [len(str(one)) for one in real]
    assert made[1] < 128
    assert made[2] < 32768
    assert made[3] < 2**31
    assert made[4] < 2**63
    assert stand_ins.hide(7.0, T.DoubleType()) == made[0]
    assert str(stand_ins.hide(Decimal("7.00"), T.DecimalType(9, 2))) == f"{made[0]}.00"
    exact = Decimal("12345678901234567890123456789012345.678")
    assert stand_ins.hide(exact, T.DecimalType(38, 3)).as_tuple().exponent == -3


def test_each_type_keeps_its_own_and_what_tells_nothing_stays() -> None:
    stand_ins = StandIns(frozenset())
    kinds: list[tuple[Any, T.DataType]] = [
        (date(1, 1, 1), T.DateType()),
        (datetime(2024, 1, 1, tzinfo=UTC), T.TimestampType()),
        (datetime(2024, 1, 1), T.TimestampNTZType()),
        (b"secret", T.BinaryType()),
        (0.5, T.DoubleType()),
    ]
    for value, kind in kinds:
        made = stand_ins.hide(value, kind)
        assert type(made) is type(value)
        assert made != value
        assert getattr(made, "tzinfo", None) == getattr(value, "tzinfo", None)
    for value, kind in ((None, T.StringType()), ("", T.StringType()), (math.inf, T.DoubleType())):
        assert stand_ins.hide(value, kind) == value
    nested = T.StructType([T.StructField("m", T.MapType(T.StringType(), T.ArrayType(T.StringType())))])
    hidden = stand_ins.hide({"m": [("Ann", ["ann"])]}, nested)
    assert "nn" not in str(hidden)


def test_a_text_in_another_column_has_no_part_that_is_hidden() -> None:
    stand_ins = StandIns(frozenset({"ann@example.com"}))
    made = stand_ins.hide("ann@example.com", T.StringType())
    assert stand_ins.elsewhere("mail ann@example.com", T.StringType()) == f"mail {made}"
    assert stand_ins.elsewhere("mail ANN@Example.com\\1", T.StringType()) == f"mail {made}\\1"
