"""Pipeline files that stand side by side: which load, which are broken, and who writes what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, cast

from pipeline_platform.config.config_error import ConfigError, refused
from pipeline_platform.config.defaults import DEFAULTS_FILE
from pipeline_platform.config.documents.document import Document, DocumentError, Pointer, read_document
from pipeline_platform.config.environments import Environment
from pipeline_platform.config.loader import load_pipelines
from pipeline_platform.config.method_registry import Methods
from pipeline_platform.config.outline import Outline, outline_of, read_outlines
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.shared_files import SharedFiles
from pipeline_platform.config.step import Step
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.orchestration.shared_tables import clashes
from pipeline_platform.steps.dataset import Dataset
from pipeline_platform.steps.extract import Extract
from pipeline_platform.steps.load import Load

_Node = tuple[str, int | None]
"""A pipeline's asset prefix and the index of a step; None for a stream, which runs as a whole."""


@dataclass(frozen=True)
class BrokenFile:
    """A file that is no valid pipeline, or none that can stand beside the others.

    Args:
        path: The file.
        problems: What is wrong with it.
        pipelines: Names of those of a file with `forEach` that are left out, where the others are loaded.
        outlines: What can be told of the pipelines that are not loaded.
    """

    path: Path
    problems: tuple[ConfigError, ...]
    pipelines: tuple[str, ...] = ()
    outlines: tuple[Outline, ...] = ()

    @property
    def left_out(self) -> str:
        """What is not loaded, in Markdown."""
        named = ", ".join(f"`{name}`" for name in self.pipelines)
        return f"{named} of `{self.path}`" if named else f"`{self.path}`"

    @property
    def text(self) -> str:
        """What is not loaded and why."""
        return "\n".join([f"{self.left_out.replace('`', '')} is not loaded:", *map(str, self.problems)])


def by_file(broken: Iterable[BrokenFile]) -> list[BrokenFile]:
    """One for each file, with all that is wrong with it.

    Args:
        broken: Several of a file, if several of its pipelines are left out.
    """
    found: dict[Path, BrokenFile] = {}
    for file in broken:
        if (before := found.get(file.path)) is not None:
            problems = tuple(dict.fromkeys((*before.problems, *file.problems)))
            outlines = tuple(dict.fromkeys((*before.outlines, *file.outlines)))
            file = BrokenFile(file.path, problems, (*before.pipelines, *file.pipelines), outlines)
        found[file.path] = file
    return list(found.values())


@dataclass(frozen=True)
class Project:
    """All pipelines of a folder."""

    pipelines: tuple[PipelineConfig, ...]
    broken: tuple[BrokenFile, ...] = ()
    folder: Path | None = None
    environment: Environment | None = None

    @property
    def place_apart(self) -> str | None:
        """The environment that its streams and tables are those of; None where that is production."""
        return self.environment.place_apart if self.environment is not None else None

    @cached_property
    def _writers(self) -> dict[Dataset, list[tuple[PipelineConfig, Step]]]:
        writers: dict[Dataset, list[tuple[PipelineConfig, Step]]] = {}
        for pipeline in self.pipelines:
            for step in pipeline.steps:
                if isinstance(step.config, Load):
                    writers.setdefault(step.config.dataset(), []).append((pipeline, step))
        return writers

    @cached_property
    def step_keys(self) -> frozenset[tuple[str, ...]]:
        """Pipeline and step of every step, as their assets have them."""
        return frozenset((pipeline.asset_prefix, step.name) for pipeline in self.pipelines for step in pipeline.steps)

    def writers_of(self, dataset: Dataset, reader: PipelineConfig) -> list[tuple[PipelineConfig, Step]]:
        """The loads of other pipelines that write this very dataset, however its place is spelled."""
        return [(pipeline, step) for pipeline, step in self._writers.get(dataset, []) if pipeline is not reader]

    @cached_property
    def upstream(self) -> dict[str, frozenset[str]]:
        """By the asset prefix of each pipeline those of the pipelines that write what it reads."""
        found: dict[str, frozenset[str]] = {}
        for pipeline in self.pipelines:
            read = [step.config.dataset() for step in pipeline.steps if isinstance(step.config, Extract)]
            writers = (self.writers_of(dataset, pipeline) for dataset in read if dataset is not None)
            found[pipeline.asset_prefix] = frozenset(writer.asset_prefix for some in writers for writer, _ in some)
        return found

    def in_order(self) -> list[PipelineConfig]:
        """The pipelines, each after those that write what it reads, as far as can be in the order of their files.

        Raises:
            PipelineConfigurationException: Two read each other's tables, by different steps.
        """
        try:
            places = {prefix: place for place, prefix in enumerate(TopologicalSorter(self.upstream).static_order())}
        except CycleError as error:
            names = ", ".join(dict.fromkeys(error.args[1]))
            raise PipelineConfigurationException(
                f"{names} read each other's tables, so that none of them can run as a whole before the others",
                hint="run each by itself, step by step with --select",
            ) from error
        return sorted(self.pipelines, key=lambda pipeline: places[pipeline.asset_prefix])

    def external_datasets(self) -> list[Dataset]:
        """What is read and no pipeline of the project writes."""
        found: dict[Dataset, None] = {}
        for pipeline in self.pipelines:
            for step in pipeline.steps:
                dataset = step.config.dataset() if isinstance(step.config, Extract) else None
                if dataset is not None and not self.writers_of(dataset, pipeline):
                    found[dataset] = None
        return list(found)

    def without(self, broken: Sequence[BrokenFile]) -> Project:
        """The same project with some of its pipelines left out.

        Args:
            broken: What is wrong with the files of these.
        """
        left_out = {(file.path, name) for file in broken for name in file.pipelines or (None,)}
        pipelines = tuple(
            pipeline
            for pipeline in self.pipelines
            if not left_out & {(pipeline.file, pipeline.name), (pipeline.file, None)}
        )
        return Project(pipelines, tuple(by_file([*self.broken, *broken])), self.folder, self.environment)


def load_project(folder: Path, methods: Methods) -> Project:
    """Read every `*.json` of a folder; a broken file does not keep the others from loading.

    Args:
        folder: The folder.
        methods: The methods a step may name.

    Raises:
        PipelineConfigurationException: There is no such folder or environment, or it can't be read.
    """
    pipelines: list[PipelineConfig] = []
    broken: list[BrokenFile] = []
    shared = SharedFiles.of(methods, folder.absolute().parent)
    if shared.chosen.problems:
        # What the assets would be called without it, those of production are.
        raise refused(shared.chosen.problems)
    for path in pipeline_files(folder):
        try:
            pipelines += load_pipelines(path, methods, shared.project, shared=shared)
        except PipelineConfigurationException as error:
            broken.append(BrokenFile(path, error.problems, outlines=read_outlines(path, shared)))
        # What a plug-in fails at must not be the other pipelines' failure.
        except Exception as error:  # noqa: BLE001
            problem = ConfigError(path, 1, 1, f"it can't be read: {error!r}")
            broken.append(BrokenFile(path, (problem,), outlines=read_outlines(path, shared)))
    together, clashing = side_by_side(pipelines)
    return Project(tuple(together), tuple(by_file([*broken, *clashing])), folder, shared.chosen.environment)


def pipeline_files(folder: Path) -> list[Path]:
    """The pipeline files of a folder, sorted; not its defaults.

    Args:
        folder: The folder.

    Raises:
        PipelineConfigurationException: There is no such folder, or it can't be read.
    """
    try:
        return sorted(path for path in folder.iterdir() if path.name.endswith(".json") and path.name != DEFAULTS_FILE)
    except OSError as error:
        raise PipelineConfigurationException(
            f"the folder of pipelines '{folder}' can't be read: {error.strerror}",
            hint="name the folder of the *.json files; for Dagster it is what PIPELINES_DIR says, by default "
            "'pipelines' in the folder that the command is run in",
        ) from error


def side_by_side(pipelines: Sequence[PipelineConfig]) -> tuple[list[PipelineConfig], list[BrokenFile]]:
    """Those pipelines that can stand in one project, and those that can't, with the reason.

    Of two with the same name the later one is left out; of a cycle, in which each reads what another one writes, the
    last one.

    Args:
        pipelines: Each right by itself, in the order of their files.
    """
    by_prefix: dict[str, PipelineConfig] = {}
    broken: list[BrokenFile] = []
    for pipeline in pipelines:
        if (failed := _without_dataset(pipeline)) is not None:
            broken.append(failed)
            continue
        other = by_prefix.setdefault(pipeline.asset_prefix, pipeline)
        if other is not pipeline:
            message = f"the name '{pipeline.name}' is taken by {other.file}; Dagster needs one for each pipeline"
            broken.append(_broken(pipeline, ("name",), message))
    broken += _clashing_writers(by_prefix)
    while (cycle := _cycle(list(by_prefix.values()))) is not None:
        broken.append(_left_out(by_prefix, cycle))
    return list(by_prefix.values()), by_file(broken)


def _clashing_writers(by_prefix: dict[str, PipelineConfig]) -> list[BrokenFile]:
    """Take out each pipeline of which a load takes away an earlier one's rows of a table, or the other way round."""
    broken: list[BrokenFile] = []
    for clash in clashes(by_prefix.values()):
        del by_prefix[clash.pipeline.asset_prefix]
        broken.append(broken_step(clash.pipeline, clash.step, clash.message, clash.hint))
    return broken


def _without_dataset(pipeline: PipelineConfig) -> BrokenFile | None:
    """The file, if a method can't say what it reads or writes."""
    for step in pipeline.steps:
        try:
            if isinstance(step.config, (Extract, Load)):
                hash(step.config.dataset())
                step.config.replaces()
        # A method may come from another package; what it fails at must not be the other pipelines' failure.
        except Exception as error:  # noqa: BLE001
            return broken_step(
                pipeline, step, f"'{step.config.method}' can't say what its dataset is, or what it replaces: {error!r}"
            )
    return None


def _cycle(pipelines: Sequence[PipelineConfig]) -> list[_Node] | None:
    """Steps of which each is needed by the next, and the first by the last."""
    project = Project(tuple(pipelines))
    above: dict[_Node, set[_Node]] = {}
    for pipeline in pipelines:
        for step in pipeline.steps:
            needs = above.setdefault(_node(pipeline, step), set())
            needs.update(_node(pipeline, pipeline.steps[edge.step]) for edge in step.inputs)
            dataset = step.config.dataset() if isinstance(step.config, Extract) else None
            if dataset is not None:
                needs.update(_node(*writer) for writer in project.writers_of(dataset, pipeline))
            needs.discard(_node(pipeline, step))
    try:
        TopologicalSorter(above).prepare()
    except CycleError as error:
        return list(error.args[1])
    return None


def _node(pipeline: PipelineConfig, step: Step) -> _Node:
    return pipeline.asset_prefix, None if pipeline.mode == "streaming" else step.index


def _left_out(by_prefix: dict[str, PipelineConfig], cycle: Sequence[_Node]) -> BrokenFile:
    """Take the last pipeline of a cycle out, and say which cycle it is."""
    places = {prefix: place for place, prefix in enumerate(by_prefix)}
    names = [prefix for prefix, _ in cycle[:-1]]
    last = max(names, key=lambda prefix: places[prefix])
    pipeline = by_prefix.pop(last)
    # Around the cycle from the one that is left out: each is read by the next. Steps of one pipeline are one place.
    start = next(place for place, prefix in enumerate(names) if prefix == last != names[place - 1])
    turned = [*names[start:], *names[:start]]
    around = [prefix for place, prefix in enumerate(turned) if prefix != turned[place - 1]]
    spelled = [pipeline.name if prefix == last else by_prefix[prefix].name for prefix in around]
    told = "; ".join(
        f"'{reader}' reads what '{writer}' writes"
        for writer, reader in zip(spelled, [*spelled[1:], spelled[0]], strict=True)
    )
    writers = {load.config.dataset() for load in by_prefix[around[-1]].steps if isinstance(load.config, Load)}
    reading = next(
        step.index for step in pipeline.steps if isinstance(step.config, Extract) and step.config.dataset() in writers
    )
    message = f"pipelines read each other's tables in a cycle, and this one is left out: {told}"
    return _broken(pipeline, ("steps", reading), message, hint="let one of them read or write another table")


def broken_step(pipeline: PipelineConfig, step: Step | None, message: str, hint: str | None = None) -> BrokenFile:
    """A file that is right by itself, but whose pipeline can't be used.

    Args:
        pipeline: What was read from it.
        step: The step that is to blame; None for the pipeline as a whole.
        message: Why.
        hint: What to do.
    """
    return _broken(pipeline, ("steps", step.index) if step is not None else ("name",), message, hint)


def _broken(
    pipeline: PipelineConfig, pointer: tuple[str | int, ...], message: str, hint: str | None = None
) -> BrokenFile:
    assert pipeline.file is not None
    if pipeline.item is not None and f"'{pipeline.name}'" not in message:
        message = f"{message}, in '{pipeline.name}'"
    left_out = (pipeline.name,) if pipeline.item is not None else ()
    step = pipeline.steps[int(pointer[1])] if pointer[0] == "steps" else None
    file = (step.file if step is not None else None) or pipeline.file
    try:
        document = read_document(file)
        if step is not None:
            pointer = _place_of(step, document)
        if file != pipeline.file:
            message = f"{message}, in the template of {pipeline.file}"
        problem = document.problem(pointer, message, hint=hint)
    except DocumentError:
        # It is gone since it was read.
        problem = ConfigError(file, 1, 1, message, hint)
    return BrokenFile(pipeline.file, (problem,), left_out, (outline_of(pipeline),))


def _place_of(step: Step, document: Document) -> Pointer:
    """Where a step stands in its file, in which templates take the place of several steps."""
    written = document.at(("steps",))
    count = len(cast("list[Any]", written)) if isinstance(written, list) else 0
    places: list[Pointer] = [("steps", index) for index in range(count)]
    at_line = [place for place in places if document.position(place)[0] == step.location.line]
    return ("steps", step.index) if ("steps", step.index) in at_line else next(iter(at_line), ("steps",))
