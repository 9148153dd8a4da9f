"""What the driver of a submitted run is asked to do, and what it tells: JSON in Dagster Pipes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from pipeline_platform.config.partitions import Partition
from pipeline_platform.config.variables import VariableValue
from pipeline_platform.exceptions import (
    PipelineCancelledException,
    PipelineConfigurationException,
    PipelineException,
    PipelineExecutionException,
    StepLocation,
    ValidationException,
)
from pipeline_platform.metrics.run import RunMetrics, StepMetrics

_VERSION = version("pipeline-platform")


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True)


class RunRequest(_Message):
    """One run of a batch.

    The driver reads the file itself, so its path has to mean the same where the driver runs.
    """

    platform: str = _VERSION
    """Version of this package on the side that asks."""
    file: Path
    values: Mapping[str, VariableValue] = {}
    """What its variables stand for."""
    environment: str | None = None
    """The environment that it is in; None for production."""
    run_id: str
    load_id: str
    steps: Sequence[str]
    """Names of all steps, in order: the file has to be the one that Dagster has loaded."""
    selection: Sequence[str]
    """Names of the steps to run."""
    partition: Partition | None = None


def asked_of(extras: Mapping[str, Any]) -> RunRequest:
    """What a driver is asked to do.

    Args:
        extras: As Pipes brings them.

    Raises:
        PipelineConfigurationException: By another version of this package, which may mean something else.
    """
    if (theirs := extras.get("platform")) != _VERSION:
        raise PipelineConfigurationException(
            f"the driver has version {_VERSION} of pipeline-platform, and Dagster has {theirs}",
            hint="install the same version where the driver runs",
        )
    return RunRequest.model_validate(extras)


class Said(_Message):
    """In words what is done, or how far it is."""

    kind: Literal["said"] = "said"
    text: str


class StepBegan(_Message):
    """A step began."""

    kind: Literal["began"] = "began"
    index: int


class StepEnded(_Message):
    """What a step did."""

    kind: Literal["ended"] = "ended"
    metrics: StepMetrics


class RunCompleted(_Message):
    """The run ended well."""

    kind: Literal["completed"] = "completed"
    metrics: RunMetrics


class BrokenRule(_Message):
    """What a `ValidationException` says beside its message."""

    rule: str
    violations: int
    rows: int
    samples: Sequence[Mapping[str, Any]]


class RunFailed(_Message):
    """What the run ended by."""

    kind: Literal["failed"] = "failed"
    message: str
    hint: str | None = None
    location: StepLocation | None = None
    cause: str | None = None
    """What the system said that failed, at length."""
    was_stopped: bool = False
    broken: BrokenRule | None = None
    """The rule that rows broke, if it was one."""

    @classmethod
    def by(cls, error: PipelineException) -> RunFailed:
        """What to tell of an exception.

        Args:
            error: What the run raised.
        """
        is_broken_rule = isinstance(error, ValidationException)
        return cls(
            message=error.message,
            hint=error.hint,
            location=error.location,
            cause=error.cause_text(),
            was_stopped=isinstance(error, PipelineCancelledException),
            broken=BrokenRule.model_validate(error, from_attributes=True) if is_broken_rule else None,
        )

    def error(self) -> PipelineException:
        """The exception that it was, as far as anybody asks."""
        context: dict[str, Any] = {"location": self.location, "hint": self.hint}
        error: PipelineException
        if self.was_stopped:
            error = PipelineCancelledException(self.message, **context)
        elif self.broken is not None:
            error = ValidationException(self.message, **self.broken.model_dump(), **context)
        else:
            error = PipelineExecutionException(self.message, **context)
        error.__cause__ = RuntimeError(self.cause) if self.cause is not None else None
        return error


Told = Annotated[Said | StepBegan | StepEnded | RunCompleted | RunFailed, Field(discriminator="kind")]
TOLD: TypeAdapter[Told] = TypeAdapter(Told)
"""Reads what a driver tells."""
