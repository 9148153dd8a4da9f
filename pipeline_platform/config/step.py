"""What every step has in common, whatever its method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from pipeline_platform.config.environment import substitute_all
from pipeline_platform.exceptions import CredentialException, StepLocation

StepType = Literal["extract", "transform", "validate", "load"]
STEP_TYPES: tuple[StepType, ...] = ("extract", "transform", "validate", "load")
PipelineMode = Literal["batch", "streaming"]


class FormatModel(BaseModel):
    """Base of everything in the format: camelCase keys, no unknown ones, never changed once read."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",
        frozen=True,
        populate_by_name=True,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
    )


class StepConfig(FormatModel):
    """The config of one step; a method is a subclass, its fields are the keys it takes."""

    step_type: ClassVar[StepType]
    method: ClassVar[str]
    aliases: ClassVar[tuple[str, ...]] = ()
    """Other spellings of the method's name that a file may use."""
    kind: ClassVar[str] = "spark"
    """The system it deals with, as Dagster's `kinds` name it."""

    def referenced_frames(self) -> Sequence[tuple[str, str]]:
        """Registered frames the step reads, as (config key, name) pairs."""
        return ()

    def reads_primary(self) -> bool:
        """Whether the step also works on the primary frame."""
        return True

    def as_config(self) -> dict[str, Any]:
        """The config as it would be written in JSON, without defaults."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)

    def resolved(self) -> StepConfig:
        """A copy with the environment variables in its strings replaced, for use at run time only.

        Raises:
            CredentialException: A variable is not set.
        """
        try:
            config = substitute_all(self.model_dump(by_alias=True, exclude_unset=True))
        except ValueError as error:
            raise CredentialException(str(error), credential_type="environment") from error
        return type(self).model_validate(config)


@dataclass(frozen=True)
class Input:
    """An edge of the step graph.

    Args:
        step: Index of the step whose frame is read.
        name: The registered name it is read by; None for the primary frame.
    """

    step: int
    name: str | None


@dataclass(frozen=True)
class Step:
    """A step with its place in the pipeline.

    Args:
        index: Position in `steps`, from 0.
        name: Asset name: `registerAs`, or made from the method; unique in the pipeline.
        config: The method and its config.
        inputs: The frames it works on: for extracts none, otherwise the primary first.
        location: For errors.
    """

    index: int
    name: str
    config: StepConfig
    inputs: tuple[Input, ...]
    location: StepLocation

    @property
    def type(self) -> StepType:
        """`extract`, `transform`, `validate` or `load`."""
        return self.config.step_type

    @property
    def file(self) -> Path | None:
        """The JSON file."""
        return self.location.file
