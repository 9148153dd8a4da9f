"""Avro, as the platform knows it."""

from __future__ import annotations

from pipeline_platform.connectors.avro.sink import ToAvro
from pipeline_platform.connectors.avro.source import FromAvro
from pipeline_platform.connectors.connector import Connector

CONNECTOR = Connector(name="avro", methods=(FromAvro, ToAvro), jars=("org.apache.spark:spark-avro_2.13:4.1.1",))
