"""`run`: a batch, or a stream until it is stopped."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from pipeline_platform.cli.files import File, Variables, given_values, loaded_or_exit
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
    file: File,
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
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print the metrics of the run as JSON, or of several runs as a list of them."),
    ] = False,
    load_id: Annotated[
        str | None,
        typer.Option(help="Repeat an earlier run: what it loaded is not loaded twice. By default a new id."),
    ] = None,
) -> None:
    """Run a pipeline: exit code 0 when it completed, 1 when it failed, 130 when it was stopped.

    A streaming pipeline runs until Ctrl-C, which lets the current micro-batch finish; the next run continues from its
    checkpoint. A pipeline with partitions loads one of them, or a range: in one run if its steps allow that, otherwise
    in one run for each.
    """
    pipeline = loaded_or_exit(file, given_values(variables or []))
    unknown = sorted(set(select or ()) - {step.name for step in pipeline.steps})
    if unknown:
        names = ", ".join(step.name for step in pipeline.steps)
        typer.echo(f"there is no step called {', '.join(unknown)}; the steps are {names}", err=True)
        raise typer.Exit(FAILED)
    if pipeline.mode == "streaming" and (select or load_id):
        typer.echo(
            "a stream always runs as a whole, from its checkpoint: --select and --load-id are for batch pipelines",
            err=True,
        )
        raise typer.Exit(FAILED)
    try:
        partitions = _partitions(pipeline, partition, first, last)
    except PipelineConfigurationException as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(FAILED) from error
    signal.signal(signal.SIGTERM, interrupt)
    configure_logs()
    code, metrics = _run_all(pipeline, partitions, frozenset(select) if select else None, load_id)
    if as_json and metrics:
        print_json(metrics if len(partitions) > 1 else metrics[0])
    raise typer.Exit(code)


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
    pipeline: PipelineConfig,
    partitions: Sequence[Partition | None],
    selection: frozenset[str] | None,
    load_id: str | None,
) -> tuple[int, list[dict[str, Any]]]:
    """Run the pipeline for each partition until one fails: the exit code, and the metrics of those that began."""
    from pipeline_platform.engine.spark.compilers import is_short

    found: list[dict[str, Any]] = []
    # One session serves them all.
    is_brief = is_short(pipeline, sum(len(partition.keys) if partition is not None else 1 for partition in partitions))
    for number, partition in enumerate(partitions, 1):
        of_all = f"{number} of {len(partitions)}: " if len(partitions) > 1 else ""
        title = f"{pipeline.name}, {of_all}{partition}" if partition is not None else pipeline.name
        code, metrics = _run(pipeline, title, partition, selection, load_id, is_brief=is_brief)
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
    from pipeline_platform.engine.spark.session import spark_session
    from pipeline_platform.engine.spark.sharing import use_for
    from pipeline_platform.engine.streaming.stream import StreamRun
    from pipeline_platform.metrics.exporter import exporters_from_environment
    from pipeline_platform.progress import ProgressTable

    with ProgressTable(pipeline, title) as progress:
        begun: BatchRun | StreamRun | None = None
        try:
            exporters = exporters_from_environment()
            pipeline.require_ready(needed_steps(pipeline, selection), partition)
            progress.say("starting Spark")
            settings, use = pipeline.spark_settings(), use_for(pipeline)
            spark = spark_session(pipeline.name, settings, is_short=is_brief, server=use)
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
                progress.note(f"load id {begun.load_name}: pass it to --load-id to continue if the run is interrupted")
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
