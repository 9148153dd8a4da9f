"""The UI as a person sees it, in headless Chromium: the graph, the checks and the metadata."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from devtools.services.process import free_port
from pipeline_platform_tests.orchestration.browser import OpenPage

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
def home(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A Dagster instance in which two examples have been run, the second with broken rules; for pictures all."""
    home = tmp_path_factory.mktemp("home")
    shutil.copy(ROOT / "dagster.yaml", home)
    environment = {**os.environ, "DAGSTER_HOME": str(home)}
    for job in EVERY_EXAMPLE if request.config.getoption("--pictures") else ("flights", "flight_quality"):
        command = [sys.executable, "-m", "dagster", "job", "execute", "-m", "pipeline_platform.definitions", "-j", job]
        subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, timeout=600)
    return home


@pytest.fixture(scope="module")
def address(home: Path) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "dagster_webserver", "-h", "127.0.0.1", "-p", str(port), "-w", "workspace.yaml"]
    log = (home / "webserver.log").open("w")
    server = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "DAGSTER_HOME": str(home)},
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until_it_answers(f"{url}/server_info", server)
        yield url
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)
        log.close()


def wait_until_it_answers(url: str, server: subprocess.Popen[Any]) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        assert server.poll() is None, "the webserver ended"
        try:
            with urlopen(url, timeout=5):
                return
        except (URLError, ConnectionError):
            time.sleep(0.3)
    raise TimeoutError(url)


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


def test_a_load_shows_rows_schema_uri_and_version(look: Callable[..., str]):
    look("/assets/flights/to_delta_lake?view=overview", "speed_mph", "327", picture="asset")
