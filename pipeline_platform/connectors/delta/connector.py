"""Delta Lake, as the platform knows it."""

from __future__ import annotations

from pipeline_platform.connectors.connector import Connector
from pipeline_platform.connectors.delta.errors import RULES
from pipeline_platform.connectors.delta.sink import ToDeltaLake
from pipeline_platform.connectors.delta.source import FromDeltaLake

CONNECTOR = Connector(
    name="delta",
    methods=(FromDeltaLake, ToDeltaLake),
    jars=("io.delta:delta-spark_4.1_2.13:4.4.0",),
    kinds={"delta": "deltalake"},
    rules=RULES,
)
