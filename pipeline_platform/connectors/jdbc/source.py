"""What reading from a database takes, whichever it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import model_validator
from pydantic_core import PydanticCustomError
from sqlglot import exp
from sqlglot.errors import SqlglotError

from pipeline_platform.config.placeholders import partition_parts
from pipeline_platform.config.range_frames import OneByOne, RangeFrame
from pipeline_platform.config.redirection import Redirection
from pipeline_platform.config.sql import parse_query
from pipeline_platform.config.traits import Traits
from pipeline_platform.config.values import Bound, Location, Natural, PositiveInteger, Text, one_of
from pipeline_platform.connectors.jdbc.config import DatabaseOptions
from pipeline_platform.connectors.jdbc.partition_range import range_kind
from pipeline_platform.connectors.jdbc.source_columns import SourceColumn, guarded, in_own_types, taken_types
from pipeline_platform.frames.jvm_zone import require_utc
from pipeline_platform.steps.dataset import Dataset
from pipeline_platform.steps.incremental import ReadsIncrements

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import DataType

    from pipeline_platform.config.step_over_range import RangeStep
    from pipeline_platform.connectors.jdbc.database import Database, DatabaseConnection
    from pipeline_platform.credentials.model import Credentials
    from pipeline_platform.frames.cursor_values import CursorColumn, CursorValue


class ReadsDatabase(ReadsIncrements, DatabaseOptions):
    """Keys of the methods that read from a database."""

    answers_queries: ClassVar[bool] = True
    neutral_keys: ClassVar[frozenset[str]] = frozenset(
        {"partition_column", "lower_bound", "upper_bound", "num_partitions", "fetch_size"}
    )

    table: Location | None = None
    """The table, optionally with its schema; either this or `query`."""
    query: Text | None = None
    """A query in the database's own SQL; either this or `table`."""
    partition_column: Text | None = None
    """A numeric, date or timestamp column; its range is split into partitions that are read in parallel."""
    lower_bound: Bound | None = None
    """Where the first partition ends; by default the smallest value, looked up in the source. It does not filter."""
    upper_bound: Bound | None = None
    """Where the last partition starts; by default the largest value, looked up in the source. It does not filter."""
    num_partitions: PositiveInteger = 10
    """With `partitionColumn`: the number of partitions."""
    fetch_size: Natural = 10000
    """Rows per round trip."""
    invalid_dates: Annotated[Literal["fail", "null"], one_of("fail", "null")] = "fail"
    """What happens to a date or time that a frame can't hold; with `null` it becomes NULL.

    In PostgreSQL these are infinity, dates before the year 1 or after 9999, 24:00, and a `timetz` that is on another
    day in UTC; in MySQL a date with a zero in it, the year 0000, and a time below 0 or beyond a day, such as 25:00. In
    both, they are the days from 1582-10-05 to 1582-10-14, which the JDBC drivers' calendar does not have.
    """

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.table is not None and self.query is not None:
            raise PydanticCustomError("source", "'table' and 'query' are mutually exclusive", {"key": "query"})
        if self.table is None and self.query is None:
            raise PydanticCustomError("source", "one of 'table' and 'query' is required")
        return self

    @model_validator(mode="after")
    def _bounds_fit(self) -> Self:
        lower, upper = self.lower_bound, self.upper_bound
        for key, bound in (("lowerBound", lower), ("upperBound", upper)):
            if bound is not None and self.partition_column is None:
                message = "'{bound}' needs 'partitionColumn'"
                raise PydanticCustomError("bounds", message, {"bound": key, "key": key})
        if isinstance(lower, (int, float)) and isinstance(upper, (int, float)) and lower >= upper:
            raise PydanticCustomError("bounds", "'upperBound' must be above 'lowerBound'", {"key": "upperBound"})
        return self

    def traits(self) -> Traits:
        return Traits(is_repeatable=False, pushes_down_filters=True, checks_micro_batches=False)

    def reads_as_written(self) -> bool:
        return self.table is not None

    def over_range(self, step: RangeStep) -> RangeFrame:
        if self.query is None or not self.uses_partition() or self.reads_increments():
            return super().over_range(step)
        if any(partition_parts(value) for key, value in self.model_dump(exclude_unset=True).items() if key != "query"):
            raise OneByOne("uses the partition beside its query")
        # Each table is the same in every run.
        return step.sql.query(self.query, lambda table: RangeFrame((table.sql(self.system),)), self.system)

    def read_from(self, to: Redirection) -> Self | None:
        if self.table is None:
            return None
        return self.model_copy(update={"table": self.redirected_table(self.table, to)})

    def is_there(self, spark: SparkSession, credentials: Credentials | None) -> bool:
        database = self.entered(credentials)
        with database.session(self._about) as session:
            place = database.table_place(session, self.table_parts(self.table or ""))
            return place.name in database.tables_named(session, place.schema, place.name)

    def dataset(self) -> Dataset:
        if self.table is not None:
            return self.table_dataset(self.table)
        tables = [self.table_dataset(table).location for table in _tables(self.query or "", self.system)]
        others = [table.removeprefix(f"{self.server_uri()}/") for table in tables[1:]]
        return Dataset(self.system, "+".join([*tables[:1], *others]) or f"{self.server_uri()}/query")

    def read(self, spark: SparkSession, credentials: Credentials | None) -> DataFrame:
        """Build the frame: the source is asked for its columns, and for the bounds that were left out.

        Raises:
            CredentialException: The database refuses the user.
            PipelineExecutionException: It can't be reached, there is no such table or column, or `partitionColumn`
                is of a type that has no ranges.
        """
        database = self.entered(credentials)
        source = self._source(database)
        reader = spark.read.format("jdbc").options(**database.spark_options())
        reader = reader.options(**database.fetch_options(self.fetch_size))
        with database.session(self._about) as session:
            described = session.description(f"SELECT * FROM {source} LIMIT 0")
            frame = reader.option("dbtable", source).load()
            columns = [
                self.source_column(database, one, field.dataType)
                for one, field in zip(described, frame.schema, strict=True)
            ]
            if any(_has_time(field.dataType) for field in frame.schema):
                require_utc(spark)
            guarded_source = guarded(source, [(database.quoted(column.name), column) for column in columns])
            reader = reader.option("dbtable", guarded_source).options(**taken_types(columns))
            if guarded_source != source:
                frame = reader.load()
            if self.partition_column is None:
                return in_own_types(frame, columns)
            kind = range_kind(frame, self.partition_column)
            held = next(column.held for column in columns if column.name == kind.column)
            bounds = self._bounds(session, database.quoted(kind.column), source, held)
        range_of = kind.range_between(*bounds)
        if range_of is None:
            return in_own_types(frame, columns)
        reader = reader.option("partitionColumn", kind.column).option("numPartitions", self.num_partitions)
        frame = reader.option("lowerBound", range_of[0]).option("upperBound", range_of[1]).load()
        return in_own_types(frame, columns)

    def answer(self, credentials: Credentials | None) -> tuple[Sequence[str], Sequence[Sequence[Any]]]:
        database = self.entered(credentials)
        with database.session(self._about) as session:
            rows = session.rows(f"SELECT * FROM {self._source(database)}")
            return [column[0] for column in session.cursor.description or ()], rows

    def entered_database(self, credentials: Credentials | None) -> str | None:
        return self.entered(credentials).credentials.database

    def newest(self, frame: DataFrame, column: CursorColumn, credentials: Credentials | None) -> CursorValue | None:
        database = self.entered(credentials)
        with database.session(self._about) as session:
            source, held = self._source(database), self._held(session, database, frame, column.name)
            where = f" WHERE {held}" if held is not None else ""
            [[largest]] = session.rows(f"SELECT max({database.quoted(column.name)}) FROM {source}{where}")
        return column.value(largest) if largest is not None else None

    def has_null(self, frame: DataFrame, column: CursorColumn, credentials: Credentials | None) -> bool:
        database = self.entered(credentials)
        with database.session(self._about) as session:
            source, held = self._source(database), self._held(session, database, frame, column.name)
            # It is larger than what is read, so that reading would not meet it.
            unheld = f" OR NOT ({held})" if held is not None else ""
            rows = f"SELECT 1 FROM {source} WHERE {database.quoted(column.name)} IS NULL{unheld} LIMIT 1"
            return bool(session.rows(rows))

    @property
    def _about(self) -> str:
        return f"table {self.table}" if self.table else "query"

    def _source(self, database: Database) -> str:
        """What is read, as the system's SQL."""
        return f"({self.query}\n) AS source" if self.query else database.quoted_path(self.table_parts(self.table or ""))

    def _held(self, session: DatabaseConnection, database: Database, frame: DataFrame, name: str) -> str | None:
        """True of the values of a column that a frame can hold, as the system's SQL; None if it can hold all."""
        described = session.description(f"SELECT * FROM {self._source(database)} LIMIT 0")
        place = frame.columns.index(name)
        return self.source_column(database, described[place], frame.schema[place].dataType).held

    def source_column(self, database: Database, described: Any, data_type: DataType) -> SourceColumn:
        """How a column is read.

        Args:
            database: Where it is.
            described: What the driver says of it.
            data_type: What Spark takes it for.

        Raises:
            PipelineExecutionException: A frame can't hold its type.
        """
        raise NotImplementedError

    def _bounds(self, session: DatabaseConnection, column: str, source: str, held: str | None) -> tuple[Any, Any]:
        asked = [
            f"{function}({column})"
            for function, bound in (("min", self.lower_bound), ("max", self.upper_bound))
            if bound is None
        ]
        if not asked:
            return self.lower_bound, self.upper_bound
        # What a frame can't hold is told, or made NULL, where its row is read.
        where = f" WHERE {held}" if held is not None else ""
        found = iter(session.rows(f"SELECT {', '.join(asked)} FROM {source}{where}")[0])
        lower = next(found) if self.lower_bound is None else self.lower_bound
        return lower, next(found) if self.upper_bound is None else self.upper_bound


def _has_time(data_type: DataType) -> bool:
    from pyspark.sql.types import ArrayType, TimestampType

    return isinstance(data_type, TimestampType) or (
        isinstance(data_type, ArrayType) and _has_time(data_type.elementType)
    )


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
