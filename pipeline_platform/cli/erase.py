"""`erase`: takes a person's rows out of everything that the pipelines of a project have written."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline_platform.cli.files import PIPELINES, EnvironmentName, Folder, project_or_exit, tell_environment
from pipeline_platform.cli.output import CANCELLED, FAILED, print_json
from pipeline_platform.exceptions import PipelineException

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from pipeline_platform.erasure.keys import Keys
    from pipeline_platform.erasure.look import Survey
    from pipeline_platform.erasure.record import EraseRecord
    from pipeline_platform.erasure.run import Erasing

WAITING = 3
"""Exit code of an erase that has deleted all rows, and has to wait before what is kept of them can be removed."""


def erase(
    folder: Folder = PIPELINES,
    key: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="Whose rows; may be given repeatedly. A shell remembers it, and 'ps' shows it: see --keys-from.",
        ),
    ] = None,
    keys_from: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="CSV with one column, whose header names the key; - is standard input."),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(metavar="PIPELINE.STEP=COLUMN", help="The column that has the key there; - leaves the place out."),
    ] = None,
    contains: Annotated[
        bool, typer.Option("--contains", help="In quarantines, also erase rows that hold a value within a text.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Erase; without it, only what is there is shown.")] = False,
    now: Annotated[
        bool,
        typer.Option("--now", help="Remove earlier versions at once; whoever reads one of them at this moment, fails."),
    ] = False,
    break_streams: Annotated[
        bool,
        typer.Option("--break-streams", help="Erase although streams read a table, which have to be started over."),
    ] = False,
    proof: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the proof is written.")] = Path("erasures"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the proof as JSON.")] = False,
    _environment: EnvironmentName = None,
) -> None:
    """Find a person's rows by a key in every table, folder and quarantine that the pipelines of a folder write, and
    erase them with --yes: also from earlier versions of tables, once nobody should read them any more.

    Without --yes nothing is changed. The same command again continues an erase that waits or was cut off. Production,
    and each environment, are erased by themselves. Exit code 0: erased, or there was nothing; 1: something could not
    be; 3: rows are gone, and earlier versions wait.
    """
    try:
        project = project_or_exit([folder])
    except typer.Exit:
        typer.echo("nothing was looked into, and nothing was erased: correct the files first", err=True)
        raise
    tell_environment(project.pipelines)
    from pipeline_platform.erasure.columns import given_columns
    from pipeline_platform.erasure.look import Request, surveyed
    from pipeline_platform.erasure.record import opened_record
    from pipeline_platform.erasure.run import Erasing
    from pipeline_platform.erasure.told import outcome_table, shown_survey

    try:
        with ExitStack() as sessions:
            keys = _keys(key or [], keys_from)
            request = Request(project.in_order(), keys, given_columns(column or []), contains)
            record = opened_record(proof, keys)

            def spark() -> SparkSession:
                from pipeline_platform.engine.spark.session import session_for

                return session_for(request.pipelines[0], is_short=True)

            survey = surveyed(request, spark, record, sessions)
            if not as_json:
                _print(*shown_survey(survey, yes=yes))
            elif not yes:
                print_json(survey.told())
            erasing = Erasing(survey, proof, spark, at_once=now, breaks_streams=break_streams)
            if not yes:
                _end_look(survey)
            erasing.require_possible()
            record = _carried_out(erasing, record, keys)
    except PipelineException as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(FAILED) from error
    except KeyboardInterrupt as stopped:
        typer.echo("stopped; the same command continues", err=True)
        raise typer.Exit(CANCELLED) from stopped
    if as_json:
        print_json(record.told())
    else:
        _print(*outcome_table(record, survey, proof))
    states = {place.state for place in record.places.values()}
    raise typer.Exit(FAILED if "failed" in states else WAITING if "waiting" in states else 0)


def _keys(options: Sequence[str], keys_from: str | None) -> Keys:
    from pipeline_platform.erasure.keys import keys_of

    if keys_from is None:
        return keys_of(options, None)
    if keys_from == "-":
        return keys_of(options, sys.stdin)
    try:
        with Path(keys_from).open(encoding="utf-8", newline="") as file:
            return keys_of(options, file)
    except OSError as error:
        raise typer.BadParameter(f"{keys_from}: {error.strerror}", param_hint="--keys-from") from error


def _carried_out(erasing: Erasing, record: EraseRecord, keys: Keys) -> EraseRecord:
    steps = erasing.run(record, keys)
    while True:
        try:
            done = next(steps)
        except StopIteration as ended:
            return ended.value
        typer.echo(f"{done.place}: {done.state}", err=True)


def _end_look(survey: Survey) -> None:
    in_the_way = survey.of_state("undecided", "impossible") or any(one.loses_rows for one in survey.readers)
    raise typer.Exit(FAILED if in_the_way else 0)


def _print(*parts: object) -> None:
    from rich.console import Console

    console = Console()
    for part in parts:
        console.print(part)
