"""Any catalog of a session, by SQL alone: its own, or one that is configured as `spark.sql.catalog.NAME`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline_platform.config.catalog_names import CatalogName
from pipeline_platform.config.sql import sql_text
from pipeline_platform.config.uris import local_path
from pipeline_platform.connectors.delta.catalogs.entry import Entry
from pipeline_platform.connectors.delta.catalogs.statements import run_statement
from pipeline_platform.frames.causes import failure_of
from pipeline_platform.steps.table_facts import TableFacts

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_NO_FILES = "DELTA_PATH_DOES_NOT_EXIST"
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
        return self.spark.catalog.databaseExists(name.schema_sql)

    def find(self, name: CatalogName) -> Entry | None:
        try:
            if not self.spark.catalog.tableExists(name.sql):
                return None
            described = run_statement(self.spark, f"DESCRIBE TABLE EXTENDED {name.sql}")
        except Exception as error:
            gone = [cause for cause in failure_of(error).causes if cause.has_condition(_NO_FILES)]
            if not gone:
                raise
            # The catalog has it, and its files are gone: Delta says from where.
            return Entry("delta", gone[0].parameters.get("path"), {})
        rows = [(row["col_name"], row["data_type"]) for row in described.collect()]
        # Before it stand the columns, which may have any name.
        first = max((place for place, (title, _) in enumerate(rows) if title == _DETAILS), default=len(rows))
        details = {title: value for title, value in rows[first:] if value}
        kind = "view" if details.get("Type") == "VIEW" else details.get("Provider", "unknown")
        return Entry(kind, details.get("Location"), {})

    def create(self, name: CatalogName, uri: str, facts: TableFacts) -> None:
        place = local.as_uri() if (local := local_path(uri)) is not None else uri
        comment = f" COMMENT {sql_text(facts.comment)}" if facts.comment is not None else ""
        create = f"CREATE TABLE IF NOT EXISTS {name.sql} USING delta{comment} LOCATION {sql_text(place)}"
        run_statement(self.spark, create)

    def update(self, name: CatalogName, facts: TableFacts) -> None:
        """Nothing: what SQL says of a table of Delta goes into the table's own log, which is done by its path."""
