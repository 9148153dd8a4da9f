"""What the pipelines of a folder are in production, which an environment is held against."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pipeline_platform.config.pipeline import PipelineConfig

_LOCAL = "file:"


@dataclass(frozen=True)
class Production:
    """What the pipelines of a folder are called and write, where no environment is.

    Args:
        names: Of the pipelines.
        places: The tables, folders and topics that they write, quarantines included.
    """

    names: frozenset[str] = frozenset()
    places: frozenset[str] = frozenset()

    @classmethod
    def of(cls, pipelines: Iterable[PipelineConfig]) -> Production:
        """What these pipelines are called and write.

        Args:
            pipelines: Those of a folder, outside of any environment.
        """
        found = list(pipelines)
        places = (writer.place for pipeline in found for writer in pipeline.writers)
        return cls(frozenset(pipeline.name for pipeline in found), frozenset(places))
