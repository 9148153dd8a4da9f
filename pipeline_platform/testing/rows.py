"""The rows that a file of tests has, with the types of columns."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

from pipeline_platform.config.config_error import ConfigError, did_you_mean, refused
from pipeline_platform.config.documents.document import SourcePosition, json_type
from pipeline_platform.frames.columns import HELPER_PREFIX, nullable_columns
from pipeline_platform.frames.json_values import with_json
from pipeline_platform.frames.session import arrow_table, frame_of

if TYPE_CHECKING:
    from pyspark.sql import SparkSession
    from pyspark.sql.types import DataType, StructType

_REASON = f"{HELPER_PREFIX}reason"


def typed_rows(spark: SparkSession, place: SourcePosition, schema: StructType) -> Any:
    """The rows that stand somewhere, each value of the type that its column has, and not rounded to it.

    Args:
        spark: The session.
        place: Where the rows are written: a list of objects. A column that a row does not name is NULL in it.
        schema: The columns.

    Returns:
        A table of pyarrow's, which comes without types.

    Raises:
        PipelineConfigurationException: A row has another column, or a value that is none of its column's type; with a
            problem for each.
    """
    from pyspark.sql import functions as F

    rows = cast("list[dict[str, Any]]", place.value)
    if problems := [
        problem for number, row in enumerate(rows) for problem in _misplaced(row, schema, place / number, whole=True)
    ]:
        raise refused(problems)
    open_schema = nullable_columns(schema)
    # As it is written: Python would make a double of a decimal.
    texts = frame_of(spark, [((place / number).text,) for number in range(len(rows))], "text STRING")
    read = with_json(texts, F.col("text"), open_schema, keeps_digits=True)
    values = [read.fields[field.name].alias(field.name) for field in open_schema.fields]
    table = arrow_table(read.frame.select(*values, read.reason.alias(_REASON)))
    reasons: list[str | None] = table.column(_REASON).to_pylist()
    problems = [(place / number).problem(reason) for number, reason in enumerate(reasons) if reason is not None]
    if problems:
        raise refused(problems)
    return table.drop_columns([_REASON])


def _misplaced(value: Any, wanted: DataType, place: SourcePosition, *, whole: bool = False) -> Iterator[ConfigError]:
    """Fields that there are not, and values in quotes, or without, that Spark would take all the same."""
    from pyspark.sql import types as T

    match wanted:
        case T.StructType() if isinstance(value, dict):
            fields = {field.name: field for field in wanted.fields}
            for name, one in cast("dict[str, Any]", value).items():
                if name not in fields:
                    what = "column" if whole else "field"
                    hint = did_you_mean(name, fields)
                    yield (place / name).problem(f"there is no {what} '{name}'", on_key=True, hint=hint)
                else:
                    yield from _misplaced(one, fields[name].dataType, place / name)
        case T.ArrayType() if isinstance(value, list):
            for number, one in enumerate(cast("list[Any]", value)):
                yield from _misplaced(one, wanted.elementType, place / number)
        case T.MapType() if isinstance(value, dict):
            for name, one in cast("dict[str, Any]", value).items():
                yield from _misplaced(one, wanted.valueType, place / name)
        case T.StringType() if not isinstance(value, (str, type(None))):
            yield place.problem(f"expected a string, as the column holds text, not {json_type(value)}")
        case _:
            pass


def inferred_schema(spark: SparkSession, place: SourcePosition, *, in_batches: bool = False) -> StructType:
    """The columns of rows, in the order in which they come up, with the types that their values look like.

    Args:
        spark: The session.
        place: Where they are written: a list of objects.
        in_batches: Whether it is a list of such lists.

    Raises:
        PipelineConfigurationException: There is no row, or none has a column.
    """
    from pyspark.sql import functions as F
    from pyspark.sql import types as T

    batches = cast("list[list[dict[str, Any]]]", place.value if in_batches else [place.value])
    rows = [row for batch in batches for row in batch]
    order = list(dict.fromkeys(name for row in rows for name in row))
    if not order:
        message = "without a row that has a value, nobody knows which columns there are"
        raise refused([place.problem(message, hint='give an object with "schema" and "rows"')])
    text = spark.range(1).select(F.schema_of_json(F.lit(json.dumps(rows)))).collect()[0][0]
    found = T.DataType.fromDDL(text)
    assert isinstance(found, T.ArrayType)
    assert isinstance(found.elementType, T.StructType)
    fields = {field.name: field for field in found.elementType.fields}
    return T.StructType([fields[name] for name in order])


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
