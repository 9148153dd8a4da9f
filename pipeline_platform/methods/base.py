"""The four kinds of step, and what the engine asks of each."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol, Self, get_args

from pydantic import AfterValidator, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from pipeline_platform.config.step import StepConfig, StepType
from pipeline_platform.config.values import (
    Amount,
    Flag,
    FrameName,
    Location,
    Names,
    StorageLevel,
    Text,
    legible,
    one_of,
)

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

    from pipeline_platform.methods.dataset import Dataset

CredentialType = Literal["postgres", "postgresql", "mysql", "s3", "aws", "kafka", "deltalake", "delta"]
OnFailure = Literal["fail", "warn", "quarantine"]
HELPER_PREFIX = "__pipeline_platform_"
"""Columns with this prefix are the platform's own and never reach a sink."""


class KeepsFrame(StepConfig):
    """Keys of the steps whose output is a frame: extracts and transforms."""

    register_as: FrameName | None = None
    """Registers the output under this name, for later steps."""
    cache: Flag = False
    """Persist the output until the pipeline ends."""
    cache_storage_level: StorageLevel = "MEMORY_AND_DISK"
    """Spark storage level of `cache`."""

    def registered_name(self) -> str | None:
        return self.register_as


class Credentialed(StepConfig):
    """Keys of the steps whose system has credentials.

    What a secret in Vault has wins over the same field in the config.
    """

    credential_types: ClassVar[tuple[CredentialType, ...]] = get_args(CredentialType)
    """Types of credentials that the method can use."""

    credential_path: Text | None = None
    """Where in Vault the credentials are."""
    credential_type: Annotated[CredentialType, one_of(*get_args(CredentialType))] | None = None
    """Which fields the secret has; by default what the method needs."""

    @model_validator(mode="after")
    def _credential_type_fits(self) -> Self:
        if self.credential_type is not None and self.credential_type not in self.credential_types:
            raise PydanticCustomError(
                "credential_type",
                "'{method}' takes credentials of type {types}, not {type}",
                {
                    "method": self.method,
                    "types": " or ".join(self.credential_types),
                    "type": self.credential_type,
                    "key": "credentialType",
                },
            )
        return self

    def inline_credentials(self) -> dict[str, Any]:
        """The credential fields that the config itself has, legible, as they would stand in Vault."""
        return {}

    def written(self, *fields: str) -> dict[str, Any]:
        """Those of the fields that the config has, by key, with their secrets legible."""
        return {
            type(self).model_fields[name].alias or name: legible(getattr(self, name))
            for name in fields
            if name in self.model_fields_set and getattr(self, name) is not None
        }


class WorksOnFrame(StepConfig):
    """Keys of the steps that work on the primary frame, or on a registered one."""

    input: FrameName | None = None
    """A registered frame to work on in place of the primary one."""

    def reads_primary(self) -> bool:
        return self.input is None

    def referenced_frames(self) -> Sequence[tuple[str, str]]:
        return [("input", self.input)] if self.input is not None else []


class Extract(KeepsFrame):
    """Reads a dataset into a frame."""

    step_type: ClassVar[StepType] = "extract"

    def reads_primary(self) -> bool:
        return False

    def dataset(self) -> Dataset | None:
        """What is read; None for a generated frame."""
        return None

    def skips_rows_at_source(self) -> bool:
        """Whether a filter that follows may be carried out by the source, so that not all rows are read."""
        return False

    def read(self, spark: SparkSession) -> DataFrame:
        """Build the batch frame; nothing is read yet but schemas."""
        raise NotImplementedError(f"'{self.method}' is not available in this version")


@dataclass(frozen=True)
class Frames:
    """The frames a transform works on.

    Args:
        primary: The primary frame, or the one named by `input`; None if the step reads only named frames.
        named: Registered frames that the step names, by name.
        spark: The session.
    """

    primary: DataFrame | None
    named: Mapping[str, DataFrame]
    spark: SparkSession

    @property
    def frame(self) -> DataFrame:
        """The one frame a step with a single input works on."""
        if self.primary is None:
            raise ValueError("this step has no primary frame")
        return self.primary


@dataclass(frozen=True)
class ColumnSource:
    """A column that another one is derived from.

    Args:
        frame: The registered name the column is read from; None for the primary frame.
        column: Its name there.
    """

    frame: str | None
    column: str


ColumnLineage = Mapping[str, Sequence[ColumnSource]]


class Transform(WorksOnFrame, KeepsFrame):
    """Makes a frame of one or more others."""

    step_type: ClassVar[StepType] = "transform"
    keeps_row_count: ClassVar[bool] = False
    """Whether the output always has exactly as many rows as its one input, so that they are counted once."""
    filters_rows: ClassVar[bool] = False
    """Whether it is a filter that Spark may hand on to the source."""

    def may_stop_early(self) -> bool:
        """Whether it may leave rows of its inputs unread, as a LIMIT does, so that they can't be counted."""
        return False

    def apply(self, frames: Frames) -> DataFrame:
        """Build the output frame; lazily, nothing is run.

        Raises:
            PipelineException: The frames are not what the config says.
        """
        raise NotImplementedError(f"'{self.method}' is not available in this version")

    def lineage(self, columns: Mapping[str | None, Sequence[str]], output: Sequence[str]) -> ColumnLineage:
        """Which input columns each output column is derived from.

        Args:
            columns: Column names of the inputs by registered name, the primary one under None.
            output: Column names of the output.
        """
        return same_named(columns, output)


def same_named(columns: Mapping[str | None, Sequence[str]], output: Sequence[str]) -> ColumnLineage:
    """Lineage of a step that hands columns on under their own names."""
    return {name: [ColumnSource(frame, name) for frame, names in columns.items() if name in names] for name in output}


@dataclass(frozen=True)
class Rule:
    """A condition that each row keeps or breaks.

    Args:
        name: Unique within the validation.
        violated: True for a row that breaks it; null counts as kept.
        columns: The columns a sample of it should show.
    """

    name: str
    violated: Column
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class RuleResult:
    """What came of a rule.

    Args:
        rule: Its name.
        violations: Rows that broke it; for a rule about the whole frame, 1 if it is broken.
        rows: Rows looked at.
        detail: What was expected and found, for a rule about the whole frame.
        samples: A few of the violating rows.
    """

    rule: str
    violations: int
    rows: int | None
    detail: str | None = None
    samples: Sequence[Mapping[str, Any]] = field(default=())


def _tolerance(value: float) -> float:
    if value >= 1 and value != int(value):
        raise PydanticCustomError("tolerance", "expected a whole count, or a fraction below 1")
    return value


class Validate(WorksOnFrame):
    """Holds rules against a frame and leaves the frame as it is.

    Nulls break no rule, except that of `validateNulls`.
    """

    step_type: ClassVar[StepType] = "validate"
    looks_at_rows: ClassVar[bool] = True
    """Whether the rules are about single rows, which can be quarantined."""

    on_failure: Annotated[OnFailure, one_of("fail", "warn", "quarantine")] = "fail"
    """`fail` stops the run before anything is written; `warn` reports; `quarantine` takes the violating rows out."""
    tolerance: Annotated[Amount, AfterValidator(_tolerance)] = 0
    """Violating rows that are still allowed: a count, or a fraction below 1. Quarantined are they all the same."""
    quarantine_path: Location | None = None
    """Delta table for quarantined rows; by default beside the first sink."""

    sensitive_columns: Names = []
    """Columns whose values no sample shows; secret-looking names are never shown."""

    @model_validator(mode="after")
    def _quarantines_rows_only(self) -> Self:
        if self.on_failure == "quarantine" and not self.looks_at_rows:
            raise PydanticCustomError(
                "quarantine",
                "'{method}' looks at the frame as a whole, so there are no rows to quarantine",
                {"method": self.method, "key": "onFailure"},
            )
        return self

    def schema_results(self, frame: DataFrame) -> Sequence[RuleResult]:
        """Results that the schema alone gives; costs no Spark job."""
        return ()

    def annotate(self, frame: DataFrame, eligible: Column, named: Mapping[str, DataFrame]) -> DataFrame:
        """Add the helper columns that the rules need, if they look beyond a single row.

        Must neither add nor drop nor repeat a row.

        Args:
            frame: The frame.
            eligible: True for the rows that earlier validations let through; others must not count.
            named: Registered frames that the step names.
        """
        return frame

    def rules(self, frame: DataFrame) -> Sequence[Rule]:
        """The rules about single rows, for the annotated frame.

        Raises:
            PipelineException: A column is missing.
        """
        return ()

    def count_results(self, rows: int) -> Sequence[RuleResult]:
        """Results that the number of rows gives."""
        return ()


@dataclass(frozen=True)
class LoadRun:
    """One load of one run.

    Args:
        load_id: The same for every attempt at the same load, different for each new load: what
            idempotence hangs on.
        query_name: Name for the query.
    """

    load_id: str
    query_name: str


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
