"""Spark's own folder: the installed pyspark, or its twin in the cache, which stays where it is in a new environment."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path

from platformdirs import user_cache_path

from pipeline_platform.exceptions import PipelineExecutionException

HOME_VARIABLE, CONFIGURATION_VARIABLE = "SPARK_HOME", "SPARK_CONF_DIR"
CACHE_VARIABLE = "PIPELINE_PLATFORM_CACHE"
# `bin` starts Spark, `python/lib` is what a Python worker of another environment imports.
_NEEDED = ("jars", "bin", "python/lib")


def spark_home() -> Path:
    """The folder of the installed pyspark, found without importing it.

    Raises:
        PipelineExecutionException: pyspark is not installed.
    """
    spec = find_spec("pyspark")
    if spec is None or spec.origin is None:
        raise PipelineExecutionException("pyspark is not installed", hint="install the package with its dependencies")
    return Path(spec.origin).parent


def home_variables() -> dict[str, str]:
    """The variables by which Spark's programs find Spark; none where `SPARK_HOME` says it already.

    Raises:
        PipelineExecutionException: pyspark is not installed.
    """
    if HOME_VARIABLE in os.environ:
        return {}
    configuration = os.environ.get(CONFIGURATION_VARIABLE) or str(spark_home() / "conf")
    return {HOME_VARIABLE: str(lasting_home()), CONFIGURATION_VARIABLE: configuration}


def cache_folder() -> Path:
    """Where jars are kept: `PIPELINE_PLATFORM_CACHE`, or the user's cache folder."""
    configured = os.environ.get(CACHE_VARIABLE)
    return Path(configured) if configured else user_cache_path("pipeline-platform")


def spark_contents() -> str:
    """A hash of which jars pyspark ships, the same for each environment that has the same pyspark."""
    jars = [(jar.name, str(jar.stat().st_size)) for jar in sorted((spark_home() / "jars").glob("*.jar"))]
    return hashlib.sha256("\n".join(" ".join(jar) for jar in jars).encode()).hexdigest()[:16]


def lasting_home() -> Path:
    """Spark's folder under a path that depends on nothing but what is in it.

    A class archive fits jars by their paths and times. Those of an environment are others in the next one, so pyspark's
    are linked into the cache, which takes no room. Where they can't be, on another disk or owned by another user, it is
    the installed folder.

    Raises:
        PipelineExecutionException: pyspark is not installed.
    """
    installed, home = spark_home(), cache_folder() / "spark" / spark_contents()
    if home.is_dir():
        return home
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home.parent) as temporary:
            ready = Path(temporary) / home.name
            for name in _NEEDED:
                shutil.copytree(installed / name, ready / name, copy_function=os.link)
            ready.rename(home)
    except (OSError, shutil.Error):
        # Or another process has made it in the meantime.
        return home if home.is_dir() else installed
    return home
