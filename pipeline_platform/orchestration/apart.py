"""What is otherwise in Dagster where pipelines are in an environment beside production."""

from __future__ import annotations

from collections.abc import Mapping

import dagster as dg

from pipeline_platform.config.environments import Environment

ENVIRONMENT_TAG = "pipeline_platform/environment"
"""On every run in an environment: its name."""


def environment_tags(environment: Environment | None) -> Mapping[str, str]:
    """The tags of runs in an environment.

    Args:
        environment: None for production without one.
    """
    return {ENVIRONMENT_TAG: environment.name} if environment is not None else {}


def sensor_status(environment: Environment | None) -> dg.DefaultSensorStatus:
    """Whether a sensor is on unless somebody says otherwise: beside production, nothing begins by itself.

    Args:
        environment: None for production without one.
    """
    is_apart = environment is not None and environment.place_apart is not None
    return dg.DefaultSensorStatus.STOPPED if is_apart else dg.DefaultSensorStatus.RUNNING
