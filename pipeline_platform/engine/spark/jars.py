"""The connector jars: resolved once by pyspark's own Ivy, verified, kept in a cache, given to Spark as files."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from filelock import FileLock

from pipeline_platform import registry
from pipeline_platform.engine.spark.home import CACHE_VARIABLE, cache_folder, spark_contents, spark_home
from pipeline_platform.engine.spark.jar_lock import jar_lock
from pipeline_platform.exceptions import PipelineExecutionException

# Newer artifacts than pyspark's own under these names break it: "Failed to load session extension".
_EXCLUDED = (
    "org.apache.hadoop:hadoop-client-api",
    "org.apache.hadoop:hadoop-client-runtime",
    "org.apache.parquet:parquet-hadoop",
    "org.apache.logging.log4j:log4j-core",
    "org.apache.logging.log4j:log4j-slf4j2-impl",
    # All of AWS, 640 MB; what S3 needs of it is named above.
    "software.amazon.awssdk:bundle",
    "com.google.protobuf:protobuf-java",
)
_UNRESOLVED = re.compile(r"unresolved dependency: [^\n]*")
_VERSION = re.compile(r"-\d[\w.\-]*\.jar$")


def say(line: str) -> None:
    """Tell in a line on standard error what takes a while."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def connector_jars(
    coordinates: Sequence[str] | None = None, progress: Callable[[str], None] = say, *, beside_spark: bool = True
) -> list[Path]:
    """The jar files Spark needs beside its own, from the cache, or resolved into it first.

    Args:
        coordinates: Maven coordinates, `group:artifact:version`; None for those of all connectors.
        progress: Told in a line each what is done when something has to be resolved.
        beside_spark: Leave out what pyspark ships already, under whatever version.

    Raises:
        PipelineExecutionException: They could not be resolved, or not be kept, or are not those in the lock file.
    """
    coordinates = registry.jars() if coordinates is None else coordinates
    name = hashlib.sha256(
        "\n".join([*sorted(coordinates), spark_contents(), *([] if beside_spark else ["all"])]).encode()
    ).hexdigest()[:16]
    folder = cache_folder() / "jars" / name
    if not folder.is_dir():
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{folder}.lock"):
                _resolve_once(coordinates, folder, progress, beside_spark)
        except OSError as error:
            raise PipelineExecutionException(
                f"the connector jars can't be kept in {folder.parent}: {error.strerror or error}",
                hint=f"set {CACHE_VARIABLE} to a folder that can be written to, or that has them already",
            ) from error
    return sorted(folder.glob("*.jar"))


def _resolve_once(
    coordinates: Sequence[str], folder: Path, progress: Callable[[str], None], beside_spark: bool
) -> None:
    if not folder.is_dir():
        progress(f"resolving {len(coordinates)} connector packages, once, into {folder} ...")
        progress(f"resolved: {_resolve(coordinates, folder, beside_spark)}")


def _resolve(coordinates: Sequence[str], folder: Path, beside_spark: bool) -> str:
    """Fill the cache folder, or leave none; returns what is in it, in words."""
    shipped = {_VERSION.sub("", jar.name) for jar in (spark_home() / "jars").glob("*.jar")}
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        resolved = resolved_jars(coordinates, Path(temporary))
        unverified = jar_lock().verify(coordinates, resolved)
        jars = [jar for jar in resolved if not (beside_spark and _artifact(jar) in shipped)]
        ready = Path(temporary) / "jars"
        ready.mkdir()
        for jar in jars:
            shutil.copy(jar, ready / jar.name)
        ready.rename(folder)
    others = [jar.name for jar in jars if jar.name in unverified]
    count = f"{len(jars)} jar{'s' if len(jars) != 1 else ''}"
    return count + (f", not in the lock file, so not verified: {', '.join(others)}" if others else "")


def resolved_jars(coordinates: Sequence[str], folder: Path) -> list[Path]:
    """The jars of these coordinates and of what they depend on, resolved by pyspark's own Ivy and not verified.

    Args:
        coordinates: Maven coordinates, `group:artifact:version`.
        folder: Where to, an empty one; they are in a folder of it, as `organisation_artifact-version.jar`.

    Raises:
        PipelineExecutionException: They could not be resolved.
    """
    home, ivy, script = spark_home(), folder / "ivy", folder / "resolve.py"
    script.write_text("")
    command = [
        str(home / "bin" / "spark-submit"),
        "--packages",
        ",".join(coordinates),
        "--exclude-packages",
        ",".join(_EXCLUDED),
        "--conf",
        f"spark.jars.ivy={ivy}",
        str(script),
    ]
    environment = {**os.environ, "SPARK_HOME": str(home), "PYSPARK_PYTHON": sys.executable}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    jars = [*(ivy / "jars").glob("*.jar")]
    if done.returncode != 0 or not jars:
        reason = "; ".join(dict.fromkeys(_UNRESOLVED.findall(done.stderr)))
        raise PipelineExecutionException(
            f"the connector packages could not be resolved: {reason or ' '.join(done.stderr.split())[-500:]}",
            hint="check that a Maven repository is reachable, or name one with spark.jars.ivySettings",
            retryable=True,
        )
    return jars


def _artifact(jar: Path) -> str:
    # Ivy writes `organisation_artifact-version.jar`; an organisation has no underscore.
    return _VERSION.sub("", jar.name.split("_", 1)[1])
