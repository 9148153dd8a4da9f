"""What the pipelines of a folder are in production, which an environment is held against."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from pipeline_platform.config.folders_within import FoldersWithin
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.table_writers import table_writers


@dataclass(frozen=True)
class Moved:
    """A sink or a quarantine of the folder, as it is in the environment.

    Args:
        pipeline: Whose it is.
        before: Its place in production.
        place: Its place in the environment.
    """

    pipeline: str
    before: str
    place: str


@dataclass(frozen=True)
class Production:
    """What the pipelines of a folder are called and write, where no environment is.

    Args:
        names: Of the pipelines.
        places: The tables, folders and topics that they write, quarantines included.
        sinks: The same, each as it is in the environment that the folder is read for.
    """

    names: frozenset[str] = frozenset()
    places: frozenset[str] = frozenset()
    sinks: tuple[Moved, ...] = ()

    @classmethod
    def of(cls, pipelines: Iterable[PipelineConfig]) -> Production:
        """What these pipelines are called and write.

        Args:
            pipelines: Those of a folder, outside of any environment.
        """
        found = list(pipelines)
        places = (writer.place for pipeline in found for writer in pipeline.writers)
        sinks = tuple(moved for pipeline in found for moved in _moved(pipeline))
        return cls(frozenset(pipeline.name for pipeline in found), frozenset(places), sinks)

    @cached_property
    def written(self) -> FoldersWithin[str]:
        """The places, to look for those that have files in common with another."""
        return FoldersWithin((place, place) for place in sorted(self.places))

    @cached_property
    def moved(self) -> FoldersWithin[Moved]:
        """The sinks, by their places in the environment."""
        return FoldersWithin((one.place, one) for one in self.sinks)


def _moved(pipeline: PipelineConfig) -> Iterator[Moved]:
    to = pipeline.environment.redirection if pipeline.environment is not None else None
    if to is None:
        return
    try:
        steps = [
            replace(step, config=step.config.redirected(to)) if step.type != "extract" else step
            for step in pipeline.steps
        ]
        after = {
            (writer.step.index, writer.is_quarantine): writer for writer in table_writers(steps, pipeline.partitions)
        }
    # Whoever reads the file of the pipeline tells why it can't be in the environment; a method may fail at anything.
    except Exception:  # noqa: BLE001
        return
    for old in table_writers(pipeline.steps, pipeline.partitions):
        if (new := after.get((old.step.index, old.is_quarantine))) is not None:
            yield Moved(pipeline.name, old.place, new.place)
