"""Whether a pipeline can go on from its checkpoint: what the checkpoint was made with, and what there is now."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.connectors.storage.location import StorageLocation
from pipeline_platform.engine.streaming.checkpoint import checkpoint_position, fingerprint_file
from pipeline_platform.engine.streaming.checkpoint_place import reset_command
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.steps.load import Load

# Names, and for how long rows are waited for.
_MAY_CHANGE = ("registerAs", "input", "cache", "cacheStorageLevel", "watermark", "watermarks")


class CheckpointFingerprint(BaseModel):
    """What of a pipeline its checkpoint depends on; lies beside the checkpoint.

    After https://spark.apache.org/docs/4.1.1/streaming/apis-on-dataframes-and-datasets.html, "Recovery Semantics after
    Changes in a Streaming Query": the sources in their order, and what keeps state. Filters, projections, triggers and
    sinks may change.
    """

    model_config = ConfigDict(frozen=True)

    pipeline: str
    steps: list[dict[str, Any]]
    """For each step that counts: its method, and what of its config counts."""
    sources: dict[str, str] = {}
    """For each source that can be made anew under its name: an id that it has for life."""
    load_ids: dict[str, str] = {}
    """For each sink: by which part of its load id it knows the micro-batches."""


def require_fit(
    pipeline: PipelineConfig, checkpoint: StorageLocation, formers: Collection[str] = ()
) -> CheckpointFingerprint | None:
    """Hold a pipeline against its checkpoint.

    Args:
        pipeline: A streaming pipeline, its environment variables replaced.
        checkpoint: The checkpoint.
        formers: Names that the pipeline had.

    Returns:
        What the checkpoint was made with; None for one that is to be made, or has no record.

    Raises:
        PipelineConfigurationException: Spark could not go on from there; says what differs.
    """
    record = fingerprint_file(checkpoint.path())
    if not record.exists() or checkpoint_position(pipeline, checkpoint).is_new:
        return None
    made_with = CheckpointFingerprint.model_validate_json(record.read_text())
    if made_with.pipeline in formers or not _main_load(pipeline).checkpoint_location:
        # Who moves a checkpoint into the folder of another pipeline means it.
        made_with = made_with.model_copy(update={"pipeline": pipeline.name})
    differences = _differences(made_with, _fingerprint(pipeline))
    if differences:
        raise PipelineConfigurationException(
            f"the stream can't continue from the checkpoint {checkpoint.uri}: {'; '.join(differences)}",
            location=pipeline.location,
            hint=(
                "undo the change, or start over: with another 'checkpointLocation', or with "
                f"'{reset_command(pipeline)}', which moves the old one aside"
            ),
        )
    return made_with


def differences_for_checkpoint(before: PipelineConfig, now: PipelineConfig) -> list[str]:
    """What keeps a version of a pipeline from going on from the checkpoint of another version, whatever its name.

    Args:
        before: A streaming pipeline, by which the checkpoint was made.
        now: The pipeline that is to go on.
    """
    made_with = _fingerprint(before).model_copy(update={"pipeline": now.name})
    return _differences(made_with, _fingerprint(now))


def _fingerprint(pipeline: PipelineConfig) -> CheckpointFingerprint:
    return CheckpointFingerprint(pipeline=pipeline.name, steps=_what_counts(pipeline))


def note_made_with(
    pipeline: PipelineConfig,
    checkpoint: StorageLocation,
    sources: Mapping[str, str],
    load_ids: Mapping[str, str],
) -> None:
    """Note beside a checkpoint what it is made with.

    Args:
        pipeline: A streaming pipeline that fits it, its environment variables replaced.
        checkpoint: The checkpoint.
        sources: As `CheckpointFingerprint` has them.
        load_ids: As `CheckpointFingerprint` has them.
    """
    record = fingerprint_file(checkpoint.path())
    steps = _what_counts(pipeline)
    made_with = CheckpointFingerprint(
        pipeline=pipeline.name, steps=steps, sources=dict(sources), load_ids=dict(load_ids)
    )
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(made_with.model_dump_json(indent=2))


def _what_counts(pipeline: PipelineConfig) -> list[dict[str, Any]]:
    streamed = [step for step in pipeline.steps if step.index in pipeline.shape.streamed]
    sources = [
        {"method": step.config.method, **step.config.as_written.position_in()}
        for step in streamed
        if step.traits.is_stream
    ]
    states = [
        {key: value for key, value in step.config.as_config().items() if key not in _MAY_CHANGE}
        | {"method": step.config.method}
        for step in streamed
        if step.type == "transform" and _keeps_state(pipeline, step)
    ]
    load = _main_load(pipeline)
    return [*sources, *states, *([{"method": load.method, "outputMode": load.output_mode}] if states else [])]


def _main_load(pipeline: PipelineConfig) -> Load:
    config = pipeline.main_load.config
    assert isinstance(config, Load)
    return config


def _keeps_state(pipeline: PipelineConfig, step: Step) -> bool:
    streams = {other.index for other in pipeline.steps if other.traits.is_stream}
    streaming_inputs = {edge.step for edge in step.inputs if pipeline.upstream_of({edge.step}) & streams}
    return step.traits.is_stateful or (step.traits.is_join and len(streaming_inputs) > 1)


def _differences(before: CheckpointFingerprint, now: CheckpointFingerprint) -> list[str]:
    if before.pipeline != now.pipeline:
        return [f"it belongs to the pipeline '{before.pipeline}'"]
    # The first load counts by its output mode alone: sinks may change.
    had, has = [_kind(step) for step in before.steps], [_kind(step) for step in now.steps]
    if had != has:
        return [f"it was created with {', '.join(had)}, and now there are {', '.join(has)}"]
    return [
        f"{old['method']} had '{key}' {json.dumps(old.get(key))}, and now has {json.dumps(new.get(key))}"
        for old, new in zip(before.steps, now.steps, strict=True)
        for key in [*old, *(key for key in new if key not in old)]
        if old.get(key) != new.get(key) and key != "method"
    ]


def _kind(step: Mapping[str, Any]) -> str:
    return "a load" if "outputMode" in step else step["method"]
