"""The rows that a file of tests has, with the types of columns."""

from __future__ import annotations

from datetime import datetime, tzinfo
from typing import TYPE_CHECKING, Any, cast
from zoneinfo import ZoneInfo

from pipeline_platform.config.config_error import refused
from pipeline_platform.config.documents.document import SourcePosition
from pipeline_platform.frames.columns import nullable_columns
from pipeline_platform.testing.values import ValueReader, unreadable_types

if TYPE_CHECKING:
    from pyspark.sql import SparkSession
    from pyspark.sql.types import StructType


def typed_rows(spark: SparkSession, place: SourcePosition, schema: StructType) -> Any:
    """The rows that stand somewhere, each value of the type that its column has, and not rounded to it.

    They are read in Python: for a few rows Spark takes longer to plan than to read them.

    Args:
        spark: The session, which says what zone a time without one is of.
        place: Where the rows are written: a list of objects. A column that a row does not name is NULL in it.
        schema: The columns.

    Returns:
        A table of pyarrow's, which comes without types.

    Raises:
        PipelineConfigurationException: A row has another column, or a value that is none of its column's type; with a
            problem for each. Or a column has a type whose values can't be written in JSON.
    """
    import pyarrow

    for name, kind in unreadable_types(schema):
        message = f"'{name}' has the type {kind.simpleString().upper()}, whose values can't be written in a test"
        raise refused([place.problem(message, hint="give the rows a schema in which it is a STRING, or leave it out")])
    arrow: Any = pyarrow
    open_schema = nullable_columns(schema)
    reader = ValueReader(_zone(spark))
    rows = [reader.row(place / number, open_schema) for number in range(len(cast("list[Any]", place.value)))]
    if reader.problems:
        raise refused(reader.problems)
    return arrow.Table.from_pylist(rows, schema=arrow_schema_of(open_schema))


def arrow_schema_of(schema: StructType) -> Any:
    """The columns as pyarrow has them, with times in UTC.

    Args:
        schema: The columns.
    """
    from pyspark.sql.pandas import types

    of_arrow: Any = types
    return of_arrow.to_arrow_schema(schema)


def _zone(spark: SparkSession) -> tzinfo:
    name = spark.conf.get("spark.sql.session.timeZone") or "UTC"
    if name[0] in "+-":
        zone = datetime.fromisoformat(f"2000-01-01T00:00{name}").tzinfo
        assert zone is not None
        return zone
    return ZoneInfo(name)


def parsed_schema(text: str, place: SourcePosition) -> StructType:
    """The columns that somebody has written as in SQL.

    Args:
        text: Such as `id BIGINT, day DATE`.
        place: Where it is written.

    Raises:
        PipelineConfigurationException: It is no schema.
    """
    from pyspark.errors import PySparkException
    from pyspark.sql import types as T

    try:
        return cast("StructType", T.StructType.fromDDL(text))
    except PySparkException as error:
        hint = "write columns and types as in SQL, such as: id BIGINT, day DATE"
        raise refused([place.problem("this is no schema", hint=hint)]) from error
