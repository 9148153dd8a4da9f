"""What Dagster shows of a run: the metrics of a step as metadata. Never a secret, never data but samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dagster as dg

from pipeline_platform.metrics.run import RuleMetrics, StepMetrics
from pipeline_platform.metrics.stream import StreamProgress, StreamTotals

KeyOf = Callable[[int], dg.AssetKey]


def materialization_metadata(metrics: StepMetrics, sources: list[dg.AssetKey], key_of: KeyOf) -> dict[str, Any]:
    """Metadata of a step's asset.

    Args:
        metrics: What the step did.
        sources: For an extract, the assets it reads.
        key_of: Gives the asset key of a step index.
    """
    found: dict[str, Any] = {
        "dagster/row_count": metrics.rows,
        "rows": metrics.rows_note,
        "dagster/uri": metrics.uri,
        "seconds": round(metrics.seconds, 3) if metrics.seconds is not None else None,
        "bytes": metrics.bytes,
        "files": metrics.files,
        "delta_version": metrics.version,
        "skipped": metrics.skipped,
        "malformed_records": metrics.malformed,
        "quarantined": metrics.quarantined,
        "quarantine": metrics.quarantine,
        **{f"delta/{name}": value for name, value in metrics.detail.items()},
    }
    if metrics.columns:
        found["dagster/column_schema"] = dg.TableSchema(
            columns=[
                dg.TableColumn(
                    column.name, column.type, constraints=dg.TableColumnConstraints(nullable=column.nullable)
                )
                for column in metrics.columns
            ],
        )
        found["dagster/column_lineage"] = _lineage(metrics, sources, key_of)
    return {name: value for name, value in found.items() if value is not None}


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


def _lineage(metrics: StepMetrics, sources: list[dg.AssetKey], key_of: KeyOf) -> dg.TableColumnLineage | None:
    if metrics.type == "extract":
        deps = {
            column.name: [dg.TableColumnDep(asset_key=key, column_name=column.name) for key in sources]
            for column in metrics.columns
        }
    else:
        deps = {
            column: [dg.TableColumnDep(asset_key=key_of(step), column_name=name) for step, name in origins]
            for column, origins in metrics.lineage.items()
        }
    return dg.TableColumnLineage(deps) if any(deps.values()) else None


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
    }
    return dg.AssetCheckResult(
        check_name=name,
        asset_key=key,
        passed=not broken,
        severity=dg.AssetCheckSeverity.ERROR if metrics.blocking else dg.AssetCheckSeverity.WARN,
        description=", ".join(rule.detail or f"{rule.rule}: {rule.violations}" for rule in broken) or None,
        metadata={key: value for key, value in metadata.items() if value is not None},
    )


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
