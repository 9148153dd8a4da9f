"""Loads without partitions that replace a whole table, into which another pipeline loads rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from pipeline_platform.config.config_error import ConfigError
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.table_writers import Writer
from pipeline_platform.orchestration.project import broken_step
from pipeline_platform.orchestration.shared_tables import named_writer, when_run

_HINT = (
    "that is right where it is run by hand, to make the table anew; otherwise let it write a table of its own, and "
    "read both with unionDataFrames"
)


def replaced_tables(pipelines: Iterable[PipelineConfig]) -> Iterator[ConfigError]:
    """A warning for each load that replaces all rows of a table, also those that another pipeline adds to it.

    Args:
        pipelines: All of a project.
    """
    by_place: dict[str, list[tuple[PipelineConfig, Writer]]] = {}
    for pipeline in pipelines:
        for writer in pipeline.writers if pipeline.partitions is None else ():
            by_place.setdefault(writer.place, []).append((pipeline, writer))
    told: set[tuple[Path | None, int]] = set()
    for writers in by_place.values():
        for pipeline, writer in writers:
            if writer.replaces is None or not writer.replaces.is_all:
                continue
            losers = [other for other in writers if other[0] is not pipeline and _loses(pipeline, other)]
            if not losers:
                continue
            more = f" and {len(losers) - 1} more" if len(losers) > 1 else ""
            message = (
                f"this load {writer.does} {when_run(pipeline, writer)}, and with them what {named_writer(*losers[0])}"
                f"{more} has put there"
            )
            # Those of one file are told of once.
            if (place := (pipeline.file, writer.step.index)) not in told:
                told.add(place)
                yield from broken_step(pipeline, writer.step, message, _HINT).problems


def _loses(pipeline: PipelineConfig, other: tuple[PipelineConfig, Writer]) -> bool:
    """Whether another pipeline adds rows, or is made of the same file, so that all are to be there."""
    replaces = other[1].replaces
    return replaces is None or not replaces.is_all or other[0].file == pipeline.file
