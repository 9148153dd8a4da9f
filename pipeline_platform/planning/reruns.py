"""What has to run again after a change, and by which commands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import StepConfig
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.planning.changes import Change, Rerun, Severity
from pipeline_platform.planning.derivation import Derived
from pipeline_platform.planning.described import Described
from pipeline_platform.planning.versions import Pairing
from pipeline_platform.steps.dataset import Dataset
from pipeline_platform.steps.load import Load

# Changes that no run of the pipeline can make good, or needs to.
_OF_NO_RUN = (
    "pipeline broken",
    "load refused",
    "cursor",
    "checkpoint",
    "sink removed",
    "variable",
    "trigger",
    "validation",
    "contract",
)


def reruns(pairing: Pairing, changes: Sequence[Change], before: Described, now: Described) -> Iterator[Rerun]:
    """The pipelines of which tables have other rows than their files say, those before that others read.

    Args:
        pairing: Which pipeline is which.
        changes: What was found.
        before: The other version.
        now: This version.
    """
    formers = {pair.now.name: pair.before.name for pair in pairing.pairs}
    added = {pipeline.name for pipeline in pairing.added}
    own = {change.pipeline for change in changes if change.severity >= Severity.DATA and change.what not in _OF_NO_RUN}
    refused = {change.pipeline for change in changes if change.what == "checkpoint" and change.severity}
    names: list[str] = []
    for pipeline in _in_order(now):
        if pipeline.name in added:
            names.append(pipeline.name)
            yield _rerun(pipeline, "it is new")
        elif pipeline.name in own:
            names.append(pipeline.name)
            yield _rerun(pipeline, "its tables change", is_refused=pipeline.name in refused)
        elif _reads_others(pipeline, formers.get(pipeline.name), before, now):
            prefixes = now.version.project.upstream[pipeline.asset_prefix]
            above = [one.name for one in now.version.project.pipelines if one.asset_prefix in prefixes]
            read = [name for name in above if name in names]
            names.append(pipeline.name)
            yield _rerun(pipeline, f"it reads what {', '.join(read) or 'another pipeline'} changes")


def _in_order(now: Described) -> Sequence[PipelineConfig]:
    try:
        return now.version.project.in_order()
    except PipelineConfigurationException:
        return now.version.project.pipelines


def _reads_others(pipeline: PipelineConfig, former: str | None, before: Described, now: Described) -> bool:
    """Whether what it writes is made of other rows or values than before."""
    if former is None or former not in before.whole or pipeline.name not in now.whole:
        return False
    before_it = next(one for one in before.version.project.pipelines if one.name == former)
    old, new = _written(before_it, before), _written(pipeline, now)
    return any(table not in old or old[table] != derived for table, derived in new.items())


def _written(pipeline: PipelineConfig, described: Described) -> dict[Dataset, Derived]:
    derived = described.whole[pipeline.name]
    return {step.config.dataset(): derived[step.index] for step in pipeline.steps if isinstance(step.config, Load)}


def _rerun(pipeline: PipelineConfig, why: str, *, is_refused: bool = False) -> Rerun:
    arguments = pipeline.command_arguments
    adding = [step.name for step in pipeline.steps if step.type == "load" and _adds(step.config)]
    told = f"; {', '.join(adding)} adds to what is there: empty the table first" if adding else ""
    if pipeline.mode == "streaming":
        goes_on = "" if is_refused else "; rows that are new are right by themselves, the old ones once it starts over"
        return Rerun(
            pipeline.name,
            f"{why}{goes_on}{told.replace('first', 'before it starts over')}",
            (f"pipeline-platform stop {arguments}", f"pipeline-platform reset-checkpoint {arguments}"),
        )
    commands: list[str] = []
    if any(step.config.reads_increments() for step in pipeline.steps):
        commands.append(f"pipeline-platform cursor {arguments} --reset")
    run = f"pipeline-platform run {arguments}"
    if pipeline.partitions is not None:
        span = " --from KEY --to KEY" if pipeline.partitions.type != "dynamic" else " --partition KEY"
        run = f"pipeline-platform run{span} {arguments}"
    commands.append(run)
    return Rerun(pipeline.name, f"{why}{told}", tuple(commands))


def _adds(config: StepConfig) -> bool:
    return (
        getattr(config, "mode", "append") not in ("overwrite", "merge", "deleteInsert")
        and getattr(config, "output_mode", "append") != "complete"
    )
