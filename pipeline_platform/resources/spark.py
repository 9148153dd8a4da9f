"""The Spark session as a Dagster resource."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


class SparkResource(dg.ConfigurableResource):  # pyright: ignore[reportMissingTypeArgument]
    """A session that is started only when one is asked for.

    Not a `dagster_pyspark.PySparkResource`: that one imports pyspark when it is defined and starts a JVM whether one
    is needed or not.
    """

    conf: dict[str, str] = Field(
        default={},
        description="Spark settings for every pipeline; `spark.master` or `spark.remote` say where Spark runs.",
    )

    def session(self, app_name: str, conf: Mapping[str, str]) -> SparkSession:
        """The process's session, started if there is none.

        Args:
            app_name: Shown by Spark.
            conf: Settings of the pipeline, which win over the resource's.

        Raises:
            PipelineException: Java or a jar is missing, or a session runs with other fixed settings.
        """
        from pipeline_platform.engine.spark.session import spark_session

        return spark_session(app_name, {**self.conf, **conf})
