"""Schemas of their own for the tests of databases."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from devtools.services.mariadb import MariaDB
from devtools.services.postgres import Postgres
from pipeline_platform_tests.connectors.databases import Schema

_numbers = itertools.count(1)


def _own(server: Postgres | MariaDB) -> Iterator[Schema]:
    schema = Schema(server, f"own_{next(_numbers)}")
    schema.make()
    yield schema
    schema.drop()


@pytest.fixture
def in_postgres(postgres: Postgres) -> Iterator[Schema]:
    """A schema of PostgreSQL."""
    yield from _own(postgres)


@pytest.fixture
def in_mysql(mysql: MariaDB) -> Iterator[Schema]:
    """A database of MySQL."""
    yield from _own(mysql)


@pytest.fixture(params=["postgres", "mysql"])
def schema(request: pytest.FixtureRequest) -> Iterator[Schema]:
    """A schema of each of both, one after the other."""
    yield from _own(request.getfixturevalue(request.param))
