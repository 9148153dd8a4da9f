"""A pipeline's variables in Dagster: a typed form in the launchpad, and tags on the run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import dagster as dg

from pipeline_platform.config.loader import load_pipeline
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.variables import Variable, VariableValue
from pipeline_platform.registry import method_registry

TAG = "pipeline_platform/var/"
"""What the tags of a run begin with that say what its variables stand for."""
# Dates and timestamps are checked by the pipeline itself.
_TYPES = {"integer": dg.Int, "number": dg.Float, "boolean": dg.Bool}
# Of Dagster's tags.
_LONGEST_VALUE = 63


def variables_schema(variables: Mapping[str, Variable]) -> dict[str, dg.Field] | None:
    """The config of a pipeline's op: a field for each variable, required if it has no default; None without any.

    Args:
        variables: By name.
    """
    if not variables:
        return None
    fields: dict[str, dg.Field] = {}
    for name, variable in variables.items():
        kind, about = _TYPES.get(variable.type, dg.String), variable.description or f"a {variable.type}"
        fields[name] = (
            dg.Field(kind, description=about)
            if variable.default is None
            else dg.Field(kind, default_value=variable.default, is_required=False, description=about)
        )
    return fields


def with_run_config(context: dg.AssetExecutionContext, pipeline: PipelineConfig) -> PipelineConfig:
    """The pipeline with what the run was given for its variables, which becomes tags of the run.

    Args:
        context: Of the op.
        pipeline: The pipeline, with the defaults.

    Raises:
        PipelineConfigurationException: With these values the file has errors, or it no longer makes the pipeline.
    """
    if not pipeline.variables:
        return pipeline
    given = cast("dict[str, VariableValue]", context.op_execution_context.op_config or {})
    fixed = dict(pipeline.item.values) if pipeline.item is not None else {}
    tags = {f"{TAG}{name}": str(value)[:_LONGEST_VALUE] for name, value in given.items()}
    context.instance.add_run_tags(context.run.run_id, tags)
    if {**given, **fixed} == dict(pipeline.values):
        return pipeline
    assert pipeline.file is not None
    return load_pipeline(pipeline.file, method_registry(), values={**given, **fixed})
