"""The Spark session as a Dagster resource."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from dagster_pyspark import LazyPySparkResource
from dagster_spark.utils import flatten_dict  # pyright: ignore[reportUnknownVariableType]
from pydantic import Field

from pipeline_platform.engine.spark.server import Use
from pipeline_platform.engine.spark.settings import DeployMode

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

    server: Use | None = Field(
        default=None,
        description="Whether batch runs have sessions on the Spark server of the machine, in place of a Spark of their "
        "own: `NEVER`, `RUNNING` (if one runs) or `ON_DEMAND` (the first run starts one where memory allows, and it "
        "ends when no run has used it for ten minutes). By default what PIPELINE_PLATFORM_SPARK_SERVER says, or else "
        "`ON_DEMAND` for runs that Dagster starts as processes of its code server's machine, and `RUNNING` for others.",
    )

    deploy_mode: DeployMode | None = Field(
        default=None,
        description="Start each batch run by `spark-submit`, with its driver on this machine (`CLIENT`) or in the "
        "cluster (`CLUSTER`). By default what PIPELINE_PLATFORM_DEPLOY_MODE says, or else the run is the driver.",
    )

    def session(
        self, app_name: str, conf: Mapping[str, str], *, is_short: bool = False, server: Use = Use.NEVER
    ) -> SparkSession:
        """The process's session, started if there is none.

        Args:
            app_name: Shown by Spark.
            conf: Settings of the pipeline, which win over the resource's.
            is_short: What is to be done takes less than a minute.
            server: Whether it may be on the machine's server, unless that is configured; `NEVER` is always heeded, as a
                client of a server has no `sparkContext`.

        Raises:
            PipelineException: Java or a jar is missing, or a session runs with other fixed settings.
        """
        from pipeline_platform.engine.spark.session import spark_session
        from pipeline_platform.engine.spark.sharing import configured_use

        use = server if server == Use.NEVER else self.server or configured_use(server)
        return spark_session(app_name, self.settings(conf), is_short=is_short, server=use)

    def settings(self, conf: Mapping[str, str]) -> dict[str, str]:
        """All settings of a session.

        Args:
            conf: Settings of the pipeline, which win over the resource's.
        """
        flat = cast("list[tuple[str, Any]]", flatten_dict(self.spark_config))
        return {**{key: str(value) for key, value in flat}, **conf}

    def deploys(self) -> DeployMode | None:
        """Where the driver of a batch runs that `spark-submit` starts; None if the run itself is the driver.

        Raises:
            PipelineConfigurationException: PIPELINE_PLATFORM_DEPLOY_MODE says something else.
        """
        from pipeline_platform.engine.spark.submit import configured_mode

        return self.deploy_mode or configured_mode()

    def _init_session(self) -> None:
        # A pipeline that ran before may have replaced the session that was given last.
        self._spark_session = self.session(_APP_NAME, {})
