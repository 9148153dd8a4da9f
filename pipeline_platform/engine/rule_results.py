"""What came of the rules of a validation: whether they passed, and a few of the rows that broke them."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

from pipeline_platform.frames.columns import quoted
from pipeline_platform.metrics.run import RuleMetrics
from pipeline_platform.redacted_values import redacted_value
from pipeline_platform.redaction import MASK
from pipeline_platform.steps.validate import Rule, RuleResult, Validate

if TYPE_CHECKING:
    from pyspark.sql import Column

SAMPLES = ("min", "max", "other")
"""Which of the rows that break a rule are shown."""
# Spark leaves out NULL otherwise, and what a time has beyond its milliseconds.
_SAMPLE_FORMAT = {
    "ignoreNullFields": "false",
    "timestampFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX",
    "timestampNTZFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSS",
}


def judged(config: Validate, results: Sequence[RuleResult], rows: int | None) -> list[RuleMetrics]:
    """The results of a validation's rules, with whether no more rows broke them than it tolerates.

    Args:
        config: The validation.
        results: What came of its rules.
        rows: Rows looked at; None where only the schema was.
    """
    # As it was written: 0.29 of 100 rows are 29, which a product of floats is not.
    tolerance = Fraction(str(config.tolerance))
    allowed = tolerance * (rows or 0) if tolerance < 1 else tolerance
    # The tolerance is about rows: a frame that has the wrong schema or size is never nearly right.
    allowed = allowed if config.as_written.traits().looks_at_rows else 0
    return [
        RuleMetrics(
            rule=result.rule,
            violations=result.violations,
            rows=result.rows,
            passed=result.violations <= allowed,
            detail=result.detail,
            samples=[redacted_value(sample) for sample in result.samples],
            measure=result.measure,
            value=result.value,
        )
        for result in results
    ]


def samples(rule: Rule, config: Validate, broken: Column, flag: str) -> list[Column]:
    """The aggregates that pick a few of the rows that break a rule, each as JSON.

    Args:
        rule: The rule.
        config: The validation that it is of.
        broken: Which rows break it.
        flag: What the aggregates are named after.
    """
    from pyspark.sql import functions as F

    sample = F.when(broken, _sample(rule, config))
    picked = (F.min(sample), F.max(sample), F.max_by(sample, F.when(broken, F.xxhash64(sample))))
    return [column.alias(f"{which}_{flag}") for which, column in zip(SAMPLES, picked, strict=True)]


def _sample(rule: Rule, config: Validate) -> Column:
    from pyspark.sql import functions as F

    shown = [
        F.lit(MASK).alias(name) if config.hides(name) else F.col(quoted(name)).alias(name) for name in rule.columns
    ]
    return F.to_json(F.struct(*shown), _SAMPLE_FORMAT) if shown else F.lit("{}")
