"""What a pipeline, and the data contract of a load, say of the table that is loaded."""

from __future__ import annotations

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.steps.contract_rules import contract_of
from pipeline_platform.steps.table_facts import TableFacts


def table_facts(pipeline: PipelineConfig, step: Step) -> TableFacts:
    """What is said of the table of a load.

    Args:
        pipeline: The pipeline.
        step: The load.
    """
    contract = contract_of(pipeline, step)
    promised = contract.table.properties if contract is not None else ()
    about = contract.table.description if contract is not None else None
    owners = pipeline.metadata.owners()
    return TableFacts(
        pipeline=pipeline.name,
        step=step.name,
        comment=_line(about) or _line(pipeline.description),
        # A catalog has one kind of owner.
        owner=owners[0].removeprefix("team:") if owners else None,
        tags=tuple(pipeline.metadata.tags),
        columns={one.column: said for one in promised if (said := _line(one.description)) is not None},
    )


def _line(text: str | None) -> str | None:
    """A text in one line; None if there is none."""
    return " ".join(text.split()) or None if text is not None else None
