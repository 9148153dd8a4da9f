"""The pipeline that loads a table of a database: by its key, what is new in it, with a check for each constraint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline_platform.connectors.jdbc.catalog import CatalogTable, Kind
from pipeline_platform.connectors.jdbc.check_rules import Dialect, Untranslatable, spark_rule
from pipeline_platform.connectors.jdbc.cursor_choice import CursorChoice
from pipeline_platform.steps.discovery import lake_settings


@dataclass(frozen=True)
class TableRule:
    """A CHECK as a rule of the pipeline.

    Args:
        name: Of the constraint.
        condition: In the system's SQL.
        rule: In Spark's; None if it is left out.
        left_out: Why.
    """

    name: str
    condition: str
    rule: str | None = None
    left_out: str | None = None


def rules_of(table: CatalogTable, dialect: Dialect) -> list[TableRule]:
    """The CHECK constraints of a table, those that have no counterpart too.

    Args:
        table: The table.
        dialect: Of its system.
    """
    kinds: dict[str, Kind] = {column.name: column.kind for column in table.columns if column.read_as is None}
    found: list[TableRule] = []
    for check in table.checks:
        if not check.holds:
            found.append(TableRule(check.name, check.condition, left_out="the database has not looked at all rows"))
            continue
        try:
            found.append(TableRule(check.name, check.condition, spark_rule(check.condition, dialect, kinds)))
        except Untranslatable as error:
            found.append(TableRule(check.name, check.condition, left_out=f"no rule of Spark's: {error}"))
    return found


def table_pipeline(
    table: CatalogTable,
    name: str,
    source: Mapping[str, Any],
    method: str,
    cursor: CursorChoice,
    rules: Sequence[TableRule],
    path: str,
) -> dict[str, Any]:
    """The pipeline of a table, as its file has it.

    Where no column says what is new, each run replaces the copy, so that rows that were deleted are gone there, too.

    Args:
        table: The table.
        name: Of the pipeline.
        source: The keys of the extract that say what is read, and how the database is entered.
        method: The extract's.
        cursor: Which column says what is new.
        rules: Its CHECK constraints.
        path: Where the copy goes.
    """
    config = dict(source)
    # A copy that is replaced gets the columns of its source; one that is kept, those that are new there.
    sink: dict[str, Any] = {"path": path, "mode": "overwrite", "overwriteSchema": True}
    if cursor.column is not None:
        incremental: dict[str, Any] = {"cursorColumn": cursor.column.name, "lag": cursor.lag}
        if table.key:
            incremental["key"] = list(table.key)
        config = {**_first(config), "incremental": incremental, **_others(config)}
        how = {"mode": "merge", "mergeKeys": list(table.key)} if table.key else {"mode": "append"}
        sink = {"path": path, **how, "schemaPolicy": {"newColumns": "add", "typeChanges": "widen"}}
    steps: list[dict[str, Any]] = [
        {"type": "extract", "method": method, "name": f"{name}_source", "config": config},
    ]
    # What a frame can't hold becomes NULL, if the run is not to fail.
    nulls = ("maybe", "yes") if source.get("invalidDates") == "null" else ("yes",)
    if not_null := [column.name for column in table.columns if not column.nullable and column.unheld not in nulls]:
        steps.append(_validation("validateNulls", f"{name}_not_null", {"notNullColumns": not_null}))
    if kept := [{"name": rule.name, "rule": rule.rule} for rule in rules if rule.rule is not None]:
        steps.append(_validation("validateBusinessRules", f"{name}_checks", {"rules": kept}))
    steps.append({"type": "load", "method": "toDeltaLake", "name": name, "config": sink})
    settings = lake_settings([column.name for column in table.columns])
    return {"name": name, "mode": "batch", "description": _description(table, cursor), **settings, "steps": steps}


def _validation(method: str, name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "validate", "method": method, "name": name, "config": config}


def _first(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key in ("table", "query")}


def _others(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in ("table", "query")}


def _description(table: CatalogTable, cursor: CursorChoice) -> str:
    what = f"A copy of the {table.kind} {table.full_name}"
    if cursor.column is None:
        return f"{what}, replaced by each run."
    how = f"merged by {', '.join(table.key)}" if table.key else "appended"
    return f"{what}: each run reads what is new by {cursor.column.name}, {how}."
