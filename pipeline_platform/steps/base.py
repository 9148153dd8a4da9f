"""Keys of the steps that take frames, and of those that make one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pipeline_platform.config.step import StepConfig
from pipeline_platform.config.values import Flag, FrameName, StorageLevel


class FrameOutput(StepConfig):
    """Keys of the steps whose output is a frame: extracts and transforms."""

    neutral_keys: ClassVar[frozenset[str]] = frozenset({"register_as", "cache", "cache_storage_level"})

    register_as: FrameName | None = None
    """Registers the output under this name, for later steps."""
    cache: Flag = False
    """Persist the output until the pipeline ends."""
    cache_storage_level: StorageLevel = "MEMORY_AND_DISK"
    """Spark storage level of `cache`."""

    def registered_name(self) -> str | None:
        return self.register_as


class FrameInput(StepConfig):
    """Keys of the steps that work on the primary frame, or on a registered one."""

    neutral_keys: ClassVar[frozenset[str]] = frozenset({"input"})

    input: FrameName | None = None
    """A registered frame to work on in place of the primary one."""

    def shown_frame(self) -> str:
        """The frame that the step works on, as messages have it."""
        return f"'{self.input}'" if self.input is not None else "the primary frame"

    def reads_primary(self) -> bool:
        return self.input is None

    def referenced_frames(self) -> Sequence[tuple[str, str]]:
        return [("input", self.input)] if self.input is not None else []
