"""Whether rows are the same, and where they differ."""

from __future__ import annotations

import random
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_platform.testing.comparison import difference

Rows = list[tuple[Any, ...]]
_ROWS = st.lists(st.tuples(st.sampled_from([None, 1, 2]), st.sampled_from(["a", "b", None])), max_size=8)


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        ([(1, "a"), (2, "b")], [(2, "b"), (1, "a")]),
        ([(float("nan"),)], [(float("nan"),)]),
        ([(0.1 + 0.2,)], [(0.3,)]),
        ([([1, {"x": 0.30000000000000004}],)], [([1, {"x": 0.3}],)]),
        ([(None, Decimal("1.10"))], [(None, Decimal("1.1"))]),
        ([], []),
    ],
    ids=["in another order", "NaN", "a sum in another order", "nested", "null and a decimal", "none"],
)
def test_rows_are_the_same_whatever_their_order(expected: Rows, found: Rows) -> None:
    assert difference(["x", "y"], expected, found) is None


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        ([(1,)], [(1,), (1,)]),
        ([(1,)], [("1",)]),
        ([(1,)], [(True,)]),
        ([(None,)], [("",)]),
        ([(0.3,)], [(0.3001,)]),
        ([([1, 2],)], [([2, 1],)]),
        ([({"x": 1},)], [({"x": 1, "y": None},)]),
        ([(1,)], []),
    ],
    ids=["twice", "a text", "a flag", "an empty text", "not that close", "order in a list", "a field more", "none"],
)
def test_what_is_not_the_same_differs(expected: Rows, found: Rows) -> None:
    assert difference(["x"], expected, found) is not None
    assert difference(["x"], found, expected) is not None


def test_a_row_with_another_value_is_shown_beside_the_one_that_is_most_like_it() -> None:
    expected: Rows = [(1, "a", 10), (2, "b", 20), (9, "x", 90)]
    found: Rows = [(2, "b", 21), (1, "a", 10), (7, "z", 70)]
    told = difference(["id", "name", "amount"], expected, found)
    assert told is not None
    assert told.changed == [((2, "b", 20), (2, "b", 21))]
    assert told.missing == [(9, "x", 90)]
    assert told.unexpected == [(7, "z", 70)]
    assert "1 with another value, 1 missing, 1 not expected" in told.told()


@given(_ROWS, _ROWS)
def test_rows_are_the_same_exactly_where_each_is_there_as_often(expected: Rows, found: Rows) -> None:
    random.Random(1).shuffle(found)
    told = difference(["x", "y"], expected, found)
    assert (told is None) == (Counter(expected) == Counter(found))
    if told is not None:
        lost, came = Counter(expected) - Counter(found), Counter(found) - Counter(expected)
        assert Counter([*told.missing, *(wanted for wanted, _ in told.changed)]) == lost
        assert Counter([*told.unexpected, *(row for _, row in told.changed)]) == came
