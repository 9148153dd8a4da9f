"""Json files as a frame, with each record that can't be used marked; each is read as a message is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline_platform.connectors.files.heads import WIDE
from pipeline_platform.frames.columns import HELPER_PREFIX, quoted
from pipeline_platform.frames.json_values import once, with_json
from pipeline_platform.frames.nested_values import types_in
from pipeline_platform.steps.malformed import MALFORMED, RECORD, marked_in_file

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import StructType

_REASON = f"{HELPER_PREFIX}reason"
_TEXT = f"{HELPER_PREFIX}text"
_BLANK = r"^\s*$"
_UNREADABLE = f"{HELPER_PREFIX}unreadable"

# Numbers in an array of which a variant makes infinity; and those that it rounds, of more than 38 digits or with an
# exponent beside many.
_INFINITE = r"[:,\[]\s*-?([0-9]{300,}|[0-9.]+[eE][+]?0*(30[89]|3[1-9][0-9]|[4-9][0-9]{2}|[1-9][0-9]{3,}))"
_ROUNDED = r"[:,\[]\s*-?([0-9.]{39,}|[0-9.]{16,}[eE])"

Load = Callable[[Any], "DataFrame"]
"""Has Spark's reader read the files."""


@dataclass(frozen=True)
class JsonFormat:
    """How json files are written.

    Args:
        encoding: Of the text, by Spark's name.
        is_whole: Whether a file is one text; else each line is.
        has_arrays: Whether a text may be an array of records.
        line_sep: What ends a line; None for any of the usual line ends.
        options: Of Spark's parser: patterns of dates and times, and what it takes beside JSON.
        has_found_types: Whether nobody said the types, so that they must hold what is there.
    """

    encoding: str
    is_whole: bool
    has_arrays: bool
    line_sep: str | None
    options: Mapping[str, str]
    has_found_types: bool


def read_records(reader: Any, load: Load, wanted: StructType, partitions: StructType, form: JsonFormat) -> DataFrame:
    """The wanted fields of the object in each text; what is taken stands with `valueSchema` of `fromKafka`.

    Args:
        reader: Spark's, of a batch or of a stream.
        load: Has it read the files.
        wanted: The columns, by name.
        partitions: Those of them whose values stand in the names of folders.
        form: How the files are written.
    """
    from pyspark.sql import functions as F
    from pyspark.sql import types as T

    fields = T.StructType([field for field in wanted.fields if field.name not in partitions.names])
    texts = _texts(reader, load, partitions, fields, form).filter(~F.col(_TEXT).rlike(_BLANK))
    parsed = with_json(texts, F.col(_TEXT), fields, form.options, keeps_digits=form.has_found_types)
    reason = F.when(F.col(_TEXT).isNotNull(), F.coalesce(F.col(_UNREADABLE), parsed.reason))
    frame = parsed.frame.withColumn(_REASON, once(reason))
    columns = [
        (parsed.fields[field.name] if field.name in parsed.fields else F.col(quoted(field.name))).alias(field.name)
        for field in wanted.fields
    ]
    frame = marked_in_file(frame, F.col(_REASON), F.col(_TEXT))
    return frame.select(*columns, RECORD, MALFORMED)


def _texts(reader: Any, load: Load, partitions: StructType, fields: StructType, form: JsonFormat) -> DataFrame:
    """The text of each record, and why one can't be looked at; an array is taken apart into its records."""
    from pyspark.sql import functions as F
    from pyspark.sql import types as T

    reads_files = form.is_whole or form.encoding.startswith(WIDE)
    options = {"wholetext": str(reads_files).lower()}
    if form.line_sep is not None and not reads_files:
        options["lineSep"] = form.line_sep
    # The column is called `value`, whatever the files hold.
    schema = T.StructType([T.StructField("value", T.StringType()), *partitions])
    frame = load(reader.format("text").options(**options).schema(schema))
    text = F.col("value")
    unreadable: Column = F.lit(None).cast("string")
    if form.encoding == "US-ASCII":
        unreadable = F.when(F.octet_length(text) != F.length(text), F.lit("bytes in it are not US-ASCII"))
    elif form.encoding != "UTF-8":
        text = F.decode(text.cast("binary"), form.encoding)
    if reads_files:
        text = F.ltrim(text, F.lit("\ufeff"))
    if reads_files and not form.is_whole:
        text = F.explode(F.split(text, "\r?\n|\r" if form.line_sep is None else rf"\Q{form.line_sep}\E"))
    folders = [F.col(quoted(name)) for name in partitions.names]
    frame = frame.select(text.alias(_TEXT), unreadable.alias(_UNREADABLE), *folders)
    if not form.has_arrays:
        return frame
    lossy = [_INFINITE, *([_ROUNDED] if any(isinstance(kind, T.DecimalType) for kind in types_in(fields)) else [])]
    return frame.select(F.inline(_one_by_one(F.col(_TEXT), F.col(_UNREADABLE), lossy)), *folders)


def _one_by_one(text: Column, unreadable: Column, lossy: Sequence[str]) -> Column:
    """An array of structs: the texts of the objects in an array, or the text itself if it is none.

    Args:
        text: The text.
        unreadable: Why it can't be looked at.
        lossy: Patterns of numbers that would become others.
    """
    from pyspark.sql import functions as F

    def one(text: Column, unreadable: Column) -> Column:
        return F.struct(text.alias(_TEXT), unreadable.alias(_UNREADABLE))

    def parsed(begin: str, end: str, path: str) -> Column:
        whole = F.try_parse_json(F.concat(F.lit(begin), text, F.lit(end)))
        return F.try_variant_get(whole, path, "array<variant>")

    # A variant ends with the first value: what may follow it within an object may not within an array.
    items, alone = parsed('{"value":', "}", "$.value"), F.size(parsed("[", "]", "$")) == 1
    is_array = text.rlike(r"^[ \t\r\n]*\[") & unreadable.isNull() & items.isNotNull() & F.coalesce(alone, F.lit(False))
    rounded = F.lit("a number in its array is too large, or has too many digits")
    return (
        F.when(~is_array, F.array(one(text, unreadable)))
        .when(text.rlike("|".join(lossy)), F.array(one(text, rounded)))
        .otherwise(F.transform(items, lambda item: one(F.to_json(item), unreadable)))
    )
