"""Extracts whose pipeline Dagster runs when there is something new in what they read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pipeline_platform.config.step import PipelineMode
from pipeline_platform.config.values import Flag
from pipeline_platform.steps.extract import Extract


class Watched(Extract):
    """An extract that can be watched; it has `source_state`."""

    neutral_keys: ClassVar[frozenset[str]] = frozenset({"watch"})

    watch: Flag = False
    """Batch: a sensor of Dagster looks twice a minute whether what is read has changed, and runs the pipeline then."""

    def is_watched(self) -> bool:
        return self.watch

    def mode_errors(self, mode: PipelineMode) -> Sequence[tuple[str | None, str]]:
        if mode == "streaming" and self.watch:
            return [("watch", "a stream reads what is new by itself, so leave out 'watch'")]
        return super().mode_errors(mode)

    def partition_errors(self, column: str) -> Sequence[tuple[str | None, str]]:
        if self.watch:
            return [("watch", "what is new does not say which partition to load, so leave out 'watch'")]
        return super().partition_errors(column)
