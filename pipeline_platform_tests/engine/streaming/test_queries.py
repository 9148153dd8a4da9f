"""The queries of a run, on Spark's own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from pyspark.errors import StreamingQueryException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from pipeline_platform.engine.streaming.queries import Queries, new_progress
from pipeline_platform.metrics.stream import stream_progress


def begun(spark: SparkSession, name: str, take: Callable[[DataFrame, int], None] = lambda *_: None) -> StreamingQuery:
    rows = spark.readStream.format("rate").option("rowsPerSecond", 10).load()
    return rows.writeStream.foreachBatch(take).trigger(processingTime="100 milliseconds").queryName(name).start()


def test_queries_are_found_by_name_and_stopped_together(spark: SparkSession):
    queries = Queries()
    assert (queries.names, queries.has_active(), queries.named("one")) == ([], False, None)
    one, two = begun(spark, "one"), begun(spark, "two")
    queries.register("one", one)
    queries.register("two", two)
    assert queries.names == ["one", "two"]
    assert queries.named("one") is one
    assert queries.has_active()
    with pytest.raises(ValueError, match="'one' is already active"):
        queries.register("one", two)
    assert not queries.await_termination(0.2)
    queries.stop_all()
    assert not queries.has_active()
    assert queries.await_termination(0)
    assert spark.streams.active == []
    queries.register("one", two)


def test_a_query_is_stopped_after_its_micro_batch_and_not_within_it(spark: SparkSession):
    begins, may_end, ends = threading.Event(), threading.Event(), threading.Event()

    def take(_: DataFrame, number: int) -> None:
        if number == 1:
            begins.set()
            may_end.wait(60)
            ends.set()

    queries = Queries()
    queries.register("slow", begun(spark, "slow", take))
    assert begins.wait(60)
    threading.Timer(0.5, may_end.set).start()
    queries.stop_all()
    assert ends.is_set()


def test_the_progress_of_a_query_is_new_until_it_was_told(spark: SparkSession):
    query = begun(spark, "told")
    query.processAllAvailable()
    query.stop()
    reported = new_progress(query, None)
    assert reported is not None
    told = stream_progress(reported)
    assert new_progress(query, told.at) is None
    assert new_progress(query, told.at - timedelta(milliseconds=1)) == reported


def test_waiting_for_a_query_that_fails_raises_what_it_failed_at(spark: SparkSession):
    def take(*_: object) -> None:
        raise ValueError("sesame")

    queries = Queries()
    queries.register("broken", begun(spark, "broken", take))
    with pytest.raises(StreamingQueryException, match="sesame"):
        queries.await_termination(60)
    assert not queries.has_active()
