"""The Spark session as a Dagster resource."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from dagster_pyspark import LazyPySparkResource
from dagster_spark.utils import flatten_dict  # pyright: ignore[reportUnknownVariableType]
from pydantic import Field

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_APP_NAME = "pipeline_platform"


class SparkResource(LazyPySparkResource):
    """A session with Delta Lake, Kafka, S3 and the platform's limits, started when one is first asked for.

    A person's own asset asks for it by `spark: SparkResource`, and for the session by `spark.spark_session`.
    """

    spark_config: dict[str, Any] = Field(
        default={},
        description="Spark settings for every pipeline; `spark.master` or `spark.remote` say where Spark runs.",
    )

    def session(self, app_name: str, conf: Mapping[str, str], *, is_short: bool = False) -> SparkSession:
        """The process's session, started if there is none.

        Args:
            app_name: Shown by Spark.
            conf: Settings of the pipeline, which win over the resource's.
            is_short: What is to be done takes less than a minute.

        Raises:
            PipelineException: Java or a jar is missing, or a session runs with other fixed settings.
        """
        from pipeline_platform.engine.spark.session import spark_session

        return spark_session(app_name, {**self._settings(), **conf}, is_short=is_short)

    def _settings(self) -> dict[str, str]:
        flat = cast("list[tuple[str, Any]]", flatten_dict(self.spark_config))
        return {key: str(value) for key, value in flat}

    def _init_session(self) -> None:
        # A pipeline that ran before may have replaced the session that was given last.
        self._spark_session = self.session(_APP_NAME, {})
