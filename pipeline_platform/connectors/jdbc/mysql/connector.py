"""MySQL, as the platform knows it."""

from __future__ import annotations

from pipeline_platform.connectors.connector import Connector
from pipeline_platform.connectors.jdbc.errors import RULES
from pipeline_platform.connectors.jdbc.mysql.discovery import MySQLDiscovery
from pipeline_platform.connectors.jdbc.mysql.sink import ToMySQL
from pipeline_platform.connectors.jdbc.mysql.source import FromMySQL
from pipeline_platform.connectors.jdbc.names import server_and_table

CONNECTOR = Connector(
    name="mysql",
    methods=(FromMySQL, ToMySQL),
    jars=("com.mysql:mysql-connector-j:9.3.0",),
    rules=RULES,
    dataset_names={"mysql": server_and_table},
    discovery=MySQLDiscovery(),
)
