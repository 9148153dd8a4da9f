"""Whether a stream is healthy: an asset check, made by the supervisor and by whoever runs it in the UI.

The supervisor asks for it at each change of many streams, so it goes by what a stream says of itself alone. Who runs
the check has the Delta tables of its sinks looked at, too.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.engine.streaming.stream_state import StreamState, state_file
from pipeline_platform.orchestration.asset_view import AssetView
from pipeline_platform.orchestration.op_names import OpNames
from pipeline_platform.orchestration.supervisor import SupervisorState
from pipeline_platform.redaction import redact
from pipeline_platform.resources.sink_tables import SinkTable, sink_tables
from pipeline_platform.resources.vault import VaultResource

HEALTH_CHECK = "stream_healthy"


def health_check(view: AssetView, pipeline: PipelineConfig, names: OpNames) -> dg.AssetChecksDefinition:
    """A check of the stream's first sink: it runs, beats, keeps up, and was not restarted again and again.

    Args:
        view: Which steps are assets.
        pipeline: A stream.
        names: Of ops.
    """
    key = view.key(pipeline, pipeline.main_load)
    about = (
        "Heartbeat fresh, lag caught up within stallTimeoutSeconds, restarts below half of maxRestarts; when run, also "
        "whether the Delta tables of its sinks are there."
    )

    @dg.multi_asset_check(
        name=names.take(f"{'__'.join(key.path)}_{HEALTH_CHECK}"),
        specs=[dg.AssetCheckSpec(HEALTH_CHECK, asset=key, description=about)],
    )
    def compute(vault: VaultResource) -> Iterator[dg.AssetCheckResult]:
        state = StreamState.read(state_file(pipeline.name))
        found = health(view, pipeline, state, None, datetime.now(UTC))
        try:
            tables = list(sink_tables(pipeline, vault))
            gone = _gone(state, tables)
        # Vault or the store is away, or refuses; each has errors of its own.
        except Exception as error:  # noqa: BLE001
            tables, gone = [], [f"its tables can't be looked at: {redact(str(error).splitlines()[0])}"]
        yield dg.AssetCheckResult(
            check_name=HEALTH_CHECK,
            asset_key=key,
            passed=found.passed and not gone,
            description="; ".join([*([found.description] if found.description else []), *gone]) or None,
            metadata={**found.metadata, **({"tables": _shown(tables)} if tables else {})},
            severity=found.severity,
        )

    return compute


def _gone(state: StreamState | None, tables: Sequence[SinkTable]) -> list[str]:
    """What is missing that a micro-batch has written to."""
    progress = state.progress if state is not None else None
    has_loaded = progress is not None and (progress.worked or progress.batch > 0)
    return [f"there is no table at {table.uri}" for table in tables if has_loaded and table.version is None]


def _shown(tables: Sequence[SinkTable]) -> dg.TableMetadataValue:
    columns = [dg.TableColumn("sink"), dg.TableColumn("version", "int"), dg.TableColumn("committed")]
    records = [
        dg.TableRecord(
            {
                "sink": table.step.name,
                "version": table.version if table.version is not None else "none",
                "committed": table.committed.isoformat(sep=" ", timespec="seconds") if table.committed else "",
            }
        )
        for table in tables
    ]
    return dg.MetadataValue.table(records, dg.TableSchema(columns))


def health(
    view: AssetView,
    pipeline: PipelineConfig,
    state: StreamState | None,
    watch: SupervisorState | None,
    now: datetime,
) -> dg.AssetCheckEvaluation:
    """Judge a stream by what it last said of itself, and by what its supervisor knows.

    Args:
        view: Which steps are assets.
        pipeline: The stream.
        state: What it last said; None if it never ran.
        watch: What its supervisor knows; None to ask the stream alone.
        now: The time, with its zone.
    """
    wrong = list(_wrong(pipeline, state, watch, now))
    progress = state.progress if state is not None else None
    behind = seconds_behind(state)
    metadata: dict[str, Any] = {
        "heartbeat": dg.MetadataValue.timestamp(state.heartbeat) if state is not None else None,
        "batch": progress.batch if progress is not None else None,
        "lag": progress.lag if progress is not None else None,
        "seconds_behind": behind,
        "restarts": watch.restarts if watch is not None else state.restarts if state is not None else None,
        "supervision": watch.phase if watch is not None else None,
        "checkpoint": state.checkpoint if state is not None else None,
    }
    return dg.AssetCheckEvaluation(
        asset_key=view.key(pipeline, pipeline.main_load),
        check_name=HEALTH_CHECK,
        passed=not wrong,
        severity=dg.AssetCheckSeverity.ERROR,
        description="; ".join(wrong) or None,
        metadata={name: value for name, value in metadata.items() if value is not None},
    )


def seconds_behind(state: StreamState | None) -> float | None:
    """How long a stream needs to catch up at its present speed; None where that can't be said."""
    progress = state.progress if state is not None else None
    if progress is None or progress.lag is None:
        return None
    if progress.lag == 0:
        return 0.0
    return progress.lag / progress.rows_per_second if progress.rows_per_second else None


def _wrong(
    pipeline: PipelineConfig, state: StreamState | None, watch: SupervisorState | None, now: datetime
) -> list[str]:
    options = pipeline.streaming
    if watch is not None and watch.phase in ("given_up", "waiting", "stopped"):
        return [f"{watch.phase.replace('_', ' ')}: {watch.reason}"]
    if state is None:
        return ["it has not run yet"]
    if state.phase in ("failed", "stopped", "completed"):
        return [f"{state.phase}: {state.error}" if state.error else state.phase]
    wrong: list[str] = []
    if state.is_stale(now):
        wrong.append(f"no heartbeat for {(now - state.heartbeat).total_seconds():.0f} s")
    behind = seconds_behind(state)
    if behind is not None and behind > options.stall_timeout_seconds:
        wrong.append(f"it would take {behind:.0f} s to catch up")
    restarts = watch.restarts if watch is not None else state.restarts
    if restarts * 2 > options.max_restarts:
        wrong.append(f"{restarts} restarts without progress")
    return wrong
