"""What Dagster shows of a run: the metrics of a step as metadata. Never a secret, never data but samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from pipeline_platform.metrics.run import RuleMetrics, SchemaChangeMetrics, StepMetrics
from pipeline_platform.metrics.stream import StreamProgress, StreamTotals
from pipeline_platform.orchestration.column_origins import Origins


def materialization_metadata(
    metrics: StepMetrics,
    origins: Origins,
    descriptions: Mapping[str, str],
    partitions: Sequence[str] = (),
) -> dict[str, Any]:
    """Metadata of a step's asset.

    Args:
        metrics: What the step did.
        origins: What its columns are made of.
        descriptions: The same in words.
        partitions: Keys of the partitions that the run loaded; none of a pipeline without partitions.
    """
    system = "delta" if metrics.version is not None else "table"
    found: dict[str, Any] = {
        **_row_count(metrics, partitions),
        "dagster/uri": metrics.uri,
        "seconds": round(metrics.seconds, 3) if metrics.seconds is not None else None,
        "bytes": metrics.bytes,
        "files": metrics.files,
        "delta_version": metrics.version,
        "skipped": metrics.skipped,
        "cursor": metrics.cursor,
        "malformed_records": metrics.malformed,
        "quarantined": metrics.quarantined,
        "quarantine": metrics.quarantine,
        "schema_changes": _schema_changes(metrics),
        **{f"{system}/{name}": value for name, value in metrics.detail.items()},
    }
    if metrics.columns:
        found["dagster/column_schema"] = dg.TableSchema(
            columns=[
                dg.TableColumn(
                    column.name,
                    column.type,
                    descriptions.get(column.name),
                    constraints=dg.TableColumnConstraints(nullable=column.nullable),
                )
                for column in metrics.columns
            ],
        )
        found["dagster/column_lineage"] = dg.TableColumnLineage(origins) if any(origins.values()) else None
    return {name: value for name, value in found.items() if value is not None}


def schema_observation(key: dg.AssetKey, change: SchemaChangeMetrics) -> dg.AssetObservation:
    """The event of one column of a load that was not as in its table.

    Args:
        key: Of the sink's asset.
        change: The difference.
    """
    facts = {name: value for name, value in change.model_dump().items() if value is not None}
    return dg.AssetObservation(
        asset_key=key, description=change.told(), metadata={f"schema/{name}": value for name, value in facts.items()}
    )


def _schema_changes(metrics: StepMetrics) -> dg.TableMetadataValue | None:
    if not metrics.schema_changes:
        return None
    records = [
        dg.TableRecord({name: value or "" for name, value in change.model_dump().items()})
        for change in metrics.schema_changes
    ]
    columns = [dg.TableColumn(name, "string") for name in ("column", "change", "before", "after")]
    return dg.TableMetadataValue(records=records, schema=dg.TableSchema(columns=columns))


def _row_count(metrics: StepMetrics, partitions: Sequence[str]) -> dict[str, Any]:
    """The rows of the table, or of its partition; of several partitions only their sum is known."""
    if metrics.rows is None or not partitions:
        return {"dagster/row_count": metrics.rows, "rows": metrics.rows_note}
    if len(partitions) == 1:
        return {"dagster/partition_row_count": metrics.rows}
    return {"rows": f"{metrics.rows:,} in {len(partitions)} partitions, {partitions[0]} to {partitions[-1]}"}


def stream_metadata(progress: StreamProgress, totals: StreamTotals, load: StepMetrics | None) -> dict[str, Any]:
    """Metadata of a sink while a stream runs.

    Args:
        progress: Where the stream stands.
        totals: What it did since the run began.
        load: What the load of the sink did last; None if it has done nothing yet.
    """
    offsets = {source.description: source.offsets for source in progress.sources}
    lags = {place: lag for source in progress.sources for place, lag in source.lag_by_partition.items()}
    found: dict[str, Any] = {
        "stream/batch": progress.batch,
        "stream/lag": progress.lag,
        "stream/batch_at": dg.MetadataValue.timestamp(progress.at),
        "delta_version": load.version if load is not None else None,
        "stream/batch_seconds": progress.seconds,
        "stream/batch_rows": progress.rows,
        "stream/rows_per_second_in": progress.rows_per_second_in,
        "stream/rows_per_second": progress.rows_per_second,
        "stream/lag_by_partition": dg.MetadataValue.json(lags) if lags else None,
        "stream/offsets": dg.MetadataValue.json(offsets),
        "stream/state_rows": progress.state_rows,
        "stream/watermark": progress.watermark,
        "stream/malformed_records": sum(progress.malformed.values()) if progress.malformed else None,
        "stream/late_rows": totals.late_rows if progress.watermark is not None else None,
        "stream/future_rows": totals.future_rows or None,
        "stream/query_id": progress.query_id,
        "stream/query_run_id": progress.query_run_id,
    }
    return {name: value for name, value in found.items() if value is not None}


def check_result(metrics: StepMetrics, name: str, key: dg.AssetKey) -> dg.AssetCheckResult:
    """The result of a validation, with a row for each rule."""
    broken = [rule for rule in metrics.rules if not rule.passed]
    samples = {rule.rule: rule.samples for rule in metrics.rules if rule.samples}
    metadata: dict[str, Any] = {
        "rows": metrics.rows,
        "violations": sum(rule.violations for rule in metrics.rules),
        "quarantined": metrics.quarantined,
        "quarantine": metrics.quarantine,
        "rules": dg.TableMetadataValue(records=[_record(rule) for rule in metrics.rules], schema=_RULE_SCHEMA),
        "samples": dg.MetadataValue.json(samples) if samples else None,
        **_plots(metrics.rules),
    }
    return dg.AssetCheckResult(
        check_name=name,
        asset_key=key,
        passed=not broken,
        severity=dg.AssetCheckSeverity.ERROR if metrics.blocking else dg.AssetCheckSeverity.WARN,
        description=", ".join(rule.detail or f"{rule.rule}: {rule.violations}" for rule in broken) or None,
        metadata={key: value for key, value in metadata.items() if value is not None},
    )


def _plots(rules: Sequence[RuleMetrics]) -> dict[str, int | float | None]:
    """A number for each rule, which Dagster plots over time on the page of the check: one series for each key."""
    found: dict[str, int | float | None] = {}
    for rule in rules[:_MOST_PLOTS]:
        name = rule.measure or rule.rule
        short = name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
        number = 1
        while (key := f"rule/{short}" if number == 1 else f"rule/{short} ({number})") in found:
            number += 1
        found[key] = rule.value if rule.measure is not None else rule.violations
    return found


# Of Dagster's page, which shows 100 series, and its list of metadata, which shows all.
_MOST_PLOTS = 50
_LONGEST_NAME = 60
_RULE_SCHEMA = dg.TableSchema(
    columns=[
        dg.TableColumn("rule", "string"),
        dg.TableColumn("violations", "int"),
        dg.TableColumn("fraction", "float"),
        dg.TableColumn("passed", "bool"),
        dg.TableColumn("detail", "string"),
    ],
)


def _record(rule: RuleMetrics) -> dg.TableRecord:
    return dg.TableRecord(
        {
            "rule": rule.rule,
            "violations": rule.violations,
            "fraction": rule.fraction if rule.fraction is not None else "",
            "passed": rule.passed,
            "detail": rule.detail or "",
        },
    )
