"""Prometheus and its Pushgateway."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

from devtools.services.process import ServerProcess, free_port, new_folder, program


@dataclass
class Pushgateway:
    """A running Pushgateway.

    Args:
        address: Host and port.
        server: The process.
    """

    address: str
    server: ServerProcess

    def stop(self) -> None:
        """End it."""
        self.server.stop()
        shutil.rmtree(self.server.folder, ignore_errors=True)


@dataclass
class Prometheus:
    """A running Prometheus server.

    Args:
        url: Its address.
        server: The process.
    """

    url: str
    server: ServerProcess

    def values(self, query: str, at: float | None = None) -> list[tuple[dict[str, str], float]]:
        """What a query gives: labels and value of each series.

        Args:
            query: In PromQL.
            at: For which time, in seconds since 1970; None for now.

        Raises:
            AssertionError: The query is wrong.
        """
        try:
            given = {"query": query, **({"time": at} if at is not None else {})}
            with urlopen(f"{self.url}/api/v1/query?{urlencode(given)}", timeout=30) as response:
                found: dict[str, Any] = json.load(response)
        except URLError as error:
            raise AssertionError(f"{query}: {error}") from error
        return [(series["metric"], float(series["value"][1])) for series in found["data"]["result"]]

    def stop(self) -> None:
        """End it and remove its data."""
        self.server.stop()
        shutil.rmtree(self.server.folder, ignore_errors=True)


def promtool(*arguments: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run Prometheus's own checker.

    Args:
        arguments: Of `promtool`.
        given: On its standard input.
    """
    return subprocess.run([program("promtool"), *arguments], input=given, capture_output=True, text=True, check=False)


def start_pushgateway() -> Pushgateway:
    """Start one of its own.

    Raises:
        ServerUnavailableError: It can't be had.
    """
    address = f"127.0.0.1:{free_port()}"
    command = [program("prometheus-pushgateway"), f"--web.listen-address={address}"]
    server = ServerProcess("pushgateway", command, new_folder("pushgateway"), lambda: _answers(f"http://{address}"))
    server.start()
    return Pushgateway(address, server)


def start_prometheus(targets: Sequence[str], rules: Path) -> Prometheus:
    """Start a server that scrapes these targets every second.

    Args:
        targets: Hosts and ports.
        rules: A file of rules.

    Raises:
        ServerUnavailableError: It can't be had.
    """
    folder = new_folder("prometheus")
    scraped = {"job_name": "pipeline_platform", "honor_labels": True, "static_configs": [{"targets": list(targets)}]}
    interval = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config = {"global": interval, "rule_files": [str(rules.absolute())], "scrape_configs": [scraped]}
    # JSON is YAML as well.
    (folder / "prometheus.yml").write_text(json.dumps(config))
    address = f"127.0.0.1:{free_port()}"
    command = [
        program("prometheus"),
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address={address}",
    ]
    server = ServerProcess("prometheus", command, folder, lambda: _answers(f"http://{address}"))
    server.start()
    return Prometheus(f"http://{address}", server)


def _answers(url: str) -> bool:
    try:
        with urlopen(f"{url}/-/ready", timeout=5):
            return True
    except (URLError, ConnectionError):
        return False
