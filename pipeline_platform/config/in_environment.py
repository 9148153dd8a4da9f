"""A pipeline as it is in an environment: what it writes lies beside production, what it reads may be production's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain

from pipeline_platform.config.config_error import ConfigError
from pipeline_platform.config.dagster_names import reserved_name
from pipeline_platform.config.documents.document import SourcePosition
from pipeline_platform.config.environments import Environment
from pipeline_platform.config.folders_within import FoldersWithin, meet, told_as
from pipeline_platform.config.graph import Draft
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.production import Moved, Production
from pipeline_platform.config.redirection import NotRedirected, Redirection
from pipeline_platform.config.step import Step, StepConfig
from pipeline_platform.config.table_writers import Writer, place_read, table_writers
from pipeline_platform.config.uris import normalized_uri, shown_place
from pipeline_platform.config.variables import Variable, wrong_value

_APART = "say under 'paths' of the environment another place for one of them"


def variables_in(
    variables: Mapping[str, Variable], environment: Environment, problems: list[ConfigError]
) -> dict[str, Variable]:
    """The variables of a pipeline with the values of an environment in place of their defaults.

    Args:
        variables: As the file declares them.
        environment: The environment.
        problems: Gets what is wrong with the values.
    """
    given = environment.keys.variables
    for name, value in given.items():
        if name in variables and (wrong := wrong_value(variables[name].type, value)) is not None:
            problems.append((environment.place / "variables" / name).problem(f"the variable '{name}': {wrong}"))
    return {
        name: one.model_copy(update={"default": given[name]}) if name in given else one
        for name, one in variables.items()
    }


def in_environment(
    pipeline: PipelineConfig, production: Production, drafts: Sequence[Draft]
) -> tuple[PipelineConfig, list[ConfigError]]:
    """A pipeline that writes what belongs to its environment, and nothing that belongs to production.

    Args:
        pipeline: As its file says, right by itself.
        production: What the pipelines of its folder are where there is no environment.
        drafts: Its steps, as they stand in the file.

    Returns:
        The pipeline, and why it can't be in the environment: a sink that has no place of its own there is refused.
    """
    environment = pipeline.environment
    to = environment.redirection if environment is not None else None
    if environment is None or to is None:
        return pipeline, []
    problems: list[ConfigError] = []
    name = to.name(pipeline.name)
    wrong = "another pipeline has that name" if name in production.names else reserved_name(name.replace("-", "_"))
    if wrong is not None:
        problems.append(_refusal(drafts[0], f"the pipeline would be called '{name}'", environment, wrong))
    streaming = pipeline.streaming
    if pipeline.mode == "streaming":
        try:
            root = to.path(streaming.checkpoint_root)
            streaming = streaming.model_copy(update={"checkpoint_root": root})
        except NotRedirected as error:
            problems.append(_refusal(drafts[0], f"'checkpointRoot': {error}", environment, error.hint))
    steps: list[Step] = []
    for step in pipeline.steps:
        draft = _draft_of(step, drafts)
        try:
            moved = _moved(step, to, environment, production)
        except NotRedirected as error:
            problems.append(_refusal(draft, str(error), environment, error.hint))
            continue
        # A method of another package may fail at anything.
        except Exception as error:  # noqa: BLE001
            told = f"'{step.config.method}' can't say where its sink is: {error!r}"
            problems.append(_refusal(draft, told, environment))
            continue
        steps.append(replace(moved, location=replace(step.location, pipeline=name)))
    if not problems:
        problems += _still_in_production(pipeline, steps, production, environment, drafts)
    if problems:
        return pipeline, problems
    return pipeline.model_copy(update={"name": name, "streaming": streaming, "steps": tuple(steps)}), []


def _moved(step: Step, to: Redirection, environment: Environment, beside: Production) -> Step:
    if step.type != "extract":
        production = step.config if step.type == "load" and environment.keys.clone else None
        return replace(step, config=step.config.redirected(to), production=production)
    config = step.config.redirected(to)
    place = place_read(step)
    if place is None or not _is_below(place, beside.places) or _is_shared(place, config, environment.keys.shared):
        return replace(step, config=config)
    if (own := config.read_from(to)) is None:
        return replace(step, config=config, note=f"'{step.name}' reads production's {shown_place(place)}")
    note = f"'{step.name}' reads production's {shown_place(place)}, which {environment.name} does not have yet"
    return replace(step, config=own, production=config, note=note)


def _still_in_production(
    pipeline: PipelineConfig,
    steps: Sequence[Step],
    production: Production,
    environment: Environment,
    drafts: Sequence[Draft],
) -> Iterator[ConfigError]:
    """A refusal for each step that would write what production writes, whatever its method has said."""
    before = table_writers(pipeline.steps, pipeline.partitions)
    taken = {*production.places, *(writer.place for writer in before)}
    own = FoldersWithin((writer.place, writer.place) for writer in before)
    places = {(writer.step.index, writer.is_quarantine): writer.place for writer in before}
    for writer in table_writers(steps, pipeline.partitions):
        old = places.get((writer.step.index, writer.is_quarantine), writer.place)
        place = writer.place
        what = f"{'its quarantine' if writer.is_quarantine else 'its sink'} would be {shown_place(place)}"
        if any(one in taken for one in (place, *_spelled(writer))):
            yield _refusal(_draft_of(writer.step, drafts), f"{what}, which production writes", environment)
        elif (met := next(chain(production.written.meeting(place), own.meeting(place)), None)) is not None:
            told = f"{what}, and production writes {shown_place(met)}: {told_as(place, met)}"
            yield _refusal(_draft_of(writer.step, drafts), told, environment, _APART)
        elif (beside := _made_one(old, place, production)) is not None:
            told = f"{what}, and that of '{beside.pipeline}' would be {shown_place(beside.place)}"
            apart = f"in production they are {shown_place(old)} and {shown_place(beside.before)}"
            yield _refusal(_draft_of(writer.step, drafts), f"{told}; {apart}", environment, _APART)
    for old, new in zip(pipeline.steps, steps, strict=True):
        if any(kept is not None and kept == moved for kept, moved in zip(_paths(old), _paths(new), strict=True)):
            told = f"'{old.config.method}' leaves a folder where production has it"
            yield _refusal(_draft_of(old, drafts), told, environment)


def _made_one(old: str, new: str, production: Production) -> Moved | None:
    """What lies in the same folder in the environment, or in one within the other, and elsewhere in production."""
    for beside in production.moved.meeting(new):
        if beside.before != old and not meet(beside.before, old):
            return beside
    return None


def _paths(step: Step) -> tuple[str | None, ...]:
    config = step.config
    return config.folder(), config.quarantine(), getattr(config, "checkpoint_location", None)


def _spelled(writer: Writer) -> Iterable[str]:
    place = writer.step.config.written_place({}) if not writer.is_quarantine else None
    return [place] if place is not None else []


def _is_below(place: str, places: Iterable[str]) -> bool:
    return any(place == written or place.startswith(f"{written}/") for written in places)


def _is_shared(place: str, config: StepConfig, shared: Sequence[str]) -> bool:
    named = getattr(config, "topic", None) or [getattr(config, "table", None)]
    return all(name in shared for name in named) or _is_below(place, map(normalized_uri, shared))


def _draft_of(step: Step, drafts: Sequence[Draft]) -> Draft:
    return drafts[step.index if step.guards is None else step.guards]


def _refusal(draft: Draft, told: str, environment: Environment, hint: str | None = None) -> ConfigError:
    message = f"the environment {environment.name} can't have this step: {told}"
    return _place(draft).problem(message, hint=hint)


def _place(draft: Draft) -> SourcePosition:
    return next((draft.keys[key] for key in ("path", "table", "topic") if key in draft.keys), draft.place)
