"""Values that a column of a database's table can't hold as they are: the database would refuse or change them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from pipeline_platform.connectors.jdbc.target_table import Pair, kind_of
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.columns import in_sql, quoted

if TYPE_CHECKING:
    from pyspark.sql import Column
    from pyspark.sql.types import DataType

NOT_FINITE = "NaN or an infinity"
_NUL = "a text with the character NUL"
_NOT_UTF8 = "a text that is not UTF-8"
_WHOLE_NUMBER = "a whole number with more digits than its type keeps"
_SHORT_YEAR = "a year from 1 to 99"
# What `unheld` makes, as it is found in a longer text.
_UNHELD = re.compile(
    rf"(PostgreSQL|MySQL) can't hold (?P<what>{NOT_FINITE}|{_NUL}|{_NOT_UTF8}|{_WHOLE_NUMBER}|{_SHORT_YEAR}"
    r"|more than (?P<digits>-?\d+) digits (?P<after>after the point|of a second)), which is in the column "
    r"\[(?P<column>.*)\]"
)
_DECIMAL = re.compile(r"(?:numeric|decimal)\(\d+(?:,\s*(?P<digits>-?\d+))?\)")
_TIME = re.compile(r"(?:timestamp|datetime)(?:\((?P<digits>\d)\))?")
_DIGITS_OF_SECOND = {"PostgreSQL": 6, "MySQL": 0}
"""That a time has whose type doesn't say how many."""
_MILLISECONDS = 3
# Up to which all whole numbers have a place.
_EXACT_BITS = {"real": 24, "float": 24, "double": 53}
_BITS = {"tinyint": 8, "smallint": 16, "int": 32}

Condition = tuple["Column", str]
"""When a value can't be held, and what is wrong with it then."""


def checked(product: str, pair: Pair) -> Column:
    """The values of a column, or an error in place of one that the database would refuse without a name, or change.

    Args:
        product: The system, `PostgreSQL` or `MySQL`.
        pair: The frame's column, and the table's.
    """
    from pyspark.sql import functions as F

    column = F.col(quoted(pair.field.name))
    value = column
    for is_unheld, what in (*unheld_text(product, column, pair.field.dataType), *_changed(product, column, pair)):
        error = F.raise_error(F.lit(unheld(product, what, pair.field.name))).cast(pair.field.dataType)
        value = F.when(is_unheld, error).otherwise(value)
    return value


def unheld_text(product: str, column: Column, data_type: DataType) -> tuple[Condition, ...]:
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
    is_invalid = (~F.is_valid_utf8(column), _NOT_UTF8)
    has_nul = (F.contains(column, F.lit("\0")), _NUL)
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
    column = in_sql(found["column"])
    match found["what"]:
        case what if what == NOT_FINITE:
            hint = f"make it null first, with enrichData: nullif({column}, double('NaN')), or filter the rows"
        case what if what == _WHOLE_NUMBER:
            hint = "give the table's column a type for whole numbers"
        case what if what == _SHORT_YEAR:
            hint = "MySQL would take 5 for 2005: write all digits of the year"
        case _ if found["after"] == "of a second":
            unit = "second" if int(found["digits"]) < _MILLISECONDS else "millisecond"
            hint = (
                "give the table's column more digits, as timestamp(6) or datetime(6) has, or cut the time first, with "
                f"enrichData: date_trunc('{unit}', {column})"
            )
        case _ if found["digits"] is not None:
            hint = f"round it first, with enrichData: round({column}, {found['digits']})"
        case _:
            hint = "set 'onMalformed' to quarantine or null, or fix the text first"
    return PipelineExecutionException(found[0], hint=hint)


def _changed(product: str, column: Column, pair: Pair) -> tuple[Condition, ...]:
    """When the table's column would keep another value, which the database says nothing of."""
    from pyspark.sql import functions as F
    from pyspark.sql.types import ArrayType

    data_type, depth = pair.field.dataType, 0
    while isinstance(data_type, ArrayType):
        depth, data_type = depth + 1, data_type.elementType
    lossy = _lossy(product, pair.column.plain_type, data_type)
    if lossy is None:
        return ()
    is_changed, what = lossy

    def in_any(value: Column, depth: int) -> Column:
        return F.exists(value, lambda item: in_any(item, depth - 1)) if depth else is_changed(value)

    return ((in_any(column, depth), what),)


def _lossy(product: str, kept: str, given: DataType) -> tuple[Callable[[Column], Column], str] | None:
    """When a column of one type changes a value of another; None if it never does."""
    from pyspark.sql import types as T

    if isinstance(given, T.TimestampType | T.TimestampNTZType):
        time = _TIME.match(kept)
        digits = int(time["digits"] or _DIGITS_OF_SECOND[product]) if time is not None else 6
        return (_has_more_of_a_second(digits), f"more than {digits} digits of a second") if digits < 6 else None
    if not isinstance(given, T.DecimalType | T.IntegralType):
        return None
    scale = given.scale if isinstance(given, T.DecimalType) else 0
    decimal = _DECIMAL.match(kept)
    if decimal is not None:
        digits = int(decimal["digits"] or 0)
        return (_has_more_digits(digits), f"more than {digits} digits after the point") if scale > digits else None
    if kept.startswith("year"):
        return (lambda value: value.between(1, 99)), _SHORT_YEAR
    bits = _EXACT_BITS.get(re.split(r"[^a-z]", kept, maxsplit=1)[0])
    if bits is None or scale > 0 or bits >= _BITS.get(given.simpleString(), 64):
        return None
    return _is_beyond(bits), _WHOLE_NUMBER


def _has_more_of_a_second(digits: int) -> Callable[[Column], Column]:
    from pyspark.sql import functions as F

    return lambda value: _has_more_digits(digits)(F.extract(F.lit("SECOND"), value))


def _has_more_digits(digits: int) -> Callable[[Column], Column]:
    from pyspark.sql import functions as F

    return lambda value: F.round(value, digits) != value


def _is_beyond(bits: int) -> Callable[[Column], Column]:
    return lambda value: ~value.between(-(2**bits), 2**bits)
