"""Where a stream keeps its place, and whether a pipeline can go on from there."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from pydantic import BaseModel, ConfigDict

from pipeline_platform.config.environment import substitute_all
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.config.stream_shape import StreamShape
from pipeline_platform.credentials.run_credentials import RunCredentials
from pipeline_platform.engine.step_credentials import credentials_of_bucket
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.methods.dataset import spark_path
from pipeline_platform.methods.load.base import Load
from pipeline_platform.methods.s3 import Place, place_of

if TYPE_CHECKING:
    from upath import UPath


DAMAGED_CHECKPOINT = "put back a copy of the checkpoint, or begin anew, with reset-checkpoint"

# Names, and for how long rows are waited for.
_MAY_CHANGE = ("registerAs", "input", "cache", "cacheStorageLevel", "watermark", "watermarks")


class MadeWith(BaseModel):
    """What of a pipeline its checkpoint depends on; lies beside the checkpoint.

    After https://spark.apache.org/docs/4.1.1/streaming/apis-on-dataframes-and-datasets.html, "Recovery Semantics after
    Changes in a Streaming Query": the sources in their order, and what keeps state. Filters, projections, triggers and
    sinks may change.
    """

    model_config = ConfigDict(frozen=True)

    pipeline: str
    steps: list[dict[str, Any]]
    """For each step that counts: its method, and what of its config counts."""


def main_load(pipeline: PipelineConfig) -> Step:
    """The first load: what it says of checkpoint, trigger, output mode and name holds for the one query there is."""
    return next(step for step in pipeline.steps if step.type == "load")


def checkpoint_location(pipeline: PipelineConfig) -> str:
    """Path or URI of the checkpoint: as written, or fixed by the names of the pipeline and its first load.

    Args:
        pipeline: A streaming pipeline.
    """
    step = main_load(pipeline)
    config = step.config.resolved()
    assert isinstance(config, Load)
    root = substitute_all(pipeline.streaming.checkpoint_root).rstrip("/")
    return spark_path(config.checkpoint_location or f"{root}/{pipeline.name}/{step.name}")


def checkpoint_place(pipeline: PipelineConfig, credentials: RunCredentials) -> Place:
    """The checkpoint with what it is entered with: for a bucket the credentials of the step that writes to it.

    Args:
        pipeline: A streaming pipeline.
        credentials: Where each step gets those of its system.

    Raises:
        CredentialException: They are missing, incomplete, refused or can't be reached.
    """
    uri = checkpoint_location(pipeline)
    return place_of(uri, credentials_of_bucket(credentials, pipeline.steps, uri))


def require_fit(pipeline: PipelineConfig, shape: StreamShape, checkpoint: Place) -> None:
    """Hold a pipeline against its checkpoint, and note what a new one is made with.

    Args:
        pipeline: A streaming pipeline.
        shape: What of it is the stream.
        checkpoint: The checkpoint.

    Raises:
        PipelineConfigurationException: Spark could not go on from there; says what differs.
    """
    folder = checkpoint.path()
    _require_whole(pipeline, folder)
    record = _record(folder)
    wanted = MadeWith(pipeline=pipeline.name, steps=_what_counts(pipeline, shape))
    if record.exists() and (folder / "metadata").exists():
        made_with = MadeWith.model_validate_json(record.read_text())
        differences = _differences(made_with, wanted)
        if differences:
            raise PipelineConfigurationException(
                f"the checkpoint {checkpoint.uri} can't be gone on from: {'; '.join(differences)}",
                location=pipeline.location,
                hint="take the change back, or begin anew: with another 'checkpointLocation', or with "
                f"'pipeline-platform reset-checkpoint {pipeline.file or 'FILE'}', which moves the old one aside",
            )
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(wanted.model_dump_json(indent=2))


def _require_whole(pipeline: PipelineConfig, folder: UPath) -> None:
    """Raise if the file is damaged that names the query; of the others Spark itself says so."""
    try:
        metadata = json.loads((folder / "metadata").read_text())
    except FileNotFoundError:
        return
    except ValueError:
        metadata = None
    if not isinstance(metadata, dict) or "id" not in metadata:
        raise PipelineConfigurationException(
            f"the checkpoint {folder} is damaged: its file 'metadata' does not name a query",
            location=pipeline.location,
            hint=DAMAGED_CHECKPOINT,
        )


def reset_checkpoint(pipeline: PipelineConfig, credentials: RunCredentials) -> str | None:
    """Move the checkpoint aside, so that the stream begins anew; nobody may be running it.

    Args:
        pipeline: A streaming pipeline.
        credentials: Where each step gets those of its system.

    Returns:
        Where it is now; None if there was none.
    """
    folder = checkpoint_place(pipeline, credentials).path()
    if not folder.exists():
        return None
    aside = folder.with_name(f"{folder.name}.{datetime.now(UTC):%Y%m%dT%H%M%S}")
    record = _record(folder)
    if record.exists():
        record.unlink()
    _move(folder, aside)
    return str(aside)


def _move(folder: UPath, aside: UPath) -> None:
    if folder.protocol in ("", "file"):
        folder.rename(aside)
        return
    found_by_path = cast("dict[str, dict[str, Any]]", folder.fs.find(folder.path, detail=True))
    for path, found in found_by_path.items():
        # Moving as a whole, fsspec stumbles over the empty objects that Hadoop leaves for folders.
        if found["size"]:
            folder.fs.cp_file(path, aside.path + path.removeprefix(folder.path))
    folder.fs.rm(folder.path, recursive=True)


def _record(folder: UPath) -> UPath:
    return folder.with_name(f"{folder.name}.made_with.json")


def _what_counts(pipeline: PipelineConfig, shape: StreamShape) -> list[dict[str, Any]]:
    streamed = [step for step in pipeline.steps if step.index in shape.streamed]
    sources = [
        {"method": step.config.method, **step.config.position_in()} for step in streamed if step.config.is_stream()
    ]
    states = [
        {key: value for key, value in step.config.as_config().items() if key not in _MAY_CHANGE}
        | {"method": step.config.method}
        for step in streamed
        if step.type == "transform" and _keeps_state(pipeline, step)
    ]
    load = main_load(pipeline).config
    assert isinstance(load, Load)
    return [*sources, *states, *([{"method": load.method, "outputMode": load.output_mode}] if states else [])]


def _keeps_state(pipeline: PipelineConfig, step: Step) -> bool:
    streams = {other.index for other in pipeline.steps if other.config.is_stream()}
    streaming_inputs = {edge.step for edge in step.inputs if pipeline.upstream_of({edge.step}) & streams}
    return step.config.looks_across_rows() or (step.config.combines_rows() and len(streaming_inputs) > 1)


def _differences(before: MadeWith, now: MadeWith) -> list[str]:
    if before.pipeline != now.pipeline:
        return [f"it is that of the pipeline '{before.pipeline}'"]
    had, has = [step["method"] for step in before.steps], [step["method"] for step in now.steps]
    if had != has:
        return [f"it was made with {', '.join(had)}, and now there are {', '.join(has)}"]
    return [
        f"{old['method']} had '{key}' {json.dumps(old.get(key))}, and now has {json.dumps(new.get(key))}"
        for old, new in zip(before.steps, now.steps, strict=True)
        for key in [*old, *(key for key in new if key not in old)]
        if old.get(key) != new.get(key)
    ]
