"""What Dagster shows of the data contract of a load."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pipeline_platform.config.contracts.odcs import Item, Property
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.steps.contract_rules import ContractRules, contract_of


def contract_metadata(pipeline: PipelineConfig, step: Step) -> dict[str, str]:
    """Which contract a step keeps, for the metadata of its asset; nothing if it keeps none.

    Args:
        pipeline: The pipeline.
        step: One of its steps.
    """
    if (table := contract_of(pipeline, step)) is None:
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
    """What a data contract promises of a table, if the step is the validation of one: it makes another step of it.

    Args:
        step: The step.
    """
    if not isinstance(step.config, ContractRules):
        return []
    promised = step.config.promised
    rules = [[rule.name, rule.kind, rule.columns, rule.value] for rule in promised.rules]
    types = [_types(one) for one in promised.contract.table.properties]
    return [json.dumps([rules, types], default=str)]


def _types(one: Item) -> list[Any]:
    """What a contract says of the type of a value, and of those in it."""
    parts = [*one.properties, one.items, *([one.map.key, one.map.value] if one.map is not None else [])]
    name = one.column if isinstance(one, Property) else None
    within = [_types(part) for part in parts if part is not None]
    return [name, one.logical_type, one.physical_type, one.semantic_type, within]


def with_descriptions(pipeline: PipelineConfig, step: Step, columns: Mapping[str, str]) -> dict[str, str]:
    """What is said of the columns of a step's asset, after what its contract says of them.

    Args:
        pipeline: The pipeline.
        step: One that is an asset.
        columns: For each column, where it comes from.
    """
    if (table := contract_of(pipeline, step)) is None:
        return dict(columns)
    promised = {
        one.column.lower(): " ".join(one.description.split()) for one in table.table.properties if one.description
    }
    own = {name: promised.pop(name.lower(), "") for name in columns}
    return {**promised, **{name: f"{own[name]} {line}".strip() for name, line in columns.items()}}
