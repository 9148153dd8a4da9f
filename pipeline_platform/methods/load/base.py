"""What the engine asks of every load."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Protocol

from pydantic import AfterValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from pipeline_platform.config.step import StepType
from pipeline_platform.config.values import Location, Text, one_of
from pipeline_platform.methods.base import WorksOnFrame

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from pipeline_platform.credentials.model import Credentials
    from pipeline_platform.methods.dataset import Dataset


@dataclass(frozen=True)
class LoadRun:
    """One load of one run.

    Args:
        load_id: The same for every attempt at the same load, different for each new load: what
            idempotence hangs on.
        query_name: Name for the query.
        credentials: Those of the sink's system; None if it has none, or lets the step in without.
        run_id: The attempt at the load: differs where `load_id` is the same.
    """

    load_id: str
    query_name: str
    credentials: Credentials | None = None
    run_id: str = ""


@dataclass(frozen=True)
class Written:
    """What a load wrote.

    Args:
        rows: Rows written; None if the sink does not say.
        bytes: Bytes written.
        files: Files written.
        version: Version of the table, for a sink that has versions.
        skipped: Why nothing was written, where that is right: an earlier attempt did, or mode `ignore`.
        detail: More numbers of the sink's own, for the metadata.
    """

    rows: int | None = None
    bytes: int | None = None
    files: int | None = None
    version: int | None = None
    skipped: str | None = None
    detail: Mapping[str, int] = field(default_factory=dict)


class Prepared(Protocol):
    """A load that was planned: it was held against its sink, nothing was written yet."""

    def write(self) -> Written:
        """Write all or nothing; a second call for the same load id changes nothing."""
        ...

    def clean(self) -> None:
        """Remove what an attempt that did not finish left behind."""
        ...


class Load(WorksOnFrame):
    """Writes a frame to a sink."""

    step_type: ClassVar[StepType] = "load"

    query_name: Text | None = None
    """Name of the streaming query; by default made from pipeline and step."""
    checkpoint_location: Location | None = None
    """Streaming: folder of the checkpoint; by default under `checkpointRoot`, fixed by pipeline and step."""
    output_mode: Annotated[Literal["append", "complete", "update"], one_of("append", "complete", "update")] = "append"
    """Streaming: Spark's output mode."""
    trigger: Trigger = "5 seconds"
    """Streaming: when a micro-batch starts."""

    def ends_by_itself(self) -> bool:
        return self.trigger == "availableNow"

    def dataset(self) -> Dataset:
        """What is written."""
        raise NotImplementedError(f"'{self.method}' is not available in this version")

    def reports_rows(self) -> bool:
        """Whether the sink says how many rows of the frame it took, so that they need not be counted on the way."""
        return False

    def folder(self) -> str | None:
        """Path or URI of a sink that is a folder; None for one that is not."""
        return None

    def prepare(self, frame: DataFrame, run: LoadRun) -> Prepared:
        """Hold the frame against the sink: columns, partition columns, types; writes nothing.

        Raises:
            PipelineException: The sink can't take the frame.
        """
        raise NotImplementedError(f"'{self.method}' is not available in this version")


def _trigger(value: str) -> str:
    text = value.strip()
    interval = r"\d+\s*(milliseconds?|ms|seconds?|s|minutes?|min|hours?|h|days?|d)"
    allowed = rf"(processingTime\s*=\s*)?{interval}|once|availableNow|continuous\s*=\s*{interval}"
    if not re.fullmatch(allowed, text, re.ASCII):
        raise PydanticCustomError(
            "trigger",
            "unknown trigger '{value}'; write '5 seconds', 'processingTime=5 seconds', 'once', 'availableNow' "
            "or 'continuous=1 second'",
            {"value": value},
        )
    return text


Trigger = Annotated[
    Location,
    AfterValidator(_trigger),
    WithJsonSchema({"type": "string", "examples": ["5 seconds", "processingTime=5 seconds", "availableNow"]}),
]
Load.model_rebuild()
