"""Json files as a frame, with each record that can't be used marked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pipeline_platform.methods.columns import HELPER_PREFIX, quoted
from pipeline_platform.methods.extract.malformed import MALFORMED, RECORD, marked_in_file
from pipeline_platform.methods.extract.text_values import Formats, can_be_read, converted
from pipeline_platform.methods.json_values import once, with_json

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.types import StructField, StructType

_CORRUPT = f"{HELPER_PREFIX}corrupt"
_REASON = f"{HELPER_PREFIX}reason"
_LINE = f"{HELPER_PREFIX}line"
_VALUE = f"{HELPER_PREFIX}value_"

STRICT = {"mode": "PERMISSIVE", "allowSingleQuotes": "false", "allowNonNumericNumbers": "false"}
"""Options of Spark's reader, which by itself takes more than JSON."""

Load = Callable[[Any], "DataFrame"]
"""Has Spark's reader read the files."""


def read_lines(reader: Any, load: Load, wanted: StructType, partitions: StructType) -> DataFrame:
    """The wanted fields of the object in each line of UTF-8; what is taken stands with `valueSchema` of `fromKafka`.

    Args:
        reader: Spark's, of a batch or of a stream.
        load: Has it read the files.
        wanted: The columns, by name.
        partitions: Those of them whose values stand in the names of folders.
    """
    from pyspark.sql import functions as F
    from pyspark.sql import types as T

    # The column is called `value`, whatever the files hold.
    names = {name: name for name in partitions.names}
    lines = load(reader.format("text").schema(T.StructType([T.StructField("value", T.StringType()), *partitions])))
    lines = lines.select(
        F.col("value").alias(_LINE),
        *(F.col(quoted(name)) for name in names),
    ).filter(F.length(F.trim(F.col(_LINE))) > 0)
    fields = T.StructType([field for field in wanted.fields if field.name not in partitions.names])
    parsed = with_json(lines, F.col(_LINE), fields)
    frame = parsed.frame.withColumn(_REASON, once(parsed.reason))
    columns = [
        (parsed.fields[field.name] if field.name in parsed.fields else F.col(quoted(field.name))).alias(field.name)
        for field in wanted.fields
    ]
    frame = marked_in_file(frame, F.col(_REASON), F.col(_LINE))
    return frame.select(*columns, RECORD, MALFORMED)


def read_documents(
    reader: Any,
    load: Load,
    wanted: StructType,
    partitions: StructType,
    options: Mapping[str, str],
    formats: Formats,
) -> DataFrame:
    """The wanted fields of objects that Spark's own reader finds: over several lines, in arrays, in other encodings.

    Args:
        reader: Spark's, of a batch or of a stream.
        load: Has it read the files.
        wanted: The columns, by name.
        partitions: Those of them whose values stand in the names of folders.
        options: Of the reader.
        formats: Patterns of dates and times.
    """
    from pyspark.sql import functions as F
    from pyspark.sql import types as T

    def is_converted(field: StructField) -> bool:
        lenient = (T.DecimalType, T.DateType, T.TimestampType, T.TimestampNTZType)
        return isinstance(field.dataType, lenient) and can_be_read(field.dataType)

    fields = [field for field in wanted.fields if field.name not in partitions.names]
    read = [T.StructField(f.name, T.StringType() if is_converted(f) else f.dataType) for f in fields]
    schema = T.StructType([*read, *partitions, T.StructField(_CORRUPT, T.StringType())])
    own = {**STRICT, "columnNameOfCorruptRecord": _CORRUPT}
    frame = load(reader.format("json").options(**{**own, **options}).schema(schema))
    values = {f.name: converted(F.col(quoted(f.name)), f.dataType, formats) for f in fields if is_converted(f)}
    frame = frame.withColumns({f"{_VALUE}{name}": once(value) for name, value in values.items()})
    unfit = [
        F.when(
            F.col(quoted(name)).isNotNull() & F.col(quoted(f"{_VALUE}{name}")).isNull(),
            F.lit(f"'{name}' is not {wanted[name].dataType.simpleString().upper()}"),
        )
        for name in values
    ]
    # Spark finds no fault with a column that is not looked at, so that here is a look at all of them.
    every = F.to_json(F.struct(*(quoted(f.name) for f in fields)))
    why = F.when(every == "", F.lit("")).otherwise(F.lit("not JSON of the schema"))
    reason = F.coalesce(F.when(F.col(_CORRUPT).isNotNull(), why), *unfit)
    frame = frame.withColumn(_REASON, once(reason))
    record = F.coalesce(F.col(_CORRUPT), F.to_json(F.struct(*(quoted(f.name) for f in fields))))
    frame = marked_in_file(frame, F.col(_REASON), record)
    columns = (F.col(quoted(f"{_VALUE}{f.name}" if f.name in values else f.name)).alias(f.name) for f in wanted.fields)
    return frame.select(*columns, RECORD, MALFORMED)
