"""The servers as fixtures: one of each for the whole test process, started when the first test asks for it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

import pytest

from devtools.services.hive_metastore import HiveMetastore, start_hive_metastore
from devtools.services.kafka import Kafka, start_kafka
from devtools.services.mariadb import MariaDB, start_mariadb
from devtools.services.postgres import Postgres, start_postgres
from devtools.services.process import REQUIRED_VARIABLE, ServerUnavailableError
from devtools.services.prometheus import Pushgateway, start_pushgateway
from devtools.services.s3 import S3Server, start_s3
from devtools.services.schema_registry import SchemaRegistry, start_schema_registry
from devtools.services.vault import VaultServer, start_vault


class Stoppable(Protocol):
    """A server."""

    def stop(self) -> None:
        """End it."""
        ...


_Server = TypeVar("_Server", bound=Stoppable)


def running(start: Callable[[], _Server]) -> Iterator[_Server]:
    """A server for as long as it is needed; the test is skipped, or fails, where it can't be had."""
    try:
        server = start()
    except ServerUnavailableError as error:
        if os.environ.get(REQUIRED_VARIABLE) == "1":
            raise
        pytest.skip(str(error))
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    yield from running(start_postgres)


@pytest.fixture(scope="session")
def mysql() -> Iterator[MariaDB]:
    yield from running(start_mariadb)


@pytest.fixture(scope="session")
def kafka() -> Iterator[Kafka]:
    yield from running(start_kafka)


@pytest.fixture(scope="session")
def schema_registry() -> Iterator[SchemaRegistry]:
    yield from running(start_schema_registry)


@pytest.fixture(scope="session")
def hive_metastore() -> Iterator[HiveMetastore]:
    yield from running(start_hive_metastore)


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    yield from running(start_s3)


@pytest.fixture(scope="session")
def vault() -> Iterator[VaultServer]:
    yield from running(start_vault)


@pytest.fixture(scope="session")
def pushgateway() -> Iterator[Pushgateway]:
    yield from running(start_pushgateway)
