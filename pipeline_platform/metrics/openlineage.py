"""The record of a run as events of OpenLineage: what it read and wrote, and where each column came from.

Datasets are named by https://openlineage.io/docs/spec/naming, so that other tools' events join with these.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any
from uuid import UUID

from openlineage.client import OpenLineageClient
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.facet_v2 import (
    InputDatasetFacet,
    RunFacet,
    column_lineage_dataset,
    dataset_version_dataset,
    error_message_run,
    input_statistics_input_dataset,
    job_type_job,
    output_statistics_output_dataset,
    schema_dataset,
)

from pipeline_platform.metrics.run import RunMetrics, StepMetrics
from pipeline_platform.registry import dataset_name

PRODUCER = f"pkg:pypi/pipeline-platform@{version('pipeline-platform')}"
"""A package URL, https://github.com/package-url/purl-spec."""
NAMESPACE_VARIABLE = "OPENLINEAGE_NAMESPACE"
_STATES = {
    "RUNNING": RunState.START,
    "COMPLETED": RunState.COMPLETE,
    "FAILED": RunState.FAIL,
    "CANCELLED": RunState.ABORT,
}


class OpenLineageExporter:
    """Emits an event when a run begins and one when it ends.

    `OPENLINEAGE_URL`, or an `openlineage.yml`, says where to; `OPENLINEAGE_NAMESPACE` the namespace of the jobs, by
    default `default`.
    """

    def __init__(self) -> None:
        self._client = OpenLineageClient()
        self._namespace = os.environ.get(NAMESPACE_VARIABLE) or "default"

    def export(self, run: RunMetrics) -> None:
        """Emit an event.

        Raises:
            Exception: Whatever the client's transport raises.
        """
        self._client.emit(run_event(run, self._namespace))


def run_event(run: RunMetrics, namespace: str) -> RunEvent:
    """The event that says what is known of a run.

    Args:
        run: Its record.
        namespace: Of the jobs.
    """
    kind = job_type_job.JobTypeJobFacet("STREAMING" if run.mode == "streaming" else "BATCH", "SPARK", "JOB")
    failed: dict[str, RunFacet] = (
        {"errorMessage": error_message_run.ErrorMessageRunFacet(run.error, "PYTHON")} if run.error else {}
    )
    steps = {step.index: step for step in run.steps}
    return RunEvent(
        eventTime=(run.ended or datetime.now(UTC)).isoformat(),
        eventType=_STATES[run.status],
        producer=PRODUCER,
        run=Run(str(UUID(run.run_id)), facets=failed),
        job=Job(namespace, run.pipeline, facets={"jobType": kind}),
        inputs=[_input(step) for step in run.steps if step.type == "extract" and step.uri],
        outputs=[_output(step, steps) for step in run.steps if step.type == "load" and step.uri],
    )


def _input(step: StepMetrics) -> InputDataset:
    namespace, name = dataset_name(step.uri or "")
    statistics = input_statistics_input_dataset.InputStatisticsInputDatasetFacet(rowCount=step.rows)
    facets: dict[str, InputDatasetFacet] = {"inputStatistics": statistics} if step.rows is not None else {}
    return InputDataset(namespace, name, inputFacets=facets, facets=_schema(step))


def _output(step: StepMetrics, steps: Mapping[int, StepMetrics]) -> OutputDataset:
    namespace, name = dataset_name(step.uri or "")
    facets = _schema(step)
    if step.version is not None:
        facets["version"] = dataset_version_dataset.DatasetVersionDatasetFacet(str(step.version))
    fields = {
        column: column_lineage_dataset.Fields(
            [
                column_lineage_dataset.InputField(*dataset_name(source.uri), field)
                for source, field in _origins(step, column, steps)
                if source.uri
            ]
        )
        for column in step.lineage
    }
    if any(field.inputFields for field in fields.values()):
        facets["columnLineage"] = column_lineage_dataset.ColumnLineageDatasetFacet(fields)
    statistics = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(step.rows, step.bytes, step.files)
    return OutputDataset(namespace, name, outputFacets={"outputStatistics": statistics}, facets=facets)


def _schema(step: StepMetrics) -> dict[str, Any]:
    fields = [schema_dataset.SchemaDatasetFacetFields(column.name, column.type) for column in step.columns]
    return {"schema": schema_dataset.SchemaDatasetFacet(fields)} if fields else {}


def _origins(step: StepMetrics, column: str, steps: Mapping[int, StepMetrics]) -> Iterator[tuple[StepMetrics, str]]:
    """The columns of extracts that a column comes from, each once."""
    seen: set[tuple[int, str]] = set()
    pending = list(step.lineage.get(column, ()))
    while pending:
        index, name = pending.pop(0)
        source = steps.get(index)
        if (index, name) in seen or source is None:
            continue
        seen.add((index, name))
        if source.type == "extract":
            yield source, name
        else:
            pending.extend(source.lineage.get(name, ()))
