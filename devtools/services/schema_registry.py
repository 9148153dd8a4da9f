"""A schema registry: Apicurio's, which answers Confluent's HTTP API too and keeps all in memory."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
import tempfile
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from devtools.services.process import ServerProcess, ServerUnavailableError, free_port, new_folder, program
from pipeline_platform.engine.spark.home import cache_folder, spark_home
from pipeline_platform.engine.spark.jars import say

VERSION = "2.6.13.Final"
"""The last version that starts under Java 17."""
_SHA256 = "3cda1b34aa020fb4ac4dd6a66018d757e81e437f97e20a1f92d366b70091c6ba"
_NAME = "apicurio-registry-app"
_API = "apis/ccompat/v7"
_MODULE = f"""\
<ivy-module version="2.0" xmlns:m="http://ant.apache.org/ivy/maven">
  <info organisation="devtools" module="services"/>
  <dependencies>
    <dependency org="io.apicurio" name="{_NAME}" rev="{VERSION}" transitive="false">
      <artifact name="{_NAME}" type="tar.gz" ext="tar.gz" m:classifier="all"/>
    </dependency>
  </dependencies>
</ivy-module>
"""


@dataclass
class SchemaRegistry:
    """A running registry without schemas; what was registered is gone when it is started again.

    Args:
        server: The process.
        url: Of Confluent's API.
    """

    server: ServerProcess
    url: str

    def stop(self) -> None:
        """End it."""
        self.server.stop()
        shutil.rmtree(self.server.folder, ignore_errors=True)


def start_schema_registry() -> SchemaRegistry:
    """Start a registry of its own.

    Raises:
        ServerUnavailableError: There is no Java, or the registry's files can't be had.
    """
    java, home, folder, port = program("java"), _home(), new_folder("schema-registry"), free_port()
    command = [java, "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Dquarkus.http.host=127.0.0.1"]
    command += [f"-Dquarkus.http.port={port}", "-jar", str(home / f"{_NAME}-{VERSION}-runner.jar")]
    url = f"http://127.0.0.1:{port}/{_API}"

    def answers() -> bool:
        try:
            with urllib.request.urlopen(f"{url}/subjects", timeout=5) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False

    server = ServerProcess("schema-registry", command, folder, answers)
    server.start()
    return SchemaRegistry(server, url)


def _home() -> Path:
    """The folder of its jars, from the cache or fetched into it first."""
    folder = cache_folder() / "services" / f"{_NAME}-{VERSION}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not folder.is_dir():
                say(f"fetching Apicurio Registry {VERSION}, once, into {folder} ...")
                with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
                    _unpack(_fetched(Path(temporary)), Path(temporary) / "home")
                    (Path(temporary) / "home").rename(folder)
    return folder


def _fetched(folder: Path) -> Path:
    """The archive, by pyspark's own Ivy, which Spark can't be asked for anything but jars by."""
    (folder / "ivy.xml").write_text(_MODULE)
    [ivy] = (spark_home() / "jars").glob("ivy-*.jar")
    command = [program("java"), "-jar", str(ivy), "-warn", "-ivy", str(folder / "ivy.xml")]
    command += ["-cache", str(folder / "cache"), "-retrieve", f"{folder}/[artifact].[ext]"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    archive = folder / f"{_NAME}.tar.gz"
    if done.returncode != 0 or not archive.is_file():
        raise ServerUnavailableError(f"Apicurio Registry can't be had: {(done.stderr or done.stdout)[-1500:]}")
    if hashlib.sha256(archive.read_bytes()).hexdigest() != _SHA256:
        raise ServerUnavailableError(f"the archive of Apicurio Registry {VERSION} is another one than it was")
    return archive


def _unpack(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")
