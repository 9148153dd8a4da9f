"""What is said of a table and its columns, in the table's own log: from there Spark shows it, whatever the name is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tenacity import Retrying, retry_if_exception, stop_after_attempt

from pipeline_platform.config.sql import sql_text
from pipeline_platform.connectors.delta.catalogs.statements import run_statement
from pipeline_platform.connectors.delta.errors import CONFLICT
from pipeline_platform.connectors.delta.table import open_table
from pipeline_platform.connectors.storage.location import StorageLocation
from pipeline_platform.frames.causes import failure_of
from pipeline_platform.frames.columns import quoted
from pipeline_platform.frames.settings import spark_settings
from pipeline_platform.steps.table_facts import TableFacts

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_ATTEMPTS = 5


def comment_on(spark: SparkSession, place: StorageLocation, facts: TableFacts) -> None:
    """Have the log of a table say what is said of the table and its columns, where it says something else.

    Args:
        spark: The session.
        place: Where the table is.
        facts: What is said of it; what they don't say is left as it is.
    """
    with spark_settings(spark, place.session_settings()):
        # Another process that has loaded the table may be saying the same of it.
        for attempt in Retrying(
            stop=stop_after_attempt(_ATTEMPTS), retry=retry_if_exception(_is_conflict), reraise=True
        ):
            with attempt:
                for statement in _due(place, facts):
                    run_statement(spark, statement)


def _is_conflict(error: BaseException) -> bool:
    return any(CONFLICT.fits(cause) for cause in failure_of(error).causes)


def _due(place: StorageLocation, facts: TableFacts) -> list[str]:
    """The statements by which a table's log comes to say it."""
    table = open_table(place)
    if table is None:
        return []
    statements: list[str] = []
    if facts.comment is not None and table.metadata().description != facts.comment:
        statements.append(f"COMMENT ON TABLE {_table(place)} IS {sql_text(facts.comment)}")
    wanted = {name.lower(): said for name, said in facts.columns.items()}
    changes: list[str] = []
    fields: list[dict[str, Any]] = json.loads(table.schema().to_json())["fields"]
    for field in fields:
        said = wanted.get(field["name"].lower())
        if said is not None and field["metadata"].get("comment") != said:
            changes.append(f"{quoted(field['name'])} COMMENT {sql_text(said)}")
    if changes:
        statements.append(f"ALTER TABLE {_table(place)} ALTER COLUMN {', '.join(changes)}")
    return statements


def _table(place: StorageLocation) -> str:
    return f"delta.{quoted(place.uri)}"
