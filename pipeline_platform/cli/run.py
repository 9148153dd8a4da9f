"""`run`: a batch, or a stream until it is stopped."""

from __future__ import annotations

import signal
from typing import Annotated

import typer

from pipeline_platform.cli.files import File, loaded_or_exit
from pipeline_platform.cli.output import CANCELLED, FAILED, interrupt, print_json
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.exceptions import PipelineCancelledException, PipelineException
from pipeline_platform.logs import configure_logs


def run(
    file: File,
    select: Annotated[
        list[str] | None, typer.Option("--select", help="Run only these steps and what they need.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the metrics of the run as JSON.")] = False,
    load_id: Annotated[
        str | None,
        typer.Option(help="Repeat an earlier run: what it loaded is not loaded twice. By default a new id."),
    ] = None,
) -> None:
    """Run a pipeline: exit code 0 when it completed, 1 when it failed, 130 when it was stopped.

    A streaming pipeline runs until Ctrl-C, which lets the current micro-batch finish; the next run continues from its
    checkpoint.
    """
    pipeline = loaded_or_exit(file)
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
    signal.signal(signal.SIGTERM, interrupt)
    configure_logs()
    raise typer.Exit(_run(pipeline, frozenset(select) if select else None, load_id, as_json=as_json))


def _run(pipeline: PipelineConfig, selection: frozenset[str] | None, load_id: str | None, *, as_json: bool) -> int:
    from pipeline_platform.engine.batch import BatchRun
    from pipeline_platform.engine.plan import needed_steps
    from pipeline_platform.engine.spark.session import spark_session
    from pipeline_platform.engine.streaming.stream import StreamRun
    from pipeline_platform.metrics.exporter import exporters_from_environment
    from pipeline_platform.progress import ProgressTable

    with ProgressTable(pipeline, selection) as progress:
        begun: BatchRun | StreamRun | None = None
        try:
            exporters = exporters_from_environment()
            needed = needed_steps(pipeline, selection)
            pipeline.require_variables(needed)
            pipeline.require_extras(needed)
            progress.say("starting Spark")
            spark = spark_session(pipeline.name, pipeline.spark_settings())
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
            if as_json and begun is not None:
                print_json(begun.record.metrics().model_dump(mode="json"))
            return CANCELLED if cancelled else FAILED
        progress.completed(metrics)
    if as_json:
        print_json(metrics.model_dump(mode="json"))
    return 0
