"""`diff`: where two tables differ."""

from __future__ import annotations

import json
import re
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline_platform.cli.output import FAILED, print_json
from pipeline_platform.exceptions import PipelineConfigurationException, PipelineException, StepLocation

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from pipeline_platform.credentials.run_credentials import RunCredentials
    from pipeline_platform.engine.table_difference import Example, TableDifference

DIFFERENT = 3
"""Exit code for tables that differ; 1 says that they could not be compared."""
_TABLE = re.compile(r"(?P<path>.+?)(@v(?P<version>[0-9]+))?")
_KINDS = (("~", "changed", "yellow"), ("-", "before", "red"), ("+", "after", "green"), ("2", "repeated", ""))
_HELP = "A Delta table, perhaps with its version, as in lake/orders@v12; or files, with --format."


def diff(
    before: Annotated[str, typer.Argument(help=_HELP, show_default=False)],
    after: Annotated[str, typer.Argument(help="The table that it is compared with.", show_default=False)],
    key: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="A column that tells rows apart. May be given repeatedly."),
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Compare only this column, beside the key. May be given repeatedly."),
    ] = None,
    where: Annotated[str | None, typer.Option(metavar="SQL", help="Compare only rows for which this holds.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="How many examples of each kind at most.")] = 5,
    hide: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Show *** for the values of this column. May be given repeatedly."),
    ] = None,
    file_format: Annotated[
        str | None, typer.Option("--format", help="Of files that are no Delta table: parquet, csv, json, avro, orc.")
    ] = None,
    credential: Annotated[
        str | None, typer.Option(metavar="PATH", help="Where in Vault the credentials of the buckets are.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the difference as JSON.")] = False,
) -> None:
    """Show where two tables differ: exit code 0 if they are the same, 3 if they differ, 1 if they can't be compared.

    With a key: which rows only one of them has, and which have other values, by column. A key that is there several
    times is told, and its rows are not compared. Without a key, rows are compared as a whole, and counted. NULL is
    NULL, NaN is NaN, and nothing is rounded. Values of columns whose names say that they are secrets are shown as ***.
    """
    from rich.console import Console

    from pipeline_platform.config.sql_limits import expression_mistake
    from pipeline_platform.credentials.run_credentials import RunCredentials
    from pipeline_platform.engine.spark.server import Use
    from pipeline_platform.engine.spark.session import spark_session
    from pipeline_platform.engine.table_difference import table_difference

    try:
        if where is not None and (mistake := expression_mistake(where)) is not None:
            raise PipelineConfigurationException(f"--where: {getattr(mistake, 'message', mistake)}")
        with (
            Console(stderr=True).status(f"comparing {before} with {after}"),
            closing(RunCredentials.from_environment("diff", StepLocation("diff"))) as credentials,
        ):
            spark = spark_session("diff", is_short=True, server=Use.RUNNING)
            one, other = (_frame(table, file_format, credential, spark, credentials) for table in (before, after))
            if where is not None:
                one, other = one.filter(where), other.filter(where)
            found = table_difference(one, other, key or (), columns, limit, hide or ())
    except PipelineException as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(FAILED) from error
    except Exception as error:
        typer.echo(_explained(error), err=True)
        raise typer.Exit(FAILED) from error
    if as_json:
        print_json({"before": before, "after": after, "is_same": found.is_same, **asdict(found)})
    else:
        _show(found, before, after)
    raise typer.Exit(0 if found.is_same else DIFFERENT)


def _frame(
    table: str, file_format: str | None, credential: str | None, spark: SparkSession, credentials: RunCredentials
) -> DataFrame:
    """The rows of a table.

    Raises:
        PipelineException: There is none, or it can't be read.
    """
    from pydantic import ValidationError

    from pipeline_platform.config.format_errors import format_errors
    from pipeline_platform.registry import method_registry
    from pipeline_platform.steps.credentialed import Credentialed
    from pipeline_platform.steps.extract import Extract

    found = _TABLE.fullmatch(table)
    path, version = (found["path"], found["version"]) if found is not None else (table, None)
    method, keys = "fromDeltaLake", {"version": int(version)} if version is not None else {}
    if file_format is not None and version is None:
        method, keys = "fromFiles", {"format": file_format}
    given = {"credentialPath": credential} if credential is not None else {}
    try:
        config = method_registry()["extract"][method].model_validate({"path": path, **keys, **given})
    except ValidationError as error:
        raise PipelineConfigurationException("; ".join(one.message for one in format_errors(error))) from None
    assert isinstance(config, Extract)
    request = config.credential_request() if isinstance(config, Credentialed) else None
    entered = credentials.enter(request, StepLocation("diff")) if request is not None else None
    if method == "fromDeltaLake" and not config.is_there(spark, entered):
        raise PipelineConfigurationException(
            f"there is no Delta table at {path}", hint="correct the path; of other files, say the --format"
        )
    return config.accepted(config.read(spark, entered))


def _explained(error: Exception) -> str:
    """What Spark said, without its stack."""
    from pipeline_platform.frames.causes import failure_of
    from pipeline_platform.redaction import redact

    causes = failure_of(error).causes
    return redact(causes[-1].text if causes else str(error))


def _show(found: TableDifference, before: str, after: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    by = f" by {', '.join(found.key)}" if found.key else ""

    def say(text: str) -> None:
        console.print(Text(text), soft_wrap=True)

    say(f"{before}, {_rows(found.rows_before)}, and {after}, {_rows(found.rows_after)}{by}:")
    for one in found.columns:
        if one.before is None or one.after is None:
            say(f"  column {one.name} {one.before or one.after}: only in {after if one.before is None else before}")
        else:
            compared = "" if one.is_compared else ", not compared"
            say(f"  column {one.name}: {one.before} in {before}, {one.after} in {after}{compared}")
    if found.is_same:
        say("  no difference")
        return
    changed = f", {found.changed:,} changed" if found.key else ""
    only = f"{found.only_before:,} only in {before}, {found.only_after:,} only in {after}"
    in_what = "" if found.is_all_compared else " in what was compared"
    say(f"  {found.same:,} the same{in_what}{changed}, {only}")
    for side, repeated in ((before, found.repeated_before), (after, found.repeated_after)):
        if repeated:
            say(f"  {repeated:,} keys are several times in {side}, and are not compared")
    for name, count in found.changes.items():
        if count:
            say(f"  {name}: changed in {count:,} of {found.matched:,} ({count / found.matched:.1%})")
    if not any(found.examples.values()):
        return
    names = found.key or found.compared
    table = Table("", *names, *([""] if found.key else []))
    for mark, kind, style in _KINDS:
        for example in found.examples.get(kind, ()):
            values = [_text(example.key[name]) for name in names]
            table.add_row(_mark(mark, example), *values, *([_others(example)] if found.key else []), style=style)
    console.print(table)


def _rows(count: int) -> str:
    return f"{count:,} row{'s' if count != 1 else ''}"


def _mark(mark: str, example: Example) -> str:
    before, after = example.times
    if mark == "2":
        return f"{before}:{after}"
    times = abs(before - after)
    return f"{mark}{times}" if times > 1 else mark


def _others(example: Example) -> str:
    """The values beside the key: of a changed row those that differ."""
    before, after = example.before or {}, example.after or {}
    if example.changed:
        return ", ".join(f"{name}: {_text(before[name])} → {_text(after[name])}" for name in example.changed)
    return ", ".join(f"{name}: {_text(value)}" for name, value in {**before, **after}.items())


def _text(value: Any) -> str:
    from pipeline_platform.redaction import MASK, redact

    if isinstance(value, str) and value != MASK:
        # Blanks at either end are seen, and the text NULL is told from NULL.
        return json.dumps(redact(value), ensure_ascii=False)
    return "NULL" if value is None else redact(str(value))
