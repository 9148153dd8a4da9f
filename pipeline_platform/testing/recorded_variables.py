"""The variables of a run as a test of it has them."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.variables import VariableValue
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.redaction import MASK, looks_secret, redact_urls


def recorded_variables(pipeline: PipelineConfig, names: Sequence[str]) -> tuple[dict[str, VariableValue], list[str]]:
    """The values of variables, without secrets, and what to say of those that have another value.

    Args:
        pipeline: The pipeline.
        names: The variables whose values were given.

    Raises:
        PipelineConfigurationException: A variable looks like a secret, and nothing can stand for its value.
    """
    values: dict[str, VariableValue] = {}
    for name in names:
        value = pipeline.values[name]
        if isinstance(value, str):
            values[name] = MASK if looks_secret(name) else redact_urls(value)
        elif looks_secret(name):
            raise PipelineConfigurationException(
                f"the value of the variable '{name}' would stand in the test, and its name says that it is a secret",
                location=pipeline.location,
                hint="give it a default and leave its --var out, or make it a string, for which the test has another",
            )
        else:
            values[name] = value
    changed = [name for name in names if values[name] != pipeline.values[name]]
    return values, [f"the test has '{values[name]}' in place of the value of the variable {name}" for name in changed]
