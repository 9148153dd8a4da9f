"""Numbers in a topic, and a stream that loads them."""

from __future__ import annotations

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from devtools.services.kafka import Kafka


class Numbers:
    """Numbered events that are produced the whole time."""

    def __init__(self, kafka: Kafka, topic: str) -> None:
        self.produced = 0
        self._topic = topic
        # A number that is sent twice by the producer would not be the stream's fault.
        self._producer = Producer({"bootstrap.servers": kafka.address, "enable.idempotence": True})
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._produce)

    def _produce(self) -> None:
        while not self._stop.wait(0.02):
            value = json.dumps({"id": self.produced, "kind": "odd" if self.produced % 10 == 1 else "even"})
            self._producer.produce(self._topic, value)
            self.produced += 1
            self._producer.poll(0)

    @contextmanager
    def flowing(self) -> Generator[None]:
        """Produce while the block lasts; afterwards everything has arrived."""
        self._thread.start()
        try:
            yield
        finally:
            self._stop.set()
            self._thread.join()
            assert self._producer.flush(60) == 0


def plain_flow(kafka: Kafka, folder: Path, topic: str = "numbers") -> dict[str, Any]:
    """JSON values of a topic, filtered, into one table: Spark's own sink."""
    source = {
        "bootstrap.servers": kafka.address,
        "topic": topic,
        "startingOffsets": "earliest",
        "valueFormat": "json",
        "valueSchema": "id BIGINT, kind STRING",
    }
    return {
        "name": "flow",
        "mode": "streaming",
        "streaming": {"checkpointRoot": str(folder / "checkpoints"), "restartDelaySeconds": 1},
        "steps": [
            {"type": "extract", "method": "fromKafka", "config": source},
            {"type": "transform", "method": "filterRows", "config": {"condition": "id >= 0"}},
            {"type": "load", "method": "toDeltaLake", "config": {"path": str(folder / "delta"), "trigger": "1 second"}},
        ],
    }
