"""The UI as a person sees it, in headless Chromium: the graph, the checks and the metadata."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

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


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


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


def wait_until_it_answers(url: str, server: subprocess.Popen) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        assert server.poll() is None, "the webserver ended"
        try:
            with urlopen(url, timeout=5):
                return
        except (URLError, ConnectionError):
            time.sleep(0.3)
    raise TimeoutError(url)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory):
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    for flag in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--window-size=1600,900",
        f"--user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    yield driver
    driver.quit()


@pytest.fixture
def look(browser, address: str, request: pytest.FixtureRequest):
    """Open a page, wait for texts on it, and keep a picture where `--pictures` says so."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    def open_page(path: str, *texts: str, picture: str) -> str:
        browser.get(f"{address}{path}")
        for text in texts:
            WebDriverWait(browser, 40).until(
                lambda driver, text=text: text in driver.find_element(By.TAG_NAME, "body").text,
                f"'{text}' does not show at {path}",
            )
        pictures = request.config.getoption("--pictures")
        if pictures:
            # The graph is laid out and zoomed after its texts are there, by an animation with no end to wait for.
            time.sleep(3)
            Path(pictures).mkdir(parents=True, exist_ok=True)
            browser.save_screenshot(str(Path(pictures) / f"{picture}.png"))
        return browser.find_element(By.TAG_NAME, "body").text

    return open_page


LOCATION = "/locations/pipeline_platform.definitions"


def test_the_lineage_graph_shows_the_pipelines_and_what_they_read(look):
    look("/asset-groups", "sources", "flights", "flight_weather", "planes_avro_evolution", picture="lineage")


def test_the_graph_of_a_pipeline_shows_its_steps(look):
    look(f"{LOCATION}/asset-groups/flight_weather/lineage", "flights_in_weather", "delay_by_month", picture="pipeline")


def test_a_validation_shows_as_a_check_with_its_rules(look):
    page = look("/assets/flight_quality/raw_flights?view=checks", "validate_nulls", "validate_unique", picture="checks")
    assert "validate_referential_integrity" in page


def test_a_load_shows_rows_schema_uri_and_version(look):
    look("/assets/flights/to_delta_lake?view=overview", "speed_mph", "327", picture="asset")
