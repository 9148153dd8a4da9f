"""A version as it is compared: its pipelines, their frames, and what these are derived from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.planning.changes import Reader
from pipeline_platform.planning.derivation import Derived
from pipeline_platform.planning.frames import PipelineFrames
from pipeline_platform.planning.normal_form import step_form
from pipeline_platform.planning.step_changes import title
from pipeline_platform.planning.versions import Version
from pipeline_platform.steps.dataset import Dataset
from pipeline_platform.steps.load import Load

# No name has it in it.
_MARK = "¶"


@dataclass(frozen=True)
class Described:
    """A version as it is compared.

    Args:
        version: The version.
        frames: By pipeline what Spark makes of it; of those that were looked at.
        own: By pipeline and step index what a frame is derived from, of the tables that the pipeline reads.
        whole: The same, of what all pipelines together read.
    """

    version: Version
    frames: Mapping[str, PipelineFrames]
    own: Mapping[str, Mapping[int, Derived]]
    whole: Mapping[str, Mapping[int, Derived]]

    def is_same(self, other: Described, here: tuple[str, int], there: tuple[str, int], column: str | None) -> bool:
        """Whether the rows of a frame, or the values of a column, are computed as in another version.

        That the pipelines above are others does not count, nor do steps that make the same of them.

        Args:
            other: The other version.
            here: Pipeline and step index in this version.
            there: The same in the other one.
            column: The column, in lower case; None for the rows.
        """
        return any(
            _part(mine[here[0]][here[1]], column) == _part(theirs[there[0]][there[1]], column)
            for mine, theirs in ((self.own, other.own), (self.whole, other.whole))
        )

    def expression(self, pipeline: PipelineConfig, step: Step, column: str) -> tuple[Step, str] | None:
        """The step that computes a column of a load, and how; None where it is handed on as it was read.

        Args:
            pipeline: The pipeline.
            step: The load.
            column: The column.
        """
        frames = self.frames[pipeline.name].frames
        index, name = step.inputs[0].step, column
        while index in frames:
            found = {key.lower(): text for key, text in frames[index].expressions.items()}.get(name.lower())
            if found is not None:
                return pipeline.steps[index], found
            lineage = {key.lower(): sources for key, sources in frames[index].lineage.items()}
            sources = lineage.get(name.lower(), ())
            if len(sources) != 1:
                return None
            [(index, name)] = sources
        return None

    def readers(self, load: Load, writer: PipelineConfig, column: str) -> list[Reader]:
        """The steps of other pipelines that read a column of what a load writes.

        Args:
            load: The load.
            writer: Its pipeline.
            column: The column.
        """
        found: list[Reader] = []
        for pipeline, extract in self.version.readers_of(load, writer):
            if pipeline.name in self.frames and self.frames[pipeline.name].is_known:
                for step in self._reading(pipeline, extract, column):
                    found.append(Reader(pipeline.name, title(step), self.version.place(pipeline, step)))
        return found

    def _reading(self, pipeline: PipelineConfig, extract: Step, column: str) -> Iterator[Step]:
        """The steps that name a column of an extract, or what is handed on of it, and the loads that it gets to."""
        frames = self.frames[pipeline.name].frames
        handed_on: dict[int, set[str]] = {extract.index: {column.lower()}}
        is_named = False
        for step in pipeline.in_turn:
            above = {edge.step: handed_on.get(edge.step, set[str]()) for edge in step.inputs}
            if not any(above.values()):
                continue
            is_read = _names_any(step, {name for some in above.values() for name in some})
            # A load is given whatever there is: worth a word where no step before it names the column.
            if is_read or (isinstance(step.config, Load) and not is_named):
                is_named = True
                yield step
            if step.index in frames:
                computed = {name.lower() for name in frames[step.index].expressions}
                handed_on[step.index] = {
                    name.lower()
                    for name, sources in frames[step.index].lineage.items()
                    if name.lower() not in computed
                    and any(source.lower() in above.get(index, ()) for index, source in sources)
                }

    def schema(self, pipeline: PipelineConfig, step: Step) -> Mapping[str, tuple[str, str, bool]]:
        """Name, type and whether it may be NULL of each column that a load is given, by its name in lower case.

        Args:
            pipeline: The pipeline.
            step: The load.
        """
        fields = self.frames[pipeline.name].frames[step.inputs[0].step].schema.fields
        return {field.name.lower(): (field.name, field.dataType.simpleString(), field.nullable) for field in fields}

    def tables(self) -> dict[Dataset, Derived]:
        """What each table is derived from."""
        return {
            step.config.dataset(): self.whole[pipeline.name][step.index]
            for pipeline in self.version.project.pipelines
            if pipeline.name in self.whole
            for step in pipeline.steps
            if isinstance(step.config, Load)
        }


def _part(derived: Derived, column: str | None) -> str | None:
    return derived.rows if column is None else derived.columns.get(column)


def _names_any(step: Step, columns: set[str]) -> bool:
    """Whether one of these columns stands in the config of a step."""
    return _MARK in str(step_form(step, {name: f"{_MARK}{name}" for name in columns}))
