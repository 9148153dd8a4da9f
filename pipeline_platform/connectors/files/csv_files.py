"""Csv files as a frame: RFC 4180, columns by the names in each header, and a mark on each record that can't be used.

Spark's reader says which records have too many or too few fields, or a value that is no number of the type. What it
takes too easily (`1D`, `2013` for a date, decimals that it rounds) is read as text and converted here. A file is read
as a whole, since a record may go over several lines; a big one is split at its lines, each of which is looked at as
text before it is parsed: no quoted value may go over the end of one, which is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

from pipeline_platform.connectors.files.csv_format import CORRUPT, NO_NULL, CsvFormat
from pipeline_platform.connectors.files.csv_malformed import LINE, PARSED_AS_TEXTS, malformed_reason, no_value_message
from pipeline_platform.connectors.files.schemas import kept_type, known_type
from pipeline_platform.connectors.files.text_values import can_be_read, converted, is_read_by_spark, kind_of
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.columns import HELPER_PREFIX, quoted
from pipeline_platform.frames.json_values import once
from pipeline_platform.steps.malformed import MALFORMED, RECORD, marked_in_file

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import DataType, StructField, StructType

_PARSED = f"{HELPER_PREFIX}parsed"
_VALUE = f"{HELPER_PREFIX}value_"
_REASON = f"{HELPER_PREFIX}reason"
# No text holds them, says Unicode; so a line is one value, whatever stands in it.
_WHOLE_LINE = {
    "sep": "\uffff",
    "quote": "\ufffe",
    "escape": "\ufffe",
    "nullValue": NO_NULL,
    "maxCharsPerColumn": "-1",
    "ignoreLeadingWhiteSpace": "false",
    "ignoreTrailingWhiteSpace": "false",
}

Reader = Any
"""Spark's reader of a batch or of a stream."""


@dataclass(frozen=True)
class CsvGroup:
    """Files with the same header.

    Args:
        header: The values of their first record; None if Spark has to tell.
        names: Of the columns, in the order of the files.
        load: Has Spark's reader read them.
        columns: What the columns are called in the frame; as in the files if it is empty.
        line_sep: What ends a line, where Spark is not to find it out: it makes one of the other in quotes too.
    """

    header: tuple[str, ...] | None
    names: tuple[str, ...]
    load: Callable[[Reader], DataFrame]
    columns: tuple[str, ...] = ()
    line_sep: str | None = None


def column_names(values: Sequence[str], *, has_header: bool) -> tuple[str, ...]:
    """The names of columns by their header, as Spark gives them: one that is empty or there twice gets its number."""
    if not has_header:
        return tuple(f"_c{index}" for index in range(len(values)))
    folded = [value.lower() for value in values]
    return tuple(
        f"_c{index}" if not value else f"{value}{index}" if folded.count(value.lower()) > 1 else value
        for index, value in enumerate(values)
    )


def read_group(
    reader: Reader, group: CsvGroup, wanted: StructType, partitions: StructType, form: CsvFormat
) -> DataFrame:
    """The wanted columns of files with the same header, and a mark on each record that can't be used.

    Args:
        reader: Of a batch or of a stream.
        group: The files.
        wanted: The columns, by name; one that the files lack is null.
        partitions: Columns whose values stand in the names of folders.
        form: How the files are written.

    Raises:
        PipelineExecutionException: Csv files hold no values of a wanted type.
    """
    from pyspark.sql import functions as F
    from pyspark.sql import types as T

    kinds = {field.name.lower(): field.dataType for field in wanted.fields}
    in_file = {column.lower(): name for column, name in zip(group.columns or group.names, group.names, strict=True)}
    fields = [T.StructField(name, kinds.get(column, T.StringType())) for column, name in in_file.items()]
    for field in fields:
        if not can_be_read(field.dataType):
            raise PipelineExecutionException(
                f"a csv file can't hold values of type {field.dataType.simpleString()}, the type of the column "
                f"'{field.name}'",
                hint="give it a simple type in 'schema', such as STRING, and parse it in a step of its own",
            )
    frame = _raw(reader, group, fields, partitions, form)
    texts = {
        field.name: F.col(quoted(field.name))
        if is_read_by_spark(field.dataType)
        else form.text_or_null(F.col(quoted(field.name)), field.dataType)
        for field in fields
    }
    values = {
        field.name: converted(texts[field.name], field.dataType, form.formats)
        for field in fields
        if not isinstance(field.dataType, T.StringType) and not is_read_by_spark(field.dataType)
    }
    if values:
        # Spark Connect takes no projection of nothing.
        frame = frame.withColumns({f"{_VALUE}{name}": once(value) for name, value in values.items()})
    read = {name: F.col(quoted(f"{_VALUE}{name}")) if name in values else text for name, text in texts.items()}
    unfit = [
        F.when(texts[field.name].isNotNull() & read[field.name].isNull(), no_value_message(field))
        for field in fields
        if field.name in values
    ]
    # Not a part of the reason, where it would be parsed for each column, or in a lambda, which Spark does not compile.
    as_texts = [T.StructField(name, T.StringType()) for name in (*group.names, CORRUPT)]
    parsed = F.from_csv(F.col(CORRUPT), _ddl(as_texts), form.record_options())
    frame = frame.withColumn(PARSED_AS_TEXTS, once(F.when(F.col(CORRUPT).isNotNull(), parsed)))
    required = [
        F.when(read[in_file[field.name.lower()]].isNull(), F.lit(f"'{field.name}' is missing or null"))
        for field in wanted.fields
        if not field.nullable and field.name.lower() in in_file
    ]
    frame = frame.withColumn(_REASON, once(F.coalesce(malformed_reason(fields, unfit, form), *required)))
    # Spark gives the text of those alone that it finds fault with.
    values_again = F.to_csv(F.struct(*(quoted(name) for name in group.names)), form.writing_options())
    record = F.coalesce(F.col(CORRUPT), values_again)
    frame = marked_in_file(frame, F.col(_REASON), record)

    def value(field: StructField) -> Column:
        name = in_file.get(field.name.lower())
        if field.name in partitions.names:
            return F.col(quoted(field.name))
        return F.lit(None).cast(field.dataType) if name is None else read[name]

    return frame.select(*(value(field).alias(field.name) for field in wanted.fields), RECORD, MALFORMED)


def inferred(frames: Sequence[DataFrame], names: Sequence[str], known: StructType | None) -> StructType:
    """The type of each column, with one reading: a number, date or boolean if each value is the canonical text of one.

    Args:
        frames: What `texts_of` gives for each group.
        names: Of the columns.
        known: Columns of other files, whose types are taken where they have all values.
    """
    from pyspark.sql import functions as F
    from pyspark.sql import types as T

    whole = reduce(lambda one, other: one.unionByName(other, allowMissingColumns=True), frames)
    kinds = whole.agg(*(F.bit_or(kind_of(F.col(quoted(name)))).alias(name) for name in names)).first()
    assert kinds is not None
    found = {name: _type_of(kinds[index]) if kinds[index] else None for index, name in enumerate(names)}
    return T.StructType([T.StructField(name, kept_type(kind, known_type(known, name))) for name, kind in found.items()])


def texts_of(reader: Reader, group: CsvGroup, form: CsvFormat) -> DataFrame:
    """The records of files with the same header as texts; those with too many or too few fields left out."""
    from pyspark.sql import functions as F
    from pyspark.sql import types as T

    fields = [T.StructField(name, T.StringType()) for name in group.names]
    frame = _raw(reader, group, fields, T.StructType([]), form)
    texts = {name: form.text_or_null(F.col(quoted(name)), T.StringType()) for name in group.names}
    empty_is_null = {name: F.nullif(text, F.lit("")) for name, text in texts.items()}
    return frame.filter(once(F.col(CORRUPT)).isNull()).select(
        *(text.alias(name) for name, text in empty_is_null.items())
    )


def _type_of(kinds: int) -> DataType:
    from pyspark.sql import types as T

    # By what `kind_of` gives.
    choices: list[tuple[int, DataType]] = [
        (1, T.IntegerType()),
        (1 | 2 | 4, T.LongType()),
        (1 | 2 | 8, T.DoubleType()),
        (16, T.BooleanType()),
        (32, T.DateType()),
        (32 | 64, T.TimestampType()),
    ]
    return next((kind for mask, kind in choices if kinds & ~mask == 0), T.StringType())


def _raw(
    reader: Reader, group: CsvGroup, fields: Sequence[StructField], partitions: StructType, form: CsvFormat
) -> DataFrame:
    """What Spark reads: every record, and its text where it has a field too many or too few or a value that is none.

    Of a file that is split, `LINE` is the text of every record.
    """
    from pyspark.sql import functions as F
    from pyspark.sql import types as T

    text = T.StringType()
    columns = [T.StructField(f.name, f.dataType if is_read_by_spark(f.dataType) else text) for f in fields]
    corrupt = T.StructField(CORRUPT, text)
    checks_header = form.has_header and not form.is_split and group.header == group.names
    options = form.reader_options(checks_header=checks_header)
    if form.is_split:
        # Spark leaves the header out at the start of each file. More than one value, and it gives the text.
        schema = T.StructType([T.StructField(LINE, text), *partitions.fields, corrupt])
        frame = group.load(reader.format("csv").options(**{**options, **_WHOLE_LINE}).schema(schema))
        frame = frame.withColumn(LINE, F.coalesce(F.col(CORRUPT), F.col(LINE))).drop(CORRUPT)
        parsed = F.from_csv(F.col(LINE), _ddl([*columns, corrupt]), form.record_options())
        return frame.withColumn(_PARSED, once(parsed)).select("*", f"{_PARSED}.*")
    if group.line_sep is not None:
        options = {"lineSep": group.line_sep, **options}
    schema = T.StructType([*columns, *partitions.fields, corrupt])
    return group.load(reader.format("csv").options(**options).schema(schema))


def _ddl(fields: Iterable[StructField]) -> str:
    """Columns as SQL has them; pyspark's own way asks for the session of the thread, which Connect has in one alone."""
    return ", ".join(f"{quoted(field.name)} {field.dataType.simpleString()}" for field in fields)
