"""Spark's source of generated rows, as the platform knows it."""

from __future__ import annotations

from pipeline_platform.connectors.connector import Connector
from pipeline_platform.connectors.rate.source import FromRate

CONNECTOR = Connector(name="rate", methods=(FromRate,))
