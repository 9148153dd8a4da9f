"""A row as one line of text, made by Spark, in the form that a database reads fastest: CSV for COPY, or SQL values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline_platform.connectors.jdbc.target_table import Pair, kind_of
from pipeline_platform.connectors.jdbc.unheld import NOT_FINITE, checked, unheld

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import DataType

LINE = "line"
_UTC = frozenset({"UTC", "Etc/UTC", "GMT", "Z", "+00:00"})


def csv_lines(frame: DataFrame, pairs: Sequence[Pair]) -> DataFrame:
    """A frame of one column, `line`, with each row as PostgreSQL's COPY reads it in CSV format.

    Args:
        frame: The rows.
        pairs: Which column goes where.
    """
    from pyspark.sql import functions as F

    zone = _zone(frame)
    fields = [F.coalesce(_csv(pair, zone, checked("PostgreSQL", pair)), F.lit("")) for pair in pairs]
    return frame.select(_joined("", fields, "\n").alias(LINE))


def sql_lines(frame: DataFrame, pairs: Sequence[Pair]) -> DataFrame:
    """A frame of one column, `line`, with each row as MySQL's INSERT reads it after VALUES, a comma at its end.

    Args:
        frame: The rows.
        pairs: Which column goes where.
    """
    from pyspark.sql import functions as F

    zone = _zone(frame)
    fields = [F.coalesce(_sql(pair, zone, checked("MySQL", pair)), F.lit("NULL")) for pair in pairs]
    return frame.select(_joined("(", fields, "),").alias(LINE))


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
        wrong = F.raise_error(F.lit(unheld("MySQL", NOT_FINITE, pair.field.name))).cast("string")
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
