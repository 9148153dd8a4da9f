"""What all tests share: one Spark session for the whole process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pyspark.sql import SparkSession

from pipeline_platform import redaction
from pipeline_platform.engine.session import spark_session


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    session = spark_session("tests", {"spark.master": "local[2]"})
    yield session
    session.stop()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--pictures", help="Folder for pictures of the UI, taken while it is tested.")


@pytest.fixture(autouse=True)
def no_secret_of_another_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test hands out as a secret must not be masked in another."""
    monkeypatch.setattr(redaction, "_known", set())
