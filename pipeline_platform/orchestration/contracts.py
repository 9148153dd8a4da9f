"""What Dagster shows of the data contract of a load."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline_platform.config.contracts.table import TableContract
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.steps.contract_rules import ContractRules


def contract_metadata(pipeline: PipelineConfig, step: Step) -> dict[str, str]:
    """Which contract a step keeps, for the metadata of its asset; nothing if it keeps none.

    Args:
        pipeline: The pipeline.
        step: One of its steps.
    """
    if (table := _contract_of(pipeline, step)) is None:
        return {}
    contract = table.contract
    found = {
        "contract": str(table.file),
        "contract/id": contract.id,
        "contract/version": contract.version,
        "contract/schema": table.table.name,
        "contract/status": contract.status,
        "contract/team": table.team,
        "contract/domain": contract.domain,
    }
    return {name: value for name, value in found.items() if value}


def contract_content(step: Step) -> list[str]:
    """What a data contract says of a table, if the step is the validation of one: it makes another step of it.

    Args:
        step: The step.
    """
    return [step.config.table.table.model_dump_json()] if isinstance(step.config, ContractRules) else []


def with_descriptions(pipeline: PipelineConfig, step: Step, columns: Mapping[str, str]) -> dict[str, str]:
    """What is said of the columns of a step's asset, after what its contract says of them.

    Args:
        pipeline: The pipeline.
        step: One that is an asset.
        columns: For each column, where it comes from.
    """
    if (table := _contract_of(pipeline, step)) is None:
        return dict(columns)
    promised = {
        one.column.lower(): " ".join(one.description.split()) for one in table.table.properties if one.description
    }
    own = {name: promised.pop(name.lower(), "") for name in columns}
    return {**promised, **{name: f"{own[name]} {line}".strip() for name, line in columns.items()}}


def _contract_of(pipeline: PipelineConfig, step: Step) -> TableContract | None:
    guards = (one.config for one in pipeline.steps if one.guards is not None and one.guards == step.index)
    return next((config.table for config in guards if isinstance(config, ContractRules)), None)
