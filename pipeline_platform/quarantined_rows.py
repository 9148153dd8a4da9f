"""The rows in the quarantine of a step, for people."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.connectors.delta.table import open_table
from pipeline_platform.credentials.run_credentials import RunCredentials
from pipeline_platform.engine.preview import previewed
from pipeline_platform.engine.quarantine_changes import QuarantineTable, require_condition, require_sql
from pipeline_platform.engine.quarantine_rows import OWN_COLUMNS, PARTITION, QUARANTINED_AT
from pipeline_platform.engine.quarantine_tables import Quarantine
from pipeline_platform.engine.spark.session import planning_session
from pipeline_platform.engine.validation import REASONS
from pipeline_platform.frames.columns import quoted
from pipeline_platform.frames.session import arrow_table
from pipeline_platform.redacted_values import redacted_value
from pipeline_platform.redaction import MASK, looks_secret
from pipeline_platform.step_rows import StepRows
from pipeline_platform.steps.validate import Validate

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_REASON = "reason"


def quarantined_rows(quarantine: Quarantine, limit: int, where: str | None) -> StepRows | None:
    """Rows in the quarantine of a step, the newest first; None if it has no table yet.

    Args:
        quarantine: The quarantine.
        limit: How many rows at most.
        where: Which rows, in Spark SQL; None for all.

    Raises:
        PipelineException: It is no SQL, or the table, or what tells which columns are hidden, can't be read.
    """
    pipeline = quarantine.pipeline
    with (
        planning_session(pipeline) as spark,
        closing(RunCredentials.from_environment("quarantine", pipeline.location)) as credentials,
    ):
        place = quarantine.place(credentials)
        if open_table(place) is None:
            return None
        table = QuarantineTable(quarantine, spark, place)
        ours = table.counting(table.columns, with_unfinished=True)
        rows = table.filtered(ours)
        if where is not None:
            require_sql(f"--where {where}", where, quarantine.step)
            require_condition(rows, where, quarantine.step)
            rows = table.filtered(f"{ours} AND ({where}\n)")
        shown = _shown_columns(quarantine, spark, credentials, rows)
        hidden = {name for name, is_hidden in shown.items() if is_hidden}
        with table.tried():
            found = arrow_table(_masked(rows, shown, hidden).limit(limit + 1))
        kinds = {field.name: field.dataType.simpleString() for field in rows.schema.fields}
        listed = [tuple(map(redacted_value, row.values())) for row in found.to_pylist()]
        names = list(shown)
        return StepRows(
            quarantine.step.name, names, [kinds[name] for name in names], listed[:limit], len(listed) > limit
        )


def _masked(rows: DataFrame, shown: dict[str, bool], hidden: set[str]) -> DataFrame:
    from pyspark.sql import functions as F

    if QUARANTINED_AT in rows.columns:
        rows = rows.orderBy(F.col(QUARANTINED_AT).desc_nulls_last())
    return rows.select(
        *(
            F.when(F.col(quoted(name)).isNotNull(), F.lit(MASK)).alias(name)
            if name in hidden
            else F.col(quoted(name)).alias(name)
            for name in shown
        )
    )


def _shown_columns(
    quarantine: Quarantine, spark: SparkSession, credentials: RunCredentials, rows: DataFrame
) -> dict[str, bool]:
    """The columns that are shown, and of each whether its values are hidden.

    Those of other steps that have rows in the same table are left out.
    """
    told = [name for name in (REASONS, QUARANTINED_AT, PARTITION) if name in rows.columns]
    if quarantine.is_raw:
        # A record as it came may hold the value of any column.
        is_any_hidden = _marks_any(quarantine.pipeline)
        own = [name for name in rows.columns if name not in (*OWN_COLUMNS, REASONS)]
        return {name: name != _REASON and (is_any_hidden or looks_secret(name)) for name in own} | dict.fromkeys(
            told, False
        )
    head = quarantine.pipeline.steps[quarantine.step.inputs[0].step]
    with previewed(quarantine.pipeline, [head], spark, credentials) as previews:
        seen = previews.of(head, judges=False)
        expected, hidden = {name.lower() for name in seen.frame.columns}, {name.lower() for name in seen.hidden}
    own = [
        name
        for name in rows.columns
        if name not in (*OWN_COLUMNS, REASONS) and (name.lower() in expected or quarantine.is_alone)
    ]
    # What the pipeline had once and has no more, nobody can tell the marks of.
    return {
        name: name.lower() in hidden or (name.lower() not in expected and _marks_any(quarantine.pipeline))
        for name in own
    } | dict.fromkeys(told, False)


def _marks_any(pipeline: PipelineConfig) -> bool:
    return any(isinstance(step.config, Validate) and step.config.sensitive_columns for step in pipeline.steps)
