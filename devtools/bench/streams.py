"""`python -m devtools.bench.streams`: JSON events of Kafka to Delta, against scripts, and how late they arrive.

`throughput`: what is in the topic is read to its end, in one warm session. `latency`: events are produced the whole
time, and read as they become readable in Delta, by a process of their own. `log`: what a stream under Dagster adds to
the event log.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from confluent_kafka import Producer
from deltalake import DeltaTable
from pyspark.sql import DataFrame, SparkSession

from devtools.bench.ratios import report
from devtools.bench.systems import HEADING, Bench, Job, measure
from devtools.pipelines import StepValue, extract, load, pipeline_of, pipeline_text, transform, validate
from devtools.services.kafka import Kafka, start_kafka
from pipeline_platform.engine.spark.session import spark_session
from pipeline_platform.engine.streaming.stream import StreamRun
from pipeline_platform.engine.streaming.stream_state import STREAMS_VARIABLE

SCHEMA = "id BIGINT, kind STRING, user BIGINT, amount DOUBLE, produced DOUBLE"
CONDITION = "kind <> 'view'"
PARTITIONS = 4
BATCH = 500_000


def fill(bench: Bench, kafka: Kafka) -> None:
    """Put the events into the topic."""
    kafka.make_topic("events", PARTITIONS)
    events = bench.spark.range(bench.rows).selectExpr(
        "id",
        "element_at(array('view', 'cart', 'purchase'), int(id % 3) + 1) AS kind",
        "id % 1000 AS user",
        "double(id % 500) AS amount",
    )
    messages = events.selectExpr("CAST(id AS STRING) AS key", "to_json(struct(*)) AS value")
    messages.write.format("kafka").option("kafka.bootstrap.servers", kafka.address).option("topic", "events").mode(
        "append"
    ).save()


def parsed(spark: SparkSession, kafka: Kafka) -> DataFrame:
    """The stream of events, as a script has it."""
    options = {"kafka.bootstrap.servers": kafka.address, "subscribe": "events", "startingOffsets": "earliest"}
    records = spark.readStream.format("kafka").options(**options, maxOffsetsPerTrigger=BATCH).load()
    kept = ("key", "topic", "partition", "offset", "timestamp")
    value = f"from_json(CAST(value AS STRING), '{SCHEMA}') AS parsed"
    return (
        records.selectExpr("CAST(key AS STRING) AS key", *kept[1:], value).select(*kept, "parsed.*").filter(CONDITION)
    )


def source(kafka: Kafka, **config: Any) -> list[StepValue]:
    """The same as steps."""
    keys = {"topic": "events", "valueFormat": "json", "valueSchema": SCHEMA, "bootstrap.servers": kafka.address}
    return [
        extract("fromKafka", startingOffsets="earliest", **keys, **config),
        transform("filterRows", condition=CONDITION),
    ]


def jobs(bench: Bench, kafka: Kafka) -> list[Job]:
    """One plain load, and two loads behind three validations."""
    out, checkpoint = f"{bench.out}/delta", f"{bench.out}/checkpoint"

    def script() -> None:
        writer = parsed(bench.spark, kafka).writeStream.format("delta").option("checkpointLocation", checkpoint)
        writer.option("path", out).trigger(availableNow=True).start().awaitTermination()

    def script_of_two() -> None:
        def take(batch: DataFrame, number: int) -> None:
            batch.persist()
            rules = ("id IS NULL", "kind IS NULL", "amount < 0 OR amount > 1000")
            broken = batch.selectExpr(*(f"count_if({rule})" for rule in rules)).first()
            if broken is None or any(broken):
                raise ValueError(broken)
            transaction = {"txnAppId": "bench", "txnVersion": number}
            batch.write.format("delta").mode("append").options(**transaction).save(out)
            batch.write.mode("append").parquet(f"{bench.out}/files")
            batch.unpersist()

        writer = parsed(bench.spark, kafka).writeStream.foreachBatch(take).option("checkpointLocation", checkpoint)
        writer.trigger(availableNow=True).start().awaitTermination()

    def platform(*steps: StepValue, **config: Any) -> None:
        sink = load("toDeltaLake", path=out, trigger="availableNow", checkpointLocation=checkpoint)
        first = source(kafka, maxOffsetsPerTrigger=BATCH, **config)
        files = [step for step in steps if step["type"] == "load"]
        rules = [step for step in steps if step["type"] == "validate"]
        StreamRun(pipeline_of([*first, *rules, sink, *files], mode="streaming"), bench.spark).run()

    two = [
        validate("validateNulls", notNullColumns=["id", "kind"]),
        validate("validateRanges", ranges={"amount": {"min": 0, "max": 1000}}),
        validate("validateBusinessRules", rules=["user >= 0"]),
        load("toFiles", path=f"{bench.out}/files", format="parquet"),
    ]
    return [
        Job("plain, malformed to NULL as in the script", script, lambda: platform(onMalformed="null")),
        Job("plain, malformed values stop it", script, lambda: platform()),
        Job("two sinks, three validations", script_of_two, lambda: platform(*two, onMalformed="null")),
    ]


def throughput(events: int, rounds: int) -> None:
    """Print what the platform and the scripts took."""
    spark = spark_session("bench")
    print(f"| {events:,} events | {HEADING}")
    with tempfile.TemporaryDirectory(prefix="bench-") as name, ExitStack() as servers:
        bench = Bench(spark, Path(name), events)
        # What is known of a stream goes with its checkpoint after each round; it would not start over otherwise.
        os.environ[STREAMS_VARIABLE] = f"{bench.out}/streams"
        kafka = start_kafka()
        servers.callback(kafka.stop)
        fill(bench, kafka)
        ratios = [measure(job, bench, rounds) for job in jobs(bench, kafka)]
    spark.stop()
    report("streams", ratios)


def latency(rate: int, seconds: float) -> None:
    """Print how long it took from an event's being produced to its being readable in Delta."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name, ExitStack() as servers:
        folder = Path(name)
        kafka = start_kafka()
        servers.callback(kafka.stop)
        kafka.make_topic("events", PARTITIONS)
        sink = load(
            "toDeltaLake", path=f"{folder}/delta", trigger="1 second", checkpointLocation=f"{folder}/checkpoint"
        )
        file = folder / "stream.json"
        file.write_text(pipeline_text([*source(kafka), sink], mode="streaming"))
        producing = threading.Event()
        producer = threading.Thread(target=_produce, args=(kafka, rate, producing))
        command = [str(Path(sys.executable).with_name("pipeline-platform")), "run", str(file)]
        stream = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            producer.start()
            found = _arrivals(folder / "delta", warm_up_seconds=30, seconds=seconds)
        finally:
            producing.set()
            producer.join()
            stream.terminate()
            stream.wait()
    cuts = statistics.quantiles(found, n=100)
    told = ", ".join(f"p{percent} {cuts[percent - 1]:.2f} s" for percent in (50, 95, 99))
    print(f"{rate:,} events/s, trigger 1 second, {len(found):,} events: {told}")


def _produce(kafka: Kafka, rate: int, until: threading.Event) -> None:
    producer = Producer({"bootstrap.servers": kafka.address, "linger.ms": 5, "queue.buffering.max.messages": 1_000_000})
    sent, began = 0, time.time()
    while not until.wait(0.01):
        due = int((time.time() - began) * rate)
        for number in range(sent, due):
            event = {"id": number, "kind": "cart", "user": number % 1000, "amount": 1.0, "produced": time.time()}
            producer.produce("events", json.dumps(event))
        sent = due
        producer.poll(0)
    producer.flush(30)


def _arrivals(table: Path, warm_up_seconds: float, seconds: float) -> list[float]:
    """Latencies of the events of all commits after the first one and the time to warm up."""
    while not DeltaTable.is_deltatable(str(table)):
        time.sleep(0.05)
    found: list[float] = []
    delta, began = DeltaTable(table), time.time()
    seen = set(delta.file_uris())
    while time.time() < began + warm_up_seconds + seconds:
        version = delta.version()
        delta.update_incremental()
        now = time.time()
        if delta.version() == version:
            time.sleep(0.05)
            continue
        new = set(delta.file_uris()) - seen
        seen |= new
        if now > began + warm_up_seconds:
            for path in new:
                found += [now - produced for produced in _produced(path)]
    return found


def _produced(path: str) -> list[float]:
    """When the events of a file were produced."""
    parquet: Any = pq
    return parquet.read_table(path, columns=["produced"])["produced"].to_pylist()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="bench.streams", description=__doc__)
    parser.add_argument("what", nargs="*", choices=["throughput", "latency", []], help="by default both")
    parser.add_argument("--events", type=int, default=2_000_000, help="events in the topic, by default 2 million")
    parser.add_argument("--rounds", type=int, default=5, help="measured rounds, by default 5, after one to warm up")
    parser.add_argument("--rate", type=int, default=10_000, help="events produced a second, by default 10,000")
    parser.add_argument("--seconds", type=float, default=60, help="for how long latency is measured, by default 60")
    options = parser.parse_args(arguments)
    if "throughput" in (options.what or ["throughput"]):
        throughput(options.events, options.rounds)
    if "latency" in (options.what or ["latency"]):
        latency(options.rate, options.seconds)


if __name__ == "__main__":
    main()
