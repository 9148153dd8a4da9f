"""The command by which `spark-submit` starts a driver of the platform, on this machine or in the cluster."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from pipeline_platform.engine.spark.home import home_variables, lasting_home
from pipeline_platform.engine.spark.jars import connector_jars
from pipeline_platform.engine.spark.java import require_java
from pipeline_platform.engine.spark.jvm import log_options, properties_file
from pipeline_platform.engine.spark.session import driver_settings
from pipeline_platform.engine.spark.settings import (
    MASTER_VARIABLE,
    REMOTE_VARIABLE,
    DeployMode,
    configured_choice,
    configured_master,
)
from pipeline_platform.exceptions import PipelineConfigurationException

MODE_VARIABLE = "PIPELINE_PLATFORM_DEPLOY_MODE"
_PROGRAM = Path(__file__).parents[2] / "spark_program.py"
# A standalone cluster refuses drivers in Python. This is the class by which Spark starts one everywhere else.
_PYTHON_RUNNER = "org.apache.spark.deploy.PythonRunner"
_OPTIONS_VARIABLE = "SPARK_SUBMIT_OPTS"
_PYTHON_SETTINGS = ("spark.pyspark.driver.python", "spark.pyspark.python")
_PYTHON_VARIABLES = ("PYSPARK_DRIVER_PYTHON", "PYSPARK_PYTHON")
# As `spark-submit` itself looks at it, which fails with Java's stack trace.
_MASTERS = ("local", "spark", "k8s", "yarn")
# By default it ends as soon as the cluster knows of the driver, and its exit code says nothing of the run.
_WAITS = {"spark.standalone.submit.waitAppCompletion": "true"}


def configured_mode() -> DeployMode | None:
    """What `PIPELINE_PLATFORM_DEPLOY_MODE` says: `client` or `cluster`; None if it is not set.

    Raises:
        PipelineConfigurationException: It says something else.
    """
    return configured_choice(MODE_VARIABLE, DeployMode)


def master_for(wanted: Mapping[str, str], mode: DeployMode) -> str:
    """Where Spark is to run.

    Args:
        wanted: Settings, of which `spark.master` wins over `SPARK_MASTER`.
        mode: Where the driver runs.

    Raises:
        PipelineConfigurationException: The driver is to run in the cluster, and there is none, or on Spark Connect,
            which has a driver of its own; or nothing that Spark knows is named.
    """
    if wanted.get("spark.remote") or os.environ.get(REMOTE_VARIABLE):
        raise PipelineConfigurationException(
            "a run on Spark Connect can't be submitted: the server is its driver",
            hint=f"leave out {REMOTE_VARIABLE} and spark.remote, or {MODE_VARIABLE} and the resource's deploy_mode",
        )
    master = configured_master(wanted)
    if not master.startswith(_MASTERS):
        raise PipelineConfigurationException(
            f"spark-submit knows no master like '{master}'",
            hint=f"set {MASTER_VARIABLE} to local[*], spark://HOST:PORT, k8s://https://HOST:PORT or yarn",
        )
    if mode == DeployMode.CLUSTER and master.startswith("local"):
        raise PipelineConfigurationException(
            f"the driver is to run in the cluster, and '{master}' is none",
            hint=f"set {MASTER_VARIABLE} to the cluster, or the deploy mode to client",
        )
    return master


@contextmanager
def submit_command(
    app_name: str, wanted: Mapping[str, str], mode: DeployMode, arguments: Sequence[str]
) -> Generator[list[str]]:
    """The command, whose settings are in a file that is gone after the block.

    Args:
        app_name: Shown by Spark.
        wanted: Settings that win over the platform's defaults; `spark.master`, or else `SPARK_MASTER`, says where.
        mode: Where the driver runs.
        arguments: Of the driver's program.

    Raises:
        PipelineException: Java or jars are missing, or the driver is to run in the cluster and there is none.
    """
    java = require_java()
    settings = {key: value for key, value in wanted.items() if key != "spark.master"}
    master = master_for(wanted, mode)
    settings = {**_WAITS, **driver_settings(master, app_name, settings, java if mode == DeployMode.CLIENT else None)}
    if not any(key in settings for key in _PYTHON_SETTINGS) and not any(map(os.environ.get, _PYTHON_VARIABLES)):
        settings[_PYTHON_SETTINGS[0]] = sys.executable
    program = [str(_PROGRAM)]
    if mode == DeployMode.CLUSTER and master.startswith("spark://"):
        # The jar is any: Spark asks for one, and has the class itself.
        program = ["--class", _PYTHON_RUNNER, connector_jars()[0].as_uri(), str(_PROGRAM), ""]
    with properties_file(settings) as file:
        submit = str(lasting_home() / "bin" / "spark-submit")
        yield [submit, "--deploy-mode", mode, "--properties-file", str(file), *program, *arguments]


def submit_environment() -> dict[str, str]:
    """The environment of the command."""
    # For the JVM that submits, which logs beside the driver's where that is another one.
    options = " ".join([*log_options(), *os.environ.get(_OPTIONS_VARIABLE, "").split()])
    return {**os.environ, **home_variables(), _OPTIONS_VARIABLE: options}
