"""Headless Chromium and a server of Dagster's, for the UI as a person sees it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from devtools.services.process import free_port
from devtools.services.spark_server import spark_server
from pipeline_platform.engine.spark.server import SERVER_VARIABLE, Use

_STARTS_WITHIN_SECONDS = 240
_ENDS_WITHIN_SECONDS = 60
_SHOWS_WITHIN_SECONDS = 240
"""A page may show what a run says once its JVM is there, on a machine that runs five parts of the tests at once."""


class OpenPage(Protocol):
    """Opens a page, waits for texts on it, and keeps a picture where `--pictures` says so; gives all its text."""

    def __call__(self, address: str, path: str, *texts: str, picture: str) -> str: ...


@contextmanager
def dagster_server(*command: str, folder: Path, home: Path) -> Generator[str]:
    """A server of Dagster's while the block lasts; gives its address.

    Args:
        command: A module of Python and its arguments, but the address.
        folder: Where it runs.
        home: The instance, where its log goes too.
    """
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with (home / "server.log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", *command, "-h", "127.0.0.1", "-p", str(port)],
            cwd=folder,
            env={**os.environ, "DAGSTER_HOME": str(home)},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            _wait_until_it_answers(f"{address}/server_info", server)
            yield address
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(_ENDS_WITHIN_SECONDS)


def _wait_until_it_answers(url: str, server: subprocess.Popen[Any]) -> None:
    deadline = time.monotonic() + _STARTS_WITHIN_SECONDS
    while time.monotonic() < deadline:
        assert server.poll() is None, "the server ended"
        try:
            with urlopen(url, timeout=5):
                return
        except (URLError, ConnectionError):
            time.sleep(0.3)
    raise TimeoutError(url)


@pytest.fixture(scope="module")
def spark_of_runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A Spark server, on which the runs are that other processes start."""
    with spark_server(tmp_path_factory.mktemp("state"), "2g"), pytest.MonkeyPatch.context() as patch:
        patch.setenv(SERVER_VARIABLE, Use.RUNNING)
        yield


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    if shutil.which("chromedriver") is None:
        pytest.skip("chromedriver is not installed")
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
def open_page(browser: Any, request: pytest.FixtureRequest) -> Iterator[OpenPage]:
    """Opens a page, waits for texts on it, and keeps a picture where `--pictures` says so."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    def opened(address: str, path: str, *texts: str, picture: str) -> str:
        browser.get(f"{address}{path}")
        for text in texts:
            WebDriverWait(browser, _SHOWS_WITHIN_SECONDS).until(
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

    yield opened
    # A page of Dagster's would ask its server for news, and draw, for as long as other tests run.
    browser.get("about:blank")
