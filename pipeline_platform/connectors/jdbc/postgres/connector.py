"""PostgreSQL, as the platform knows it."""

from __future__ import annotations

from pipeline_platform.connectors.connector import Connector
from pipeline_platform.connectors.jdbc.errors import RULES
from pipeline_platform.connectors.jdbc.names import server_and_table
from pipeline_platform.connectors.jdbc.postgres.discovery import PostgresDiscovery
from pipeline_platform.connectors.jdbc.postgres.sink import ToPostgres
from pipeline_platform.connectors.jdbc.postgres.source import FromPostgres

CONNECTOR = Connector(
    name="postgres",
    methods=(FromPostgres, ToPostgres),
    jars=("org.postgresql:postgresql:42.7.7",),
    rules=RULES,
    dataset_names={"postgres": server_and_table},
    discovery=PostgresDiscovery(),
)
