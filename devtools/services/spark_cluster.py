"""A standalone cluster of Spark: a master and workers, as processes of this machine."""

from __future__ import annotations

import json
import sys
import urllib.request
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devtools.services.process import ServerProcess, free_port
from pipeline_platform.engine.spark.compilers import C1_ALONE
from pipeline_platform.engine.spark.home import lasting_home

WORKER_MEMORY = "2g"
_DEPLOY = "org.apache.spark.deploy"


@dataclass
class SparkCluster:
    """A master and its workers.

    Args:
        master: What `SPARK_MASTER` is to be.
        web: Of the master's own pages.
        workers: The workers' processes.
    """

    master: str
    web: str
    workers: list[ServerProcess]

    def state(self) -> dict[str, Any]:
        """What the master knows: its workers, applications and drivers."""
        with urllib.request.urlopen(f"{self.web}/json/", timeout=10) as answer:
            return json.load(answer)


@contextmanager
def spark_cluster(folder: Path, variables: Mapping[str, str], workers: int = 2) -> Generator[SparkCluster]:
    """A cluster, while the block lasts.

    Args:
        folder: An empty folder, for logs and what executors write.
        variables: Of the environment in which workers start drivers and executors.
        workers: How many; each has one core.
    """
    port, web_port = free_port(), free_port()
    cluster = SparkCluster(f"spark://127.0.0.1:{port}", f"http://127.0.0.1:{web_port}", [])
    with ExitStack() as stack:
        arguments = ["--host", "127.0.0.1", "--port", str(port), "--webui-port", str(web_port)]
        master = _server("master", [f"{_DEPLOY}.master.Master", *arguments], folder, cluster, 0, {})
        master.start()
        stack.callback(master.stop)
        for number in range(1, workers + 1):
            limits = ["--cores", "1", "--memory", WORKER_MEMORY, "--work-dir", str(folder / f"work-{number}")]
            place = ["--host", "127.0.0.1", "--webui-port", "0"]
            name = f"worker-{number}"
            command = [f"{_DEPLOY}.worker.Worker", *place, *limits, cluster.master]
            worker = _server(name, command, folder, cluster, number, variables)
            worker.start()
            stack.callback(worker.stop)
            cluster.workers.append(worker)
        yield cluster


def _server(
    name: str, command: list[str], folder: Path, cluster: SparkCluster, alive: int, variables: Mapping[str, str]
) -> ServerProcess:
    def answers() -> bool:
        try:
            return cluster.state()["aliveworkers"] >= alive
        except OSError:
            return False

    home = lasting_home()
    environment = {
        **variables,
        "SPARK_HOME": str(home),
        "SPARK_DAEMON_MEMORY": "512m",
        # Of the master and workers, and of the drivers and executors that these start: none lasts for minutes.
        "JDK_JAVA_OPTIONS": C1_ALONE,
        "PYSPARK_PYTHON": sys.executable,
    }
    return ServerProcess(name, [str(home / "bin" / "spark-class"), *command], folder, answers, environment=environment)
