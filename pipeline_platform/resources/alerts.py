"""Who is told when something needs a person, as a Dagster resource."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
    from pipeline_platform.resources.notifiers import Notifier


class AlertsResource(dg.ConfigurableResource):  # pyright: ignore[reportMissingTypeArgument]
    """Who is told.

    It has no settings of its own: `PIPELINE_PLATFORM_ALERTS` says who, as a webhook's address is a secret.
    """

    def notifiers(self) -> list[Notifier]:
        """Whom to tell.

        Raises:
            PipelineConfigurationException: The environment names somebody that there is not.
        """
        from pipeline_platform.resources.notifiers import notifiers_from_environment

        return notifiers_from_environment()
