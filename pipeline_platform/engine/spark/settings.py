"""What every session of the platform is started with."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from pipeline_platform.exceptions import PipelineConfigurationException

SECRET_NAMES = "secret|password|passwd|pwd|passphrase|credential|token|access[.]?key|jaas|keystore[.]key|user[.]info"
EVERYWHERE_CONF = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    # Spark's own list without kafka: what an older source writes is not observed, so it could not be counted.
    "spark.sql.sources.useV1SourceList": "avro,csv,json,orc,parquet,text",
    # Spark's own pattern does not know the names under which Kafka's clients keep theirs.
    "spark.redaction.regex": f"(?i){SECRET_NAMES}",
    # In plans, where options stand as text, and in what a Spark Connect server shows of what it was asked: in its UI
    # and its event log.
    # A word is tried once, and if it has a value: Spark does this several times for each micro-batch.
    "spark.sql.redaction.string.regex": (
        # The passwords of a login are quoted and may hold what ends a value elsewhere.
        r"(?i)(?<![\w.-])(?=[\w.-]++=)[\w.-]*?"
        r'(?:jaas\.config=(?:[^"\n]*?|.*?");(?=[,)\]\s]|$)'
        rf'|({SECRET_NAMES})[\w.-]*+=(?:"[^"\n]*"|)[^,)\s]*)'
        rf'|key: "[^"\n]*?(?:{SECRET_NAMES})[^"\n]*"\s++value: "[^"\\]*+(?:\\.[^"\\]*+)*+"?'
    ),
    # Otherwise the zone of the machine: a timestamp without a zone would be another instant on every machine.
    "spark.sql.session.timeZone": "UTC",
    # Spark's default, INT96, is read as UTC by some and without a zone by others, and overflows before 1677 and after
    # 2262 for who reads it as nanoseconds: pyarrow and deltalake.
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    # The calendar that every other reader has.
    "spark.sql.parquet.datetimeRebaseModeInWrite": "CORRECTED",
    "spark.sql.avro.datetimeRebaseModeInWrite": "CORRECTED",
    # Spark keeps the code of 100 classes; a micro-batch into a Delta table may take more, and would compile them anew
    # each time. docs/benchmarks.md.
    "spark.sql.codegen.cache.maxEntries": "1000",
    # Otherwise each call of pyspark looks for the line of Python it came from, for messages that would name our lines,
    # and takes two to ten times as long.
    "spark.python.sql.dataFrameDebugging.enabled": "false",
}

# For one small machine; measured in docs/benchmarks.md. A cluster keeps Spark's own defaults.
LOCAL_CONF = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.sql.shuffle.partitions": "2",
    "spark.databricks.delta.snapshotPartitions": "2",
    # Tasks that list folders. Delta's VACUUM takes as many as it may, however few folders there are: by default 10,000,
    # which takes half a minute.
    "spark.sql.sources.parallelPartitionDiscovery.parallelism": "16",
    "spark.databricks.delta.properties.defaults.checkpointInterval": "50",
    "spark.driver.memory": "2g",
}

FAIR_CONF = {
    "spark.scheduler.mode": "FAIR",
    "spark.scheduler.allocation.file": Path(__file__).with_name("fairscheduler.xml").as_uri(),
}
"""For a Spark that several share, who get equal shares; by Spark's default the first takes all there is."""

DELTA_DEFAULTS = "spark.databricks.delta.properties.defaults."
"""Settings for what the properties of new tables are by default, which a session takes at any time."""


class DeployMode(StrEnum):
    """Where a driver runs that `spark-submit` starts."""

    CLIENT = "client"
    """On the machine that submits it."""
    CLUSTER = "cluster"


MASTER_VARIABLE = "SPARK_MASTER"
REMOTE_VARIABLE = "SPARK_REMOTE"
_Choice = TypeVar("_Choice", bound=StrEnum)


def configured_master(wanted: Mapping[str, str]) -> str:
    """Where Spark is to run.

    Args:
        wanted: Settings, of which `spark.master` wins over `SPARK_MASTER`.
    """
    return wanted.get("spark.master") or os.environ.get(MASTER_VARIABLE) or "local[*]"


def configured_choice(variable: str, choices: type[_Choice]) -> _Choice | None:
    """What an environment variable chooses; None if it is not set.

    Args:
        variable: Its name.
        choices: What there is to choose from.

    Raises:
        PipelineConfigurationException: It says something else.
    """
    said = os.environ.get(variable)
    if not said:
        return None
    try:
        return choices(said)
    except ValueError as error:
        raise PipelineConfigurationException(
            f"{variable} is '{said}', which says nothing", hint=f"set it to one of {', '.join(choices)}"
        ) from error


def local_settings(master: str, app_name: str, jars: Sequence[Path]) -> dict[str, str]:
    """What Spark is started with that runs in one JVM of this machine.

    Args:
        master: `local[…]`.
        app_name: Shown by Spark.
        jars: Those of the connectors, which go straight on the class path.
    """
    return {
        "spark.master": master,
        "spark.app.name": app_name,
        **EVERYWHERE_CONF,
        **LOCAL_CONF,
        "spark.driver.extraClassPath": ":".join(map(str, jars)),
    }


def cluster_settings(master: str, app_name: str, jars: Sequence[Path]) -> dict[str, str]:
    """What a driver is started with whose cluster has the jars sent to its executors.

    Args:
        master: Of the cluster.
        app_name: Shown by Spark.
        jars: Those of the connectors.
    """
    return {
        "spark.master": master,
        "spark.app.name": app_name,
        **EVERYWHERE_CONF,
        "spark.jars": ",".join(map(str, jars)),
    }
