"""Where the records of runs go, as a Dagster resource."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
    from pipeline_platform.metrics.exporter import Exporter


class MetricsResource(dg.ConfigurableResource):  # pyright: ignore[reportMissingTypeArgument]
    """Where the records of runs go, beside Dagster's own metadata.

    It has no settings of its own: `PIPELINE_PLATFORM_METRICS` says where, for the command line as well.
    """

    def exporters(self) -> list[Exporter]:
        """Those that the environment asks for.

        Raises:
            PipelineConfigurationException: It asks for something that there is not, or that is not installed.
        """
        from pipeline_platform.metrics.exporter import exporters_from_environment

        return exporters_from_environment()
