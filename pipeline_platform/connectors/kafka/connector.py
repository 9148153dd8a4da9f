"""Kafka, as the platform knows it."""

from __future__ import annotations

from pipeline_platform.connectors.connector import Connector
from pipeline_platform.connectors.kafka.discovery import KafkaDiscovery
from pipeline_platform.connectors.kafka.errors import RULES
from pipeline_platform.connectors.kafka.sink import ToKafka
from pipeline_platform.connectors.kafka.source import FromKafka

CONNECTOR = Connector(
    name="kafka",
    methods=(FromKafka, ToKafka),
    jars=("org.apache.spark:spark-sql-kafka-0-10_2.13:4.1.1",),
    rules=RULES,
    discovery=KafkaDiscovery(),
)
