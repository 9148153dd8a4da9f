"""What is said of a table and its columns, in the table's own log: from there Spark shows it, whatever the name is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from pipeline_platform.connectors.delta.table import open_table
from pipeline_platform.connectors.storage.location import StorageLocation
from pipeline_platform.frames.columns import quoted
from pipeline_platform.frames.session import escape_braces, run_sql
from pipeline_platform.frames.settings import spark_settings
from pipeline_platform.steps.table_facts import TableFacts

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def comment_on(spark: SparkSession, place: StorageLocation, facts: TableFacts) -> None:
    """Have the log of a table say what is said of the table and its columns, where it says something else.

    Args:
        spark: The session.
        place: Where the table is.
        facts: What is said of it; what they don't say is left as it is.
    """
    table = open_table(place)
    if table is None:
        return
    statements: list[str] = []
    if facts.comment is not None and table.metadata().description != facts.comment:
        statements.append(f"COMMENT ON TABLE {_table(place)} IS {_text(facts.comment)}")
    wanted = {name.lower(): text for name, text in facts.columns.items()}
    changes: list[str] = []
    fields: list[dict[str, Any]] = json.loads(table.schema().to_json())["fields"]
    for field in fields:
        text = wanted.get(field["name"].lower())
        if text is not None and field["metadata"].get("comment") != text:
            changes.append(f"{quoted(field['name'])} COMMENT {_text(text)}")
    if changes:
        statements.append(f"ALTER TABLE {_table(place)} ALTER COLUMN {', '.join(changes)}")
    with spark_settings(spark, place.session_settings() if statements else {}):
        for statement in statements:
            run_sql(spark, escape_braces(statement))


def _table(place: StorageLocation) -> str:
    return f"delta.{quoted(place.uri)}"


def _text(value: str) -> str:
    return exp.Literal.string(value).sql(dialect="spark")
