"""`run`: a batch, or a stream until it is stopped."""

from __future__ import annotations

import signal
from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from pipeline_platform.cli.files import (
    EnvironmentName,
    Paths,
    Variables,
    given_values,
    project_or_exit,
    tell_environment,
)
from pipeline_platform.cli.output import CANCELLED, FAILED, interrupt, print_json
from pipeline_platform.config.partitions import Partition
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.exceptions import (
    PipelineCancelledException,
    PipelineConfigurationException,
    PipelineException,
)
from pipeline_platform.logs import configure_logs


def run(
    files: Paths,
    select: Annotated[
        list[str] | None, typer.Option("--select", help="Run only these steps and what they need.")
    ] = None,
    partition: Annotated[str | None, typer.Option(metavar="KEY", help="Load this partition.")] = None,
    first: Annotated[
        str | None,
        typer.Option("--from", metavar="KEY", help="Load the partitions from this one; needs --to. Both are included."),
    ] = None,
    last: Annotated[str | None, typer.Option("--to", metavar="KEY", help="Load the partitions up to this one.")] = None,
    variables: Variables = None,
    _environment: EnvironmentName = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print the metrics of the run as JSON, or of several runs as a list of them."),
    ] = False,
    load_id: Annotated[
        str | None,
        typer.Option(help="Repeat an earlier run: what it loaded is not loaded twice. By default a new id."),
    ] = None,
) -> None:
    """Run a pipeline, or several, all of a folder or of a file with `forEach`: exit code 0 when all completed, 1 when
    one failed, 130 when it was stopped.

    A streaming pipeline runs until Ctrl-C, which lets the current micro-batch finish; the next run continues from its
    checkpoint. A pipeline with partitions loads one of them, or a range: in one run if that leaves what one run for
    each would leave, otherwise in one run for each, and the first line says which step is the reason. Several pipelines
    share one Spark and run one after the other, those that write a table before those that read it. Where one fails,
    those that read what it writes are left out, and the others run.
    """
    project = project_or_exit(files, given_values(variables or []))
    try:
        pipelines = project.in_order()
        _require_choice(pipelines, load_id)
        for pipeline in pipelines:
            _require_options(pipeline, select or (), load_id)
        jobs = [
            _Job(pipeline, _partitions(pipeline, partition, first, last), project.upstream[pipeline.asset_prefix])
            for pipeline in pipelines
        ]
    except PipelineConfigurationException as error:
        typer.echo("\n".join(map(str, error.problems)) or str(error), err=True)
        raise typer.Exit(FAILED) from error
    tell_environment(pipelines)
    signal.signal(signal.SIGTERM, interrupt)
    configure_logs()
    code, metrics = _run_all(jobs, frozenset(select) if select else None, load_id)
    is_list = len(jobs) > 1 or len(jobs[0].partitions) > 1
    if as_json and (metrics or is_list):
        print_json(metrics if is_list else metrics[0])
    raise typer.Exit(code)


@dataclass(frozen=True)
class _Job:
    """A pipeline with what is loaded by one run after the other.

    Args:
        pipeline: The pipeline.
        partitions: None for the one run of a pipeline without partitions.
        upstream: The asset prefixes of the pipelines that write what it reads.
    """

    pipeline: PipelineConfig
    partitions: Sequence[Partition | None]
    upstream: Set[str]


def _require_choice(pipelines: Sequence[PipelineConfig], load_id: str | None) -> None:
    """Make sure that what can't be done with several pipelines is asked of one.

    Raises:
        PipelineConfigurationException: It is asked of several.
    """
    if len(pipelines) == 1:
        return
    wrong = None
    if load_id is not None:
        wrong = "--load-id repeats the run of one pipeline"
    elif any(pipeline.mode == "streaming" and not _ends(pipeline) for pipeline in pipelines):
        wrong = "a stream runs until it is stopped, so that no other one would follow it"
    if wrong is not None:
        first = pipelines[0]
        of_one_file = first.item is not None and len({pipeline.file for pipeline in pipelines}) == 1
        several = f"{first.file} makes {len(pipelines)}" if of_one_file else f"these are {len(pipelines)}"
        raise PipelineConfigurationException(
            f"{wrong}, and {several}", hint=f"choose one, as in {first.command_arguments}"
        )


def _ends(pipeline: PipelineConfig) -> bool:
    return all(step.config.ends_by_itself() for step in pipeline.steps)


def _require_options(pipeline: PipelineConfig, select: Sequence[str], load_id: str | None) -> None:
    """Make sure that the options go with the pipeline.

    Raises:
        PipelineConfigurationException: They don't.
    """
    unknown = sorted(set(select) - {step.name for step in pipeline.steps})
    if unknown:
        names = ", ".join(step.name for step in pipeline.steps)
        raise PipelineConfigurationException(f"there is no step called {', '.join(unknown)}; the steps are {names}")
    if pipeline.mode == "streaming" and (select or load_id):
        raise PipelineConfigurationException(
            "a stream always runs as a whole, from its checkpoint: --select and --load-id are for batch pipelines"
        )


def _partitions(
    pipeline: PipelineConfig, key: str | None, first: str | None, last: str | None
) -> Sequence[Partition | None]:
    """What is loaded by one run after the other; None by the one of a pipeline without partitions.

    Raises:
        PipelineConfigurationException: The options don't go with the pipeline, or with each other.
    """
    wrong = None
    if (first is None) != (last is None) or (key is not None and first is not None):
        wrong = "give either --partition, or both --from and --to"
    elif pipeline.partitions is None and (key or first):
        wrong = "the pipeline has no partitions"
    elif pipeline.partitions is not None and not (key or first):
        wrong = "the pipeline has partitions: say which to load, with --partition or with --from and --to"
    if wrong is not None:
        raise PipelineConfigurationException(wrong, location=pipeline.location)
    if pipeline.partitions is None:
        return [None]
    # Dagster says which there are, and only those who have partitions wait for its import.
    from pipeline_platform.resources.partitions import chosen_partitions

    return chosen_partitions(pipeline, key or first or "", key or last or "")


def _run_all(
    jobs: Sequence[_Job], selection: frozenset[str] | None, load_id: str | None
) -> tuple[int, list[dict[str, Any]]]:
    """Run each pipeline: the exit code, and the metrics of the runs that began. One that is stopped is the last."""
    from pipeline_platform.engine.spark.compilers import is_short

    found: list[dict[str, Any]] = []
    failed: list[PipelineConfig] = []
    completed = 0
    # Also those that read what one of them would have written.
    unwritten: set[str] = set()
    runs = max(sum(len(one.keys) if one is not None else 1 for one in job.partitions) for job in jobs)
    # One session serves them all.
    is_brief = is_short(*(job.pipeline for job in jobs), partitions=runs)
    for number, job in enumerate(jobs, 1):
        of_all = f" ({number} of {len(jobs)})" if len(jobs) > 1 else ""
        if missing := sorted(job.upstream & unwritten):
            told = f"left out, as it reads what {', '.join(missing)} would have written"
            typer.echo(f"{job.pipeline.name}{of_all}: {told}", err=True)
            unwritten.add(job.pipeline.asset_prefix)
            continue
        code, metrics = _run_each(job, of_all, selection, load_id, is_brief=is_brief)
        found += metrics
        if code == CANCELLED:
            _tell_failed(failed, completed, len(jobs))
            return code, found
        if code != 0:
            failed.append(job.pipeline)
            unwritten.add(job.pipeline.asset_prefix)
        else:
            completed += 1
    _tell_failed(failed, completed, len(jobs))
    return FAILED if failed else 0, found


def _tell_failed(failed: Sequence[PipelineConfig], completed: int, count: int) -> None:
    """Say which of several pipelines have failed, and how to run each of them again."""
    if count == 1:
        return
    left = count - completed - len(failed)
    not_run = f", {left} were not run to their end" if left else ""
    typer.echo(f"{completed} of {count} pipelines completed, {len(failed)} failed{not_run}", err=True)
    for pipeline in failed:
        typer.echo(f"  {pipeline.name} failed; to run it again: run {pipeline.command_arguments}", err=True)


def _run_each(
    job: _Job, of_all: str, selection: frozenset[str] | None, load_id: str | None, *, is_brief: bool
) -> tuple[int, list[dict[str, Any]]]:
    """Run a pipeline for each partition until one fails: the exit code, and the metrics of the runs that began."""
    found: list[dict[str, Any]] = []
    if len(job.partitions) > 1 and (why := job.pipeline.single_partitions) is not None:
        each = f"each of the {len(job.partitions)} partitions is a run of its own, as {why}"
        typer.echo(f"{job.pipeline.name}{of_all}: {each}", err=True)
    for number, partition in enumerate(job.partitions, 1):
        of_partitions = f"{number} of {len(job.partitions)}: " if len(job.partitions) > 1 else ""
        title = f"{job.pipeline.name}{of_all}"
        title = f"{title}, {of_partitions}{partition}" if partition is not None else title
        code, metrics = _run(job.pipeline, title, partition, selection, load_id, is_brief=is_brief)
        found += [metrics] if metrics is not None else []
        if code != 0:
            return code, found
    return 0, found


def _run(
    pipeline: PipelineConfig,
    title: str,
    partition: Partition | None,
    selection: frozenset[str] | None,
    load_id: str | None,
    *,
    is_brief: bool,
) -> tuple[int, dict[str, Any] | None]:
    from pipeline_platform.engine.batch import BatchRun
    from pipeline_platform.engine.plan import needed_steps
    from pipeline_platform.engine.spark.session import session_for
    from pipeline_platform.engine.streaming.stream import StreamRun
    from pipeline_platform.metrics.exporter import exporters_from_environment
    from pipeline_platform.progress import ProgressTable

    with ProgressTable(pipeline, title) as progress:
        begun: BatchRun | StreamRun | None = None
        try:
            exporters = exporters_from_environment()
            pipeline.require_ready(needed_steps(pipeline, selection), partition)
            progress.say("starting Spark")
            spark = session_for(pipeline, is_short=is_brief)
            if pipeline.mode == "streaming":
                begun = StreamRun(pipeline, spark, listener=progress.on_micro_batch, exporters=exporters)
            else:
                begun = BatchRun(
                    pipeline,
                    spark,
                    load_id=load_id,
                    selection=selection,
                    listener=progress.on_step,
                    exporters=exporters,
                    say=progress.say,
                    say_seconds=progress.say_seconds,
                    partition=partition,
                )
                # A run that is killed can't say it any more.
                chosen = f" with {pipeline.item.options}" if pipeline.item is not None and pipeline.item.options else ""
                progress.note(
                    f"load id {begun.load_name}: pass it to --load-id{chosen} to continue if the run is interrupted"
                )
            metrics = begun.run()
        except (PipelineException, KeyboardInterrupt) as error:
            cancelled = isinstance(error, (PipelineCancelledException, KeyboardInterrupt))
            if isinstance(error, PipelineException):
                error.locate(pipeline.location)
            progress.failed(str(error) or "stopped")
            if not cancelled and isinstance(begun, BatchRun) and begun.has_loaded():
                progress.failed(
                    f"  some loads are complete: --load-id {begun.load_name} continues without repeating them"
                )
            told = begun.record.metrics().model_dump(mode="json") if begun is not None else None
            return CANCELLED if cancelled else FAILED, told
        progress.completed(metrics)
    return 0, metrics.model_dump(mode="json")
