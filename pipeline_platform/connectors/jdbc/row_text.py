"""A row as one line of text, made by Spark, in the form that a database reads fastest: CSV for COPY, or SQL values."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline_platform.connectors.jdbc.target_table import Pair, kind_of
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.columns import quoted

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import DataType

LINE = "line"
# What `unheld` makes, as it is found in a longer text.
_UNHELD = re.compile(
    r"(PostgreSQL|MySQL) can't hold (?P<what>NaN or an infinity|a text with the character NUL|a text that is not UTF-8"
    r"|more than -?\d+ digits after the point), which is in the column \[(?P<column>.*)\]"
)
_SCALE = re.compile(r"(?:numeric|decimal)\(\d+(?:,\s*(?P<scale>-?\d+))?\)")
_UTC = frozenset({"UTC", "Etc/UTC", "GMT", "Z", "+00:00"})


def csv_lines(frame: DataFrame, pairs: Sequence[Pair]) -> DataFrame:
    """A frame of one column, `line`, with each row as PostgreSQL's COPY reads it in CSV format.

    Args:
        frame: The rows.
        pairs: Which column goes where.
    """
    from pyspark.sql import functions as F

    zone = _zone(frame)
    fields = [F.coalesce(_csv(pair, zone, _checked("PostgreSQL", pair)), F.lit("")) for pair in pairs]
    return frame.select(_joined("", fields, "\n").alias(LINE))


def sql_lines(frame: DataFrame, pairs: Sequence[Pair]) -> DataFrame:
    """A frame of one column, `line`, with each row as MySQL's INSERT reads it after VALUES, a comma at its end.

    Args:
        frame: The rows.
        pairs: Which column goes where.
    """
    from pyspark.sql import functions as F

    zone = _zone(frame)
    fields = [F.coalesce(_sql(pair, zone, _checked("MySQL", pair)), F.lit("NULL")) for pair in pairs]
    return frame.select(_joined("(", fields, "),").alias(LINE))


def unheld_text(product: str, column: Column, data_type: DataType) -> tuple[tuple[Column, str], ...]:
    """When a system has no place for a text, and what is wrong with it then; nothing for what is no text.

    Args:
        product: The system, `PostgreSQL` or `MySQL`.
        column: A column of the frame.
        data_type: Its type; each text of an array is looked at.
    """
    from pyspark.sql import functions as F
    from pyspark.sql.types import ArrayType

    if isinstance(data_type, ArrayType):
        of = data_type.elementType

        def in_any(place: int) -> Column:
            return F.exists(column, lambda item: unheld_text(product, item, of)[place][0])

        return tuple((in_any(place), what) for place, (_, what) in enumerate(unheld_text(product, column, of)))
    if kind_of(data_type) != "string":
        return ()
    is_invalid = (~F.is_valid_utf8(column), "a text that is not UTF-8")
    has_nul = (F.contains(column, F.lit("\0")), "a text with the character NUL")
    return (has_nul, is_invalid) if product == "PostgreSQL" else (is_invalid,)


def unheld(product: str, what: str, name: str) -> str:
    """What an error says of a column's value that a system has no place for."""
    return f"{product} can't hold {what}, which is in the column [{name}]"


def unheld_failure(text: str) -> PipelineExecutionException | None:
    """The failure of a load at a value that the system has no place for; None if that is not what it failed at.

    Args:
        text: What Spark says of the failure.
    """
    found = _UNHELD.search(text)
    if found is None:
        return None
    column, what = found["column"], found["what"]
    if "NaN" in what:
        hint = f"make it null first, with enrichData: nullif({column}, double('NaN')), or filter the rows"
    elif "digits" in what:
        hint = f"round it first, with enrichData: round({column}, {what.split()[2]})"
    else:
        hint = "set 'onMalformed' to quarantine or null, or fix the text first"
    return PipelineExecutionException(found[0], hint=hint)


def _checked(product: str, pair: Pair) -> Column:
    """The value, or an error where it is one that would be refused without its column's name, or be rounded."""
    from pyspark.sql import functions as F

    column = F.col(quoted(pair.field.name))
    value = column
    for is_unheld, what in (*unheld_text(product, column, pair.field.dataType), *_rounded(column, pair)):
        error = F.raise_error(F.lit(unheld(product, what, pair.field.name))).cast(pair.field.dataType)
        value = F.when(is_unheld, error).otherwise(value)
    return value


def _rounded(column: Column, pair: Pair) -> tuple[tuple[Column, str], ...]:
    """When a number has more digits than the table's column keeps; both systems round such a one in silence."""
    from pyspark.sql import functions as F
    from pyspark.sql.types import ArrayType, DecimalType, IntegralType

    kept, data_type = _SCALE.match(pair.column.plain_type), pair.field.dataType
    depth = 0
    while isinstance(data_type, ArrayType):
        depth, data_type = depth + 1, data_type.elementType
    if kept is None or not isinstance(data_type, DecimalType | IntegralType):
        return ()
    scale = int(kept["scale"] or 0)
    if (data_type.scale if isinstance(data_type, DecimalType) else 0) <= scale:
        return ()

    def is_rounded(value: Column, depth: int) -> Column:
        if depth:
            return F.exists(value, lambda item: is_rounded(item, depth - 1))
        return F.round(value, scale) != value

    return ((is_rounded(column, depth), f"more than {scale} digits after the point"),)


def _zone(frame: DataFrame) -> str:
    return frame.sparkSession.conf.get("spark.sql.session.timeZone") or "UTC"


def _joined(before: str, fields: Sequence[Column], after: str) -> Column:
    from pyspark.sql import functions as F

    return F.concat(F.lit(before), F.concat_ws(",", *fields), F.lit(after))


def _csv(pair: Pair, zone: str, value: Column) -> Column:
    from pyspark.sql import functions as F

    kind = kind_of(pair.field.dataType)
    if kind in ("string", "array"):
        text = _array(value, pair, pair.field.dataType, zone) if kind == "array" else value
        return F.concat(F.lit('"'), F.replace(text, F.lit('"'), F.lit('""')), F.lit('"'))
    return _plain(value, pair, pair.field.dataType, zone, "+00")


def _sql(pair: Pair, zone: str, value: Column) -> Column:
    from pyspark.sql import functions as F

    kind = kind_of(pair.field.dataType)
    if kind == "binary":
        return F.concat(F.lit("x'"), F.hex(value), F.lit("'"))
    if kind == "boolean" and "boolean" in pair.column.holds and "string" not in pair.column.holds:
        return value.cast("int").cast("string")
    if kind == "float":
        wrong = F.raise_error(F.lit(unheld("MySQL", "NaN or an infinity", pair.field.name))).cast("string")
        is_finite = ~F.isnan(value) & (F.abs(value) != F.lit(float("inf")))
        return F.when(is_finite | value.isNull(), value.cast("string")).otherwise(wrong)
    if kind == "integer":
        return value.cast("string")
    text = _plain(value, pair, pair.field.dataType, zone, "")
    if kind == "string":
        text = F.replace(F.replace(text, F.lit("\\"), F.lit("\\\\")), F.lit("'"), F.lit("''"))
    return F.concat(F.lit("'"), text, F.lit("'"))


def _plain(value: Column, pair: Pair, data_type: DataType, zone: str, offset: str) -> Column:
    """A value that has no character which needs quoting."""
    from pyspark.sql import functions as F
    from pyspark.sql.types import BinaryType, TimestampType

    match data_type:
        case BinaryType():
            return F.concat(F.lit("\\x"), F.hex(value))
        case TimestampType() if "string" not in pair.column.holds:
            # Also where the column has no zone: there it is read at UTC, whatever zone the session has.
            return F.concat(_utc(value, zone), F.lit(offset if pair.column.is_instant else ""))
        case _:
            return value.cast("string")


def _utc(value: Column, zone: str) -> Column:
    """What a clock in UTC shows; a local one shows an hour twice when summer time ends."""
    from pyspark.sql import functions as F

    if zone in _UTC:
        return value.cast("string")
    epoch = F.lit("1970-01-01 00:00:00").cast("timestamp_ntz")
    return F.timestamp_add("MICROSECOND", F.unix_micros(value), epoch).cast("string")


def _array(value: Column, pair: Pair, data_type: DataType, zone: str) -> Column:
    """An array as PostgreSQL writes it, each element in quotes."""
    from pyspark.sql import functions as F
    from pyspark.sql.types import ArrayType

    assert isinstance(data_type, ArrayType)
    of = data_type.elementType

    def element(item: Column) -> Column:
        if isinstance(of, ArrayType):
            return F.coalesce(_array(item, pair, of, zone), F.lit("NULL"))
        text = _plain(item, pair, of, zone, "+00")
        escaped = F.replace(F.replace(text, F.lit("\\"), F.lit("\\\\")), F.lit('"'), F.lit('\\"'))
        return F.coalesce(F.concat(F.lit('"'), escaped, F.lit('"')), F.lit("NULL"))

    return F.concat(F.lit("{"), F.array_join(F.transform(value, element), ","), F.lit("}"))
