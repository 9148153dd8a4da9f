"""What computes a column, as people are shown it."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline_platform_tests.config.reading import extract, load, pipeline, read, transform


@pytest.mark.parametrize(
    ("method", "config", "expressions"),
    [
        ("enrichData", {"columns": {"hours": "delay / 60"}}, {"hours": "delay / 60"}),
        (
            "aggregateData",
            {"groupBy": ["origin"], "aggregations": {"temp": "mean", "n": "count(*)"}},
            {"temp_avg": "avg(temp)", "n": "count(*)"},
        ),
        (
            "sqlQuery",
            {"query": "SELECT a.x, a.y AS z, sum(a.y) AS total FROM a GROUP BY 1, 2"},
            {"total": "sum(a.y)"},
        ),
        (
            "sqlQuery",
            {
                "query": "WITH b AS (SELECT x, y FROM a)\nSELECT /*+ COALESCE(2) */ x, -- of b\n"
                " percentile_disc(0.5) WITHIN GROUP (ORDER BY y DESC) middle, map(1, 2)[1] AS `of map` FROM b "
                "GROUP BY x"
            },
            {"middle": "percentile_disc(0.5) WITHIN GROUP (ORDER BY y DESC)", "of map": "map(1, 2)[1]"},
        ),
        ("sqlQuery", {"query": "SELECT x * ${env:FACTOR} AS y FROM a"}, {}),
        ("filterRows", {"condition": "x > 1"}, {}),
    ],
)
def test_each_column_that_is_computed_has_its_expression(
    method: str, config: dict[str, Any], expressions: dict[str, str]
):
    steps = [extract(path="in", format="csv", registerAs="a"), transform(method, **config), load()]
    found: Any = read(pipeline(*steps)).steps[1].config
    assert found.expressions() == expressions
