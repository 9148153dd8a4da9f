"""Whether the quarantines of a pipeline have few rows, and none that was forgotten: an asset check without a JVM."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime

import dagster as dg

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.engine.quarantine_tables import QuarantineState, quarantines_of, state_of
from pipeline_platform.orchestration.asset_view import AssetView
from pipeline_platform.orchestration.op_names import OpNames
from pipeline_platform.redaction import redact
from pipeline_platform.resources.vault import VaultResource

QUARANTINE_CHECK = "quarantine"
_COMMAND = "pipeline-platform quarantine list"


def has_limits(pipeline: PipelineConfig) -> bool:
    """Whether a pipeline says how many rows may be in its quarantines, or for how long, and has any.

    Args:
        pipeline: The pipeline.
    """
    limits = pipeline.quarantine
    has_any = any(step.config.fills_quarantine() for step in pipeline.steps)
    return has_any and (limits.max_rows is not None or limits.max_age is not None)


def checked_step(view: AssetView, pipeline: PipelineConfig) -> Step:
    """The step on whose asset the check is: the first load, or the last asset of a pipeline without loads.

    Args:
        view: Which steps are assets.
        pipeline: The pipeline.
    """
    shown = view.steps(pipeline)
    return next((step for step in shown if step.type == "load"), shown[-1])


def quarantine_check(view: AssetView, pipeline: PipelineConfig, names: OpNames) -> dg.AssetChecksDefinition:
    """A check of a pipeline's first load: its quarantines have no more rows, and none for longer, than it says.

    Args:
        view: Which steps are assets.
        pipeline: A pipeline that has such limits.
        names: Of ops.
    """
    key = view.key(pipeline, checked_step(view, pipeline))
    limits = pipeline.quarantine
    told = [
        *(
            [f"at most {limits.max_rows:,} rows" if limits.max_rows else "no rows"]
            if limits.max_rows is not None
            else []
        ),
        *([f"none for longer than {limits.max_age}"] if limits.max_age is not None else []),
    ]

    @dg.multi_asset_check(
        name=names.take(f"{'__'.join(key.path)}_{QUARANTINE_CHECK}"),
        specs=[
            dg.AssetCheckSpec(
                QUARANTINE_CHECK, asset=key, description=f"The quarantines of the pipeline hold {', and '.join(told)}."
            )
        ],
    )
    def compute(vault: VaultResource) -> Iterator[dg.AssetCheckResult]:
        found = _evaluated(view, pipeline, vault)
        yield dg.AssetCheckResult(
            check_name=QUARANTINE_CHECK,
            asset_key=key,
            passed=found.passed,
            severity=found.severity,
            description=found.description,
            metadata=found.metadata,
        )

    return compute


def reported_quarantine(
    instance: dg.DagsterInstance, view: AssetView, pipeline: PipelineConfig, vault: VaultResource
) -> Callable[[], None] | None:
    """What tells the instance how the check stands, for a stream whose run does not end; None without limits.

    Args:
        instance: Dagster's.
        view: Which steps are assets.
        pipeline: The stream.
        vault: Where credentials come from.
    """
    if not has_limits(pipeline):
        return None

    def report() -> None:
        instance.report_runless_asset_event(_evaluated(view, pipeline, vault))

    return report


def _evaluated(view: AssetView, pipeline: PipelineConfig, vault: VaultResource) -> dg.AssetCheckEvaluation:
    states: dict[str, QuarantineState] = {}
    wrong: list[str] = []
    for quarantine in quarantines_of([pipeline]):
        try:
            with closing(vault.run_credentials("quarantine", pipeline.location)) as credentials:
                state = state_of(quarantine, credentials)
        # Vault or the store is away, or refuses; each has errors of its own.
        except Exception as error:  # noqa: BLE001
            first = redact(str(error).partition("\n")[0])
            wrong.append(f"the quarantine of {quarantine.step.name} can't be looked at: {first}")
            continue
        if state is not None:
            states[quarantine.step.name] = state
    wrong += _beyond(pipeline, states, datetime.now(UTC))
    return dg.AssetCheckEvaluation(
        asset_key=view.key(pipeline, checked_step(view, pipeline)),
        check_name=QUARANTINE_CHECK,
        passed=not wrong,
        severity=dg.AssetCheckSeverity.ERROR,
        description="; ".join(wrong) or None,
        metadata=_metadata(states),
    )


def _beyond(pipeline: PipelineConfig, states: Mapping[str, QuarantineState], now: datetime) -> list[str]:
    limits, found = pipeline.quarantine, list[str]()
    rows = sum(state.rows for state in states.values())
    if limits.max_rows is not None and rows > limits.max_rows:
        told = "1 row is" if rows == 1 else f"{rows:,} rows are"
        allowed = f"more than {limits.max_rows:,}" if limits.max_rows else "and none may be"
        found.append(f"{told} in quarantine, {allowed}: look at {'it' if rows == 1 else 'them'} with: {_COMMAND}")
    for step, state in states.items():
        if limits.oldest is not None and state.oldest is not None and now - state.oldest > limits.oldest:
            days = (now - state.oldest).total_seconds() / 86400
            found.append(f"a row is in the quarantine of {step} for {days:.1f} days, longer than {limits.max_age}")
    return found


def _metadata(states: Mapping[str, QuarantineState]) -> dict[str, dg.MetadataValue]:
    oldest = [state.oldest for state in states.values() if state.oldest is not None]
    rules = {f"{step}: {rule}": count for step, state in states.items() for rule, count in state.by_rule.items()}
    found: dict[str, dg.MetadataValue] = {
        "rows": dg.MetadataValue.int(sum(state.rows for state in states.values())),
        "bytes": dg.MetadataValue.int(sum(state.table_bytes for state in states.values())),
    }
    if oldest:
        found["oldest"] = dg.MetadataValue.timestamp(min(oldest))
    if rules:
        found["rules"] = dg.MetadataValue.json(rules)
    if pending := sum(state.pending for state in states.values()):
        found["in_a_replay"] = dg.MetadataValue.int(pending)
    return found
