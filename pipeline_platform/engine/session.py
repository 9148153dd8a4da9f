"""Makes the Spark session: local by default, a cluster or Spark Connect by configuration alone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pipeline_platform.engine.jars import connector_jars
from pipeline_platform.engine.java import require_java
from pipeline_platform.exceptions import PipelineConfigurationException

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

DELTA_CONF = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
}

# For one small machine; measured in docs/benchmarks.md. A cluster keeps Spark's own defaults.
LOCAL_CONF = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.sql.shuffle.partitions": "2",
    "spark.databricks.delta.snapshotPartitions": "2",
    "spark.databricks.delta.properties.defaults.checkpointInterval": "50",
    "spark.sql.session.timeZone": "UTC",
    "spark.driver.memory": "2g",
}

MASTER_VARIABLE = "SPARK_MASTER"
REMOTE_VARIABLE = "SPARK_REMOTE"


def spark_session(app_name: str, conf: Mapping[str, str] | None = None) -> SparkSession:
    """The process's session, started if there is none.

    `SPARK_REMOTE` (`sc://…`) or `SPARK_MASTER` (`local[*]` by default, `spark://`, `yarn`, `k8s://`) say where.

    Args:
        app_name: Shown by Spark.
        conf: Settings that win over the platform's defaults.

    Raises:
        PipelineExecutionException: Java is missing or of the wrong version, or jars can't be resolved.
        PipelineConfigurationException: A session runs already with other static settings.
    """
    from pyspark.sql import SparkSession

    wanted = dict(conf or {})
    remote = wanted.pop("spark.remote", None) or os.environ.get(REMOTE_VARIABLE)
    running = SparkSession.getActiveSession()
    if running is not None:
        return _with_settings(running, wanted)
    if remote:
        builder = SparkSession.builder.remote(remote).appName(app_name)
        return _with_settings(builder.getOrCreate(), wanted)
    require_java()
    master = wanted.pop("spark.master", None) or os.environ.get(MASTER_VARIABLE, "local[*]")
    defaults = {**DELTA_CONF, **(LOCAL_CONF if master.startswith("local") else {})}
    settings = {**defaults, **_class_path(master), **wanted}
    builder = SparkSession.builder.master(master).appName(app_name)
    for key, value in settings.items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel(os.environ.get("SPARK_LOG_LEVEL", "ERROR"))
    return session


def _class_path(master: str) -> dict[str, str]:
    jars = [str(jar) for jar in connector_jars()]
    # In local mode the files go straight on the class path; a cluster has them sent to its executors.
    return {"spark.driver.extraClassPath": ":".join(jars)} if master.startswith("local") else {"spark.jars": ",".join(jars)}


def _with_settings(session: SparkSession, wanted: Mapping[str, str]) -> SparkSession:
    fixed = {key: value for key, value in wanted.items() if not session.conf.isModifiable(key)}
    clashes = {key: value for key, value in fixed.items() if session.conf.get(key, None) != value}
    if clashes:
        named = ", ".join(f"{key}={value}" for key, value in clashes.items())
        raise PipelineConfigurationException(
            f"a Spark session runs already without {named}",
            hint="these settings are fixed when the session starts: run the pipeline in a process of its own",
        )
    for key, value in wanted.items():
        if key not in fixed:
            session.conf.set(key, value)
    return session
