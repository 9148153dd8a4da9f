"""Session settings that hold for a while."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.frames.causes import failure_of

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@contextmanager
def spark_settings(spark: SparkSession, settings: Mapping[str, str]) -> Generator[None]:
    """Set these on the session, and put back what was there before when the block ends."""
    before = {key: spark.conf.get(key, None) for key in settings}
    try:
        for key, value in settings.items():
            set_on(spark, key, value)
        yield
    finally:
        for key, value in before.items():
            if value is None:
                spark.conf.unset(key)
            else:
                spark.conf.set(key, value)


def set_on(spark: SparkSession, key: str, value: str) -> None:
    """Set one on the session.

    Raises:
        PipelineConfigurationException: Spark does not take the value.
    """
    try:
        spark.conf.set(key, value)
    except Exception as error:
        refused = [cause for cause in failure_of(error).causes if cause.has_condition("INVALID_CONF_VALUE")]
        if not refused:
            raise
        raise PipelineConfigurationException(
            f"Spark does not accept the value of '{key}': {refused[0].text}", hint="correct the value in sparkConf"
        ) from error
