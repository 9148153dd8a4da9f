"""The UI as a person sees it, in headless Chromium: the graph, the checks and the metadata."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import pytest
from deltalake import DeltaTable

from pipeline_platform_tests.orchestration.browser import OpenPage, dagster_server

ROOT = Path(__file__).parent.parent.parent

EVERY_EXAMPLE = (
    "flights",
    "flight_quality",
    "flight_weather",
    "planes_avro",
    "planes_avro_evolution",
    "daily_traffic",
    "generated",
)

pytestmark = [
    pytest.mark.skipif(shutil.which("chromedriver") is None, reason="chromedriver is not installed"),
    pytest.mark.timeout(900),
]


@pytest.fixture(scope="module")
def project(spark_of_runs: None, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A project with the first flights, in which two examples have been run, the second with broken rules; for pictures
    all of them, on all flights.
    """
    for_pictures = bool(request.config.getoption("--pictures"))
    folder = tmp_path_factory.mktemp("flights")
    (folder / "home").mkdir()
    shutil.copy(ROOT / "dagster.yaml", folder / "home")
    shutil.copytree(ROOT / "pipelines", folder / "pipelines")
    shutil.copytree(ROOT / "data" / "nycflights13", folder / "data" / "nycflights13")
    if not for_pictures:
        with (ROOT / "data" / "nycflights13" / "flights.csv").open() as flights:
            (folder / "data" / "nycflights13" / "flights.csv").write_text("".join(islice(flights, 10_000)))
        quality = folder / "pipelines" / "flight_quality.json"
        quality.write_text(quality.read_text().replace('"min": 300000', '"min": 3000'))
    environment = {**os.environ, "DAGSTER_HOME": str(folder / "home")}
    for job in EVERY_EXAMPLE if for_pictures else ("flights", "flight_quality"):
        command = [sys.executable, "-m", "dagster", "job", "execute", "-m", "pipeline_platform.definitions", "-j", job]
        subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, timeout=600)
    return folder


@pytest.fixture(scope="module")
def address(project: Path) -> Iterator[str]:
    server = ("dagster_webserver", "-m", "pipeline_platform.definitions")
    with dagster_server(*server, folder=project, home=project / "home") as url:
        yield url


@pytest.fixture
def look(open_page: OpenPage, address: str) -> Callable[..., str]:
    """Open a page of the UI."""
    return partial(open_page, address)


LOCATION = "/locations/pipeline_platform.definitions"


def test_the_lineage_graph_shows_the_pipelines_and_what_they_read(look: Callable[..., str]):
    look("/asset-groups", "sources", "flights", "flight_weather", "planes_avro_evolution", picture="lineage")


def test_the_graph_of_a_pipeline_shows_its_steps(look: Callable[..., str]):
    look(f"{LOCATION}/asset-groups/flight_weather/lineage", "flights_in_weather", "delay_by_month", picture="pipeline")


def test_a_validation_shows_as_a_check_with_its_rules(look: Callable[..., str]):
    page = look("/assets/flight_quality/raw_flights?view=checks", "validate_nulls", "validate_unique", picture="checks")
    assert "validate_referential_integrity" in page


def test_a_load_shows_rows_schema_uri_and_version(look: Callable[..., str], project: Path):
    rows = DeltaTable(project / "data" / "lake" / "flights").to_pyarrow_table().num_rows
    look("/assets/flights/flights?view=overview", "speed_mph", f"{rows:,}", picture="asset")
