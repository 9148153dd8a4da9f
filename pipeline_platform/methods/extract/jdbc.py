"""What reading from a database takes, whichever it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from pydantic import model_validator
from pydantic_core import PydanticCustomError
from sqlglot import exp
from sqlglot.errors import SqlglotError

from pipeline_platform.config.sql import parse_query
from pipeline_platform.config.values import Bound, Location, Natural, PositiveInteger, Text
from pipeline_platform.methods.dataset import Dataset
from pipeline_platform.methods.extract.base import Extract
from pipeline_platform.methods.extract.partition_range import range_kind
from pipeline_platform.methods.jdbc import EntersDatabase

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from pipeline_platform.credentials.model import Credentials
    from pipeline_platform.methods.database import Session


class ReadsDatabase(Extract, EntersDatabase):
    """Keys of the methods that read from a database."""

    table: Location | None = None
    """The table, perhaps with its schema; either this or `query`."""
    query: Text | None = None
    """A query in the database's own SQL; either this or `table`."""
    partition_column: Text | None = None
    """A numeric, date or timestamp column; its range is split among partitions that are read side by side."""
    lower_bound: Bound | None = None
    """Where the first partition ends; by default the smallest value, asked of the source. It filters nothing."""
    upper_bound: Bound | None = None
    """Where the last partition starts; by default the largest value, asked of the source. It filters nothing."""
    num_partitions: PositiveInteger = 10
    """With `partitionColumn`: how many partitions there are."""
    fetch_size: Natural = 10000
    """Rows for each round trip."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.table is not None and self.query is not None:
            raise PydanticCustomError("source", "'table' and 'query' exclude each other", {"key": "query"})
        if self.table is None and self.query is None:
            raise PydanticCustomError("source", "one of 'table' and 'query' is needed")
        return self

    @model_validator(mode="after")
    def _bounds_fit(self) -> Self:
        lower, upper = self.lower_bound, self.upper_bound
        for key, bound in (("lowerBound", lower), ("upperBound", upper)):
            if bound is not None and self.partition_column is None:
                message = "'{bound}' goes with 'partitionColumn'"
                raise PydanticCustomError("bounds", message, {"bound": key, "key": key})
        if isinstance(lower, (int, float)) and isinstance(upper, (int, float)) and lower >= upper:
            raise PydanticCustomError("bounds", "'upperBound' must be above 'lowerBound'", {"key": "upperBound"})
        return self

    def skips_rows_at_source(self) -> bool:
        return True

    def dataset(self) -> Dataset:
        if self.table is not None:
            return self.table_dataset(self.table)
        tables = [self.table_dataset(table).location for table in _tables(self.query or "", self.system)]
        others = [table.removeprefix(f"{self.server_uri()}/") for table in tables[1:]]
        return Dataset(self.system, "+".join([*tables[:1], *others]) or f"{self.server_uri()}/query")

    def reads_the_same_again(self) -> bool:
        return False

    def read(self, spark: SparkSession, credentials: Credentials | None) -> DataFrame:
        """Build the frame: the source is asked for its columns, and for the bounds that were left out.

        Raises:
            CredentialException: The database refuses the user.
            PipelineExecutionException: It can't be reached, there is no such table or column, or `partitionColumn`
                is of a type that has no ranges.
        """
        database = self.entered(credentials)
        source = (
            f"({self.query}\n) AS source" if self.query else database.quoted_path(self.table_parts(self.table or ""))
        )
        reader = spark.read.format("jdbc").options(**database.spark_options())
        reader = reader.option("dbtable", source).options(**database.fetch_options(self.fetch_size))
        with database.session(f"table {self.table}" if self.table else "query") as session:
            session.rows(f"SELECT * FROM {source} LIMIT 0")
            frame = reader.load()
            if self.partition_column is None:
                return frame
            kind = range_kind(frame, self.partition_column)
            bounds = self._bounds(session, database.quoted(kind.column), source)
        range_of = kind.range_between(*bounds)
        if range_of is None:
            return frame
        reader = reader.option("partitionColumn", kind.column).option("numPartitions", self.num_partitions)
        return reader.option("lowerBound", range_of[0]).option("upperBound", range_of[1]).load()

    def _bounds(self, session: Session, column: str, source: str) -> tuple[Any, Any]:
        asked = [
            f"{function}({column})"
            for function, bound in (("min", self.lower_bound), ("max", self.upper_bound))
            if bound is None
        ]
        if not asked:
            return self.lower_bound, self.upper_bound
        found = iter(session.rows(f"SELECT {', '.join(asked)} FROM {source}")[0])
        lower = next(found) if self.lower_bound is None else self.lower_bound
        return lower, next(found) if self.upper_bound is None else self.upper_bound


def _tables(query: str, dialect: str) -> list[str]:
    try:
        parsed = parse_query(query, dialect)
    except (SqlglotError, RecursionError):
        return []
    inner = {cte.alias for cte in parsed.find_all(exp.CTE)}
    tables = {table.sql(dialect, comments=False) for table in map(_bare, parsed.find_all(exp.Table)) if table.name}
    return sorted(tables - inner)


def _bare(table: exp.Table) -> exp.Table:
    return exp.Table(this=table.this, db=table.args.get("db"), catalog=table.args.get("catalog"))
