"""`diff`: where two tables differ."""

from __future__ import annotations

import re
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline_platform.cli.output import FAILED, print_json
from pipeline_platform.exceptions import PipelineConfigurationException, PipelineException, StepLocation

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from pipeline_platform.credentials.run_credentials import RunCredentials

DIFFERENT = 3
"""Exit code for tables that differ; 1 says that they could not be compared."""
_TABLE = re.compile(r"(?P<path>.+?)(@v(?P<version>[0-9]+))?")
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
    from pipeline_platform.difference_text import shown_difference
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
        Console().print(shown_difference(found, before, after), soft_wrap=True)
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
