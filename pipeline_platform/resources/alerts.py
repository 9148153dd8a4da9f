"""Who is told when something needs a person, as a Dagster resource."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import dagster as dg

from pipeline_platform.exceptions import PipelineConfigurationException

if TYPE_CHECKING:
    from pipeline_platform.resources.alert_routes import Routing

_LOG = logging.getLogger(__name__)


class AlertsResource(dg.ConfigurableResource):  # pyright: ignore[reportMissingTypeArgument]
    """Who is told of which alert.

    It has no settings of its own: `PIPELINE_PLATFORM_ALERT_ROUTES` and `PIPELINE_PLATFORM_ALERTS` say who, as a
    webhook's address is a secret.
    """

    def routing(self) -> Routing:
        """Who is told of which alert.

        If the routes can't be used, those are told of everything whom `PIPELINE_PLATFORM_ALERTS` lists, and the log
        says why: no alert is lost because of a slip in a file.

        Raises:
            PipelineConfigurationException: `PIPELINE_PLATFORM_ALERTS` names somebody that there is not.
        """
        from pipeline_platform.resources.alert_routes import default_routing, routing_from_environment

        default = default_routing()
        try:
            return routing_from_environment()
        except PipelineConfigurationException as error:
            _LOG.error("the routes of alerts can't be used; all alerts go the default way: %s", error)
            return default


def alert_warnings(*, strict: bool) -> list[str]:
    """Why some who are to be told can't be, found when the definitions are loaded and not at the first alert.

    Args:
        strict: Whether settings that are wrong are an error.

    Raises:
        PipelineConfigurationException: They are wrong, and `strict`.
    """
    from pipeline_platform.resources.alert_routes import routing_from_environment

    try:
        return [f"alerts: {reason}" for reason in routing_from_environment().unusable()]
    except PipelineConfigurationException as error:
        if strict:
            raise
        return [f"alerts: {error}"]
