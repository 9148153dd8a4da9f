"""Any catalog of a session, by SQL alone: its own, or one that is configured as `spark.sql.catalog.NAME`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline_platform.config.catalog_names import CatalogName
from pipeline_platform.config.uris import local_path
from pipeline_platform.connectors.delta.catalogs.entry import Entry
from pipeline_platform.connectors.delta.catalogs.statements import run_statement, text
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.causes import failure_of
from pipeline_platform.steps.table_facts import TableFacts

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_NO_SCHEMA = ("SCHEMA_NOT_FOUND", "NO_SUCH_NAMESPACE", "DATABASE_NOT_FOUND")
_NO_TABLE = ("TABLE_OR_VIEW_NOT_FOUND", *_NO_SCHEMA)
_NO_FILES = ("DELTA_PATH_DOES_NOT_EXIST", "DELTA_TABLE_NOT_FOUND")
_DETAILS = "# Detailed Table Information"


@dataclass(frozen=True)
class SparkCatalog:
    """A catalog of a session.

    Args:
        spark: The session.
        catalog: Its name there.
    """

    spark: SparkSession
    catalog: str

    @property
    def told(self) -> str:
        return f"the catalog {self.catalog} of Spark"

    def has_schema(self, name: CatalogName) -> bool:
        return self._asked(f"DESCRIBE SCHEMA {name.schema_sql}", _NO_SCHEMA) is not None

    def find(self, name: CatalogName) -> Entry | None:
        try:
            described = self._asked(f"DESCRIBE TABLE EXTENDED {name.sql}", _NO_TABLE)
        except Exception as error:
            if not any(cause.has_condition(*_NO_FILES) for cause in failure_of(error).causes):
                raise
            raise PipelineExecutionException(
                f"{name} is in {self.told}, and its files are gone, so that it can't be told where they were",
                hint=f"if nobody needs it, take it out of the catalog: DROP TABLE {name}",
            ) from error
        if described is None:
            return None
        rows = [(row["col_name"], row["data_type"]) for row in described.collect()]
        # Before it stand the columns, which may have any name.
        first = max((place for place, (title, _) in enumerate(rows) if title == _DETAILS), default=len(rows))
        details = {title: value for title, value in rows[first:] if value}
        kind = "view" if details.get("Type") == "VIEW" else details.get("Provider", "unknown")
        return Entry(kind, details.get("Location"), {})

    def create(self, name: CatalogName, uri: str, facts: TableFacts) -> None:
        place = local.as_uri() if (local := local_path(uri)) is not None else uri
        comment = f" COMMENT {text(facts.comment)}" if facts.comment is not None else ""
        self._run(f"CREATE TABLE IF NOT EXISTS {name.sql} USING delta{comment} LOCATION {text(place)}")

    def update(self, name: CatalogName, facts: TableFacts) -> None:
        """Nothing: what SQL says of a table of Delta goes into the table's own log, which is done by its path."""

    def _asked(self, statement: str, absent: tuple[str, ...]) -> DataFrame | None:
        """What a statement answers; None if it fails since something is not there."""
        try:
            return self._run(statement)
        except Exception as error:
            if any(cause.has_condition(*absent) for cause in failure_of(error).causes):
                return None
            raise

    def _run(self, statement: str) -> DataFrame:
        return run_statement(self.spark, statement)
