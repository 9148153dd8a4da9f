"""How many rows Spark's file scans gave out, from Spark's own record of its queries."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

from pyspark.sql import SparkSession


@contextmanager
def scanned_rows(spark: SparkSession, folder: str) -> Generator[list[int]]:
    """Rows of each scan of a folder that was run within, filled in at the end.

    Args:
        spark: The session.
        folder: The last part of its path.
    """
    in_java: Any = spark._jsparkSession  # pyright: ignore[reportPrivateUsage]
    store = in_java.sharedState().statusStore()
    # Not by their count: the store forgets the oldest beyond spark.sql.ui.retainedExecutions.
    before = _latest_query(store)
    found: list[int] = []
    yield found
    # The record is kept by a listener, which is told of a query a moment after it has ended.
    time.sleep(1)
    executions = store.executionsList()
    for place in range(executions.size()):
        execution = executions.apply(place)
        if execution.executionId() <= before:
            continue
        metrics = store.executionMetrics(execution.executionId())
        nodes = store.planGraph(execution.executionId()).allNodes()
        for number in range(nodes.size()):
            node = nodes.apply(number)
            if node.name().startswith("Scan parquet") and f"/{folder}]" in node.desc():
                # A query that reads from a cache lists the scan that filled it once more, without rows.
                found += [rows for rows in _output_rows(node, metrics) if rows]


def _latest_query(store: Any) -> int:
    executions = store.executionsList()
    return max((executions.apply(place).executionId() for place in range(executions.size())), default=-1)


def _output_rows(node: Any, metrics: Any) -> Iterator[int]:
    for number in range(node.metrics().size()):
        metric = node.metrics().apply(number)
        value = metrics.get(metric.accumulatorId())
        if metric.name() == "number of output rows" and value.isDefined():
            yield int(value.get().replace(",", ""))
