"""The tables of a database, and the pipeline that each would be loaded with."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from pipeline_platform.connectors.jdbc.catalog import CatalogTable
from pipeline_platform.connectors.jdbc.check_rules import Dialect
from pipeline_platform.connectors.jdbc.cursor_choice import CursorChoice, cursor_of
from pipeline_platform.connectors.jdbc.database import Database, DatabaseConnection
from pipeline_platform.connectors.jdbc.source import ReadsDatabase
from pipeline_platform.connectors.jdbc.table_pipeline import TableRule, rules_of, table_pipeline
from pipeline_platform.credentials.model import Credentials
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.steps.discovery import (
    Care,
    Discovery,
    Finding,
    Wishes,
    mapped_care,
    pipeline_names,
    size_text,
)

OWN_TABLES = "pipeline_platform_"
"""With this begin the names of the tables in which the platform itself keeps what it has loaded."""

_CHOSEN, _APPEND_ONLY = "tables", "append-only"


class DatabaseDiscovery(Discovery[ReadsDatabase]):
    """What the databases have in common."""

    keys = ("host", "port", "database", "username", "credentialPath")
    asked_with: ClassVar[Mapping[str, Any]] = {"table": "any"}
    patterns: ClassVar[Mapping[str, str]] = {
        _CHOSEN: "Only tables of these names, such as 'shop.*'; a pattern without a dot is for the name alone. "
        "A pipeline is written for a view only if a pattern is its name. May be given repeatedly.",
        _APPEND_ONLY: "Tables whose rows are only ever added and never changed, so that a growing key says what is "
        "new. May be given repeatedly.",
    }
    things = "tables"

    dialect: ClassVar[Dialect]
    """Of the system's SQL."""

    @abstractmethod
    def tables(self, session: DatabaseConnection, database: Database) -> Iterable[CatalogTable]:
        """All tables and views that are not the system's own.

        Args:
            session: A session.
            database: What it is of.
        """

    @abstractmethod
    def table_name(self, database: Database, table: CatalogTable) -> str:
        """The table as the key `table` of an extract names it."""

    def findings(self, config: ReadsDatabase, credentials: Credentials | None, wishes: Wishes) -> Sequence[Finding]:
        database = config.entered(credentials)
        with database.session() as session:
            tables = [table for table in self.tables(session, database) if not table.name.startswith(OWN_TABLES)]
        tables.sort(key=lambda table: (table.schema, table.name))
        home = self.home_schema(database)
        for pattern in wishes.given(_APPEND_ONLY):
            alone = Wishes({_APPEND_ONLY: [pattern]})
            if not any(_matches(alone, _APPEND_ONLY, table) for table in tables):
                raise PipelineConfigurationException(
                    f"no table matches --{_APPEND_ONLY} {pattern}", hint="leave out the option to see all tables"
                )
        names = pipeline_names({one.full_name: one.name if one.schema == home else one.full_name for one in tables})
        chosen = [table for table in tables if not wishes.given(_CHOSEN) or _matches(wishes, _CHOSEN, table)]
        return [self._finding(table, names[table.full_name], database, wishes) for table in chosen]

    @abstractmethod
    def home_schema(self, database: Database) -> str:
        """The schema whose tables are called by their names alone."""

    def _finding(self, table: CatalogTable, name: str, database: Database, wishes: Wishes) -> Finding:
        cursor = cursor_of(table, append_only=_matches(wishes, _APPEND_ONLY, table))
        rules = rules_of(table, self.dialect)
        unwritten = _unwritten(table, wishes)
        pipeline = None
        if unwritten is None:
            source = {**self._read(table, database), **wishes.connection}
            path = wishes.table_path(name)
            pipeline = table_pipeline(table, name, source, self.method.method, cursor, rules, path)
        return Finding(
            table.full_name,
            _shown(table, cursor),
            _told(table, cursor, rules),
            _care(table, rules),
            pipeline,
            unwritten,
        )

    def _read(self, table: CatalogTable, database: Database) -> dict[str, str]:
        """What the extract reads: the table, unless a column has to be read as something else."""
        if all(column.read_as is None for column in table.columns):
            return {"table": self.table_name(database, table)}
        names = ((database.quoted(column.name), column.read_as) for column in table.columns)
        columns = ", ".join(f"{read_as} AS {name}" if read_as else name for name, read_as in names)
        return {"query": f"SELECT {columns} FROM {database.quoted_path([table.schema, table.name])}"}


def _matches(wishes: Wishes, option: str, table: CatalogTable) -> bool:
    return wishes.match(option, table.full_name, table.name)


def _unwritten(table: CatalogTable, wishes: Wishes) -> str | None:
    if not table.readable:
        return "the user may not read it"
    if "${" in table.full_name or any("${" in column.name for column in table.columns):
        return "a name in it holds '${', which a pipeline would take for a placeholder"
    named = {pattern.casefold() for pattern in wishes.given(_CHOSEN)} & {
        table.full_name.casefold(),
        table.name.casefold(),
    }
    if not table.has_rows_of_its_own and not named:
        return f"a {table.kind} is written only if --tables has its name"
    folded = Counter(column.name.casefold() for column in table.columns)
    if twice := [column.name for column in table.columns if folded[column.name.casefold()] > 1]:
        return f"Spark could not tell the columns {' and '.join(twice)} from each other"
    return None if table.columns else "it has no columns"


def _shown(table: CatalogTable, cursor: CursorChoice) -> dict[str, str]:
    return {
        "table": table.full_name if table.kind == "table" else f"{table.full_name} ({table.kind})",
        "rows, about": f"{table.rows:,}" if table.rows is not None else "",
        "size": size_text(table.size),
        "key": ", ".join(table.key) or "none",
        "what is new": str(cursor),
    }


def _told(table: CatalogTable, cursor: CursorChoice, rules: Sequence[TableRule]) -> dict[str, Any]:
    return {
        "name": table.full_name,
        "schema": table.schema,
        "table": table.name,
        "kind": table.kind,
        "rows": table.rows,
        "bytes": table.size,
        "key": list(table.key),
        "cursor": {
            "column": cursor.column.name if cursor.column is not None else None,
            "lag": cursor.lag,
            "why": cursor.why,
        },
        "columns": [
            {"name": column.name, "type": column.type, "nullable": column.nullable} for column in table.columns
        ],
        "checks": [
            {"name": rule.name, "condition": rule.condition, "rule": rule.rule, "left_out": rule.left_out}
            for rule in rules
        ],
    }


def _care(table: CatalogTable, rules: Sequence[TableRule]) -> list[Care]:
    columns = [Care(column.name, column.type, column.care) for column in table.columns if column.care is not None]
    left_out = [
        Care("", f"CHECK {rule.name}", f"{rule.left_out} (in {table.full_name})")
        for rule in rules
        if rule.left_out is not None
    ]
    return [*table.care, *columns, *mapped_care([column.name for column in table.columns]), *left_out]
