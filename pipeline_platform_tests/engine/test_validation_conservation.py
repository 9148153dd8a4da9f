"""No validation loses a row or makes one: what is let through and what is taken out are what there was.

Random rows and random rules; what each rule takes out is held against a few lines of plain Python.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from pipeline_platform.engine.validation import REASONS, taken_by
from pipeline_platform.engine.validation_run import run_block
from pipeline_platform.steps.validate import Validate
from pipeline_platform_tests.duckdb_rows import comparable, frame_of
from pipeline_platform_tests.validations.blocks import interpreted, planned, validation

SCHEMA = "k INT, x DOUBLE, s STRING"
KEYS = [1, 2, 2]
"""Values of the referenced frame."""

# An example costs Spark jobs: to shrink a failing one would take minutes.
PHASES = (Phase.explicit, Phase.generate)

Row = tuple[int | None, float | None, str | None]


@dataclass(frozen=True)
class Check:
    """A validation, and which of some rows break it."""

    method: str
    config: dict[str, Any]
    broken: Callable[[list[Row]], list[bool]]

    def made(self, on_failure: str) -> Validate:
        return validation(self.method, **self.config, onFailure=on_failure)


def _each(condition: Callable[[Row], bool]) -> Callable[[list[Row]], list[bool]]:
    return lambda rows: [condition(row) for row in rows]


def _repeated(*places: int) -> Callable[[list[Row]], list[bool]]:
    def key(row: Row) -> tuple[Any, ...]:
        # NaN equals NaN and -0.0 equals 0.0, as in Spark and DuckDB.
        values = [row[p] for p in places]
        return tuple("NaN" if isinstance(value, float) and math.isnan(value) else value for value in values)

    def broken(rows: list[Row]) -> list[bool]:
        counts = Counter(map(key, rows))
        return [None not in key(row) and counts[key(row)] > 1 for row in rows]

    return broken


def _outside(x: float | None, low: float, high: float) -> bool:
    return x is not None and not low <= x <= high


CHECKS = [
    Check("validateNulls", {"notNullColumns": ["k", "S"]}, _each(lambda row: row[0] is None or row[2] is None)),
    Check("validateRanges", {"ranges": {"x": {"min": -1, "max": 1}}}, _each(lambda row: _outside(row[1], -1, 1))),
    Check("validateUnique", {"columns": "k"}, _repeated(0)),
    Check("validateUnique", {"columns": ["x", "s"]}, _repeated(1, 2)),
    Check(
        "validateReferentialIntegrity",
        {"foreignKey": "k", "referencedDataFrame": "keys", "referencedColumn": "key"},
        _each(lambda row: row[0] is not None and row[0] not in KEYS),
    ),
    Check(
        "validateBusinessRules",
        {"rules": ["s <> 'a'", {"name": "small", "rule": "k < 3"}]},
        _each(lambda row: row[2] == "a" or (row[0] is not None and row[0] >= 3)),
    ),
]

ROWS = st.lists(
    st.tuples(
        st.one_of(st.none(), st.integers(0, 3)),
        st.one_of(st.none(), st.sampled_from([0.0, -0.0, 0.5, -2.0, math.nan, math.inf])),
        st.one_of(st.none(), st.sampled_from(["a", "b", ""])),
    ),
    max_size=16,
)
BLOCKS = st.lists(
    st.tuples(st.sampled_from(CHECKS), st.sampled_from(["quarantine", "quarantine", "warn", "fail"])),
    min_size=1,
    max_size=4,
)


@pytest.fixture(scope="module")
def quick(spark: SparkSession) -> Iterator[SparkSession]:
    with interpreted(spark):
        yield spark


def assert_conserves(spark: SparkSession, rows: list[Row], block: list[tuple[Check, str]]) -> None:
    frame = frame_of(spark, rows, SCHEMA).repartition(2)
    keys = frame_of(spark, [(key,) for key in KEYS], "key INT")
    flagged = planned(frame, *(check.made(on_failure) for check, on_failure in block), named={"keys": keys})
    result = run_block(flagged)
    taken_rows = [] if result.violators is None else taken_by(result.violators, list(result.rules)).collect()
    if result.violators is not None:
        result.violators.unpersist()
    seen, in_quarantine = rows, 0
    for step, (check, on_failure) in enumerate(block, 1):
        broken = check.broken(seen)
        taken = [row for row, breaks in zip(seen, broken, strict=True) if breaks]
        assert result.rows[step] == len(seen)
        assert max(rule.violations for rule in result.rules[step]) <= len(taken)
        assert sum(rule.violations for rule in result.rules[step]) >= len(taken)
        assert all(bool(rule.samples) == bool(rule.violations) for rule in result.rules[step])
        if on_failure != "quarantine":
            continue
        assert result.quarantined[step] == len(taken)
        found = [row[:-1] for row in taken_rows if row[REASONS][0].startswith(f"check_{step}: ")]
        assert comparable(found) == comparable(taken)
        in_quarantine += len(found)
        seen = [row for row, breaks in zip(seen, broken, strict=True) if not breaks]
    assert comparable(flagged.survivors().collect()) == comparable(seen)
    assert len(seen) + in_quarantine == len(seen) + len(taken_rows) == len(rows)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: f"{check.method}-{len(str(check.config))}")
def test_each_validation_conserves_rows(quick: SparkSession, check: Check):
    @settings(max_examples=3, deadline=None, derandomize=True, database=None, phases=PHASES)
    @given(rows=ROWS)
    def conserves(rows: list[Row]) -> None:
        assert_conserves(quick, rows, [(check, "quarantine")])

    conserves()


@settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    database=None,
    phases=PHASES,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(rows=ROWS, block=BLOCKS)
def test_several_validations_together_conserve_rows(quick: SparkSession, rows: list[Row], block: Any):
    assert_conserves(quick, rows, block)
