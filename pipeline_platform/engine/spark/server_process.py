"""Looks after a Spark Connect server: `python -m pipeline_platform.engine.spark.server_process MEMORY IDLE_MINUTES`.

Whether somebody uses the server is told by the connections of its process: there is no list of runs that one that was
killed could stay on.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from pipeline_platform.engine.spark.home import lasting_home, spark_home
from pipeline_platform.engine.spark.jars import connector_jars, say
from pipeline_platform.engine.spark.java import require_java
from pipeline_platform.engine.spark.jvm import (
    DRIVER_OPTIONS,
    class_archive,
    driver_options,
    end_process,
    listens,
    properties,
)
from pipeline_platform.engine.spark.server import Process, SparkServer, build_of, server_file
from pipeline_platform.engine.spark.settings import FAIR_CONF, MASTER_VARIABLE, REMOTE_VARIABLE, local_settings

_ADDRESS = "127.0.0.1"
_LOOK_SECONDS = 1.0
_END_SECONDS = 20.0
_KEPT = ("PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR", "JAVA_HOME", "LD_LIBRARY_PATH", "PYTHONPATH")
_KEPT_PREFIXES = ("LC_", "SPARK_", "PYSPARK_", "HADOOP_", "PIPELINE_PLATFORM_LOG")
_TOKEN_VARIABLE = "SPARK_CONNECT_AUTHENTICATE_TOKEN"


def keep_server(memory: str, idle_minutes: float) -> int:
    """Start a server, note where it is, and end it once it has been idle for so long, or this process is told to end.

    Args:
        memory: Of its JVM, as Java writes it.
        idle_minutes: How long it stays when nobody is connected.

    Returns:
        The exit code: 0 if it ended because it was to.
    """
    token, port, jars = secrets.token_urlsafe(32), _free_port(), connector_jars()
    with tempfile.TemporaryDirectory(prefix="pipeline-platform-") as folder:
        settings = Path(folder) / "spark.properties"
        settings.write_text(properties(_settings(port, memory, jars)))
        jvm = subprocess.Popen(
            [
                *(str(lasting_home() / "bin" / "spark-submit"), "--properties-file", str(settings)),
                *("--class", "org.apache.spark.sql.connect.service.SparkConnectServer", "spark-internal"),
            ],
            env={**_environment(), _TOKEN_VARIABLE: token},
        )
        try:
            while not listens(_ADDRESS, port, _LOOK_SECONDS):
                if (code := jvm.poll()) is not None:
                    return code or 1
                time.sleep(0.1)
            server = SparkServer(
                keeper=Process.of(os.getpid()),
                jvm=Process.of(jvm.pid),
                port=port,
                token=token,
                build=build_of(jars),
                memory=memory,
                idle_minutes=idle_minutes,
            )
            server.write(server_file())
            return _look_after(server, jvm)
        finally:
            _end(jvm)


def _environment() -> dict[str, str]:
    """What the server knows of the shell that has started it: not its credentials, which other runs would find."""
    kept = {name: value for name, value in os.environ.items() if name in _KEPT or name.startswith(_KEPT_PREFIXES)}
    # They would say where to run to whoever starts Spark.
    kept = {name: value for name, value in kept.items() if name not in (MASTER_VARIABLE, REMOTE_VARIABLE)}
    return {
        # Spark would start its Python workers with whatever `python3` the PATH has.
        "PYSPARK_PYTHON": sys.executable,
        **kept,
        "SPARK_HOME": str(lasting_home()),
        "SPARK_CONF_DIR": kept.get("SPARK_CONF_DIR", str(spark_home() / "conf")),
    }


def _settings(port: int, memory: str, jars: list[Path]) -> dict[str, str]:
    return {
        **local_settings("local[*]", "pipeline-platform-server", jars),
        "spark.driver.memory": memory,
        DRIVER_OPTIONS: driver_options(None, class_archive(require_java(), jars, say)),
        "spark.connect.grpc.binding.address": _ADDRESS,
        "spark.connect.grpc.binding.port": str(port),
        # By itself the server goes on for five minutes with what a killed run has asked for.
        "spark.connect.execute.manager.detachedTimeout": "30s",
        **FAIR_CONF,
    }


def _look_after(server: SparkServer, jvm: subprocess.Popen[bytes]) -> int:
    used = time.monotonic()
    while not _has_ended(jvm):
        if server.clients():
            used = time.monotonic()
        elif time.monotonic() - used > server.idle_minutes * 60:
            # First no run may find it any more; one that has found it is connected by the next look.
            server_file().unlink(missing_ok=True)
            time.sleep(_LOOK_SECONDS)
            if not server.clients():
                return 0
            server.write(server_file())
    # Its runs want to tell why.
    server.model_copy(update={"exit_code": jvm.returncode}).write(server_file())
    return 1


def _has_ended(jvm: subprocess.Popen[bytes]) -> bool:
    """Wait for it, but not longer than until the next look."""
    try:
        jvm.wait(_LOOK_SECONDS)
    except subprocess.TimeoutExpired:
        return False
    return True


def _end(jvm: subprocess.Popen[bytes]) -> None:
    if jvm.poll() is None:
        end_process(jvm, _END_SECONDS)
        server_file().unlink(missing_ok=True)


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind((_ADDRESS, 0))
        return taken.getsockname()[1]


def _stop(*_: Any) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)
    sys.exit(keep_server(sys.argv[1], float(sys.argv[2])))
