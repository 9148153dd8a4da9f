"""Pipelines that write one table: whether a load of one takes away rows of another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.config.table_writers import Writer, unknown_hint
from pipeline_platform.steps.load import Load


@dataclass(frozen=True)
class Clash:
    """A pipeline that can't write a table beside an earlier one.

    Args:
        pipeline: The later one.
        step: Its load, or the step with the quarantine.
        message: Why.
        hint: What to do about it.
    """

    pipeline: PipelineConfig
    step: Step
    message: str
    hint: str


_Pair = tuple[tuple[PipelineConfig, Writer], tuple[PipelineConfig, Writer]]


class _Tables:
    """The tables that pipelines write: who writes the same one as another, without a comparison with everybody."""

    def __init__(self) -> None:
        self.by_place: dict[str, list[tuple[PipelineConfig, Writer]]] = {}
        self.in_several: list[tuple[PipelineConfig, Writer]] = []

    def add(self, pipeline: PipelineConfig, writers: Iterable[Writer]) -> None:
        """Note what a pipeline writes."""
        for writer in writers:
            self.by_place.setdefault(writer.place, []).append((pipeline, writer))
            if writer.is_in_several:
                self.in_several.append((pipeline, writer))

    def beside(self, pipeline: PipelineConfig, writers: Iterable[Writer]) -> Iterator[_Pair]:
        """Pairs of a step of an earlier pipeline and one of this pipeline that may write one table."""
        for writer in writers:
            places = self.by_place.values() if writer.is_in_several else [self.by_place.get(writer.place, [])]
            found = (one for some in places for one in some)
            for earlier in (*found, *(() if writer.is_in_several else self.in_several)):
                if writer.may_share_table(earlier[1]):
                    yield earlier, (pipeline, writer)


def clashes(pipelines: Iterable[PipelineConfig]) -> list[Clash]:
    """Those pipelines that clash with an earlier one: one has partitions, and a load takes away rows of the other.

    Of two without partitions, one may well replace what the other loads, to make a table anew by hand: see
    `replaced_tables`.

    Args:
        pipelines: In the order of their files; each right by itself.
    """
    tables = _Tables()
    found: list[Clash] = []
    for pipeline in pipelines:
        writers = pipeline.writers
        pairs = tables.beside(pipeline, writers)
        clash = next((told for earlier, later in pairs if (told := _clash(earlier, later)) is not None), None)
        if clash is not None:
            found.append(clash)
            continue
        tables.add(pipeline, writers)
    return found


def _clash(earlier: tuple[PipelineConfig, Writer], later: tuple[PipelineConfig, Writer]) -> Clash | None:
    (other, theirs), (pipeline, mine) = earlier, later
    if other.partitions is None and pipeline.partitions is None:
        return None
    named, this = named_writer(other, theirs), "the quarantine of this step" if mine.is_quarantine else "this load"
    # Where each takes rows of the other, the one that takes all of them is told.
    taken = [(pipeline, mine, this, theirs, named), (other, theirs, named, mine, this)]
    for taker, writer, who, victim, whose in sorted(taken, key=lambda one: one[0].partitions is not None):
        if writer.takes_from(victim):
            message = f"{who} {writer.does} {when_run(taker, writer)}, and with them what {whose} has put there"
            return Clash(pipeline, mine.step, f"two pipelines write one table: {message}", _hint(mine, theirs))
    return None


def named_writer(pipeline: PipelineConfig, writer: Writer) -> str:
    """A step of another pipeline, for messages.

    Args:
        pipeline: The pipeline.
        writer: The step.
    """
    place = f"step {writer.step.number} of '{pipeline.name}' ({pipeline.file})"
    return f"the quarantine of {place}" if writer.is_quarantine else place


def when_run(pipeline: PipelineConfig, writer: Writer) -> str:
    """When a step takes rows away, for messages.

    Args:
        pipeline: Its pipeline.
        writer: The step.
    """
    if pipeline.mode == "streaming":
        return "with each micro-batch"
    if pipeline.partitions is None:
        return "with each run"
    return f"whenever {'it' if writer.replaces is not None and writer.replaces.is_all else 'a partition'} is loaded"


def _hint(mine: Writer, theirs: Writer) -> str:
    """What to do, by which no row is lost."""
    if mine.is_quarantine or theirs.is_quarantine:
        return "give 'quarantinePath' a table that no load writes"
    hints = ["let one of them write a table of its own, and read both with unionDataFrames"]
    if (apart := _apart(mine, theirs)) is not None:
        hints.append(apart)
    if all(isinstance(one.step.config, Load) and "merge" in one.step.config.modes() for one in (mine, theirs)):
        hints.append("let both merge")
    return "; or ".join(hints) + unknown_hint(mine, theirs)


def _apart(mine: Writer, theirs: Writer) -> str | None:
    """How the partitions of two pipelines could be told apart; None if they could not."""
    some, others = mine.partitions, theirs.partitions
    if some is None or others is None or mine.is_by_key or theirs.is_by_key:
        return None
    if some.by_time and others.by_time:
        return "divide both by one column in one time zone, the one until the day on which the other starts"
    if some.keys is not None and others.keys is not None:
        return "divide both by one column, with other keys"
    return None
