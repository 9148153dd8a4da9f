"""JSON texts as columns, without a value that was changed or lost in silence: for messages, and for lines of files.

Spark's own reader takes the first value of a text and ignores the rest, rounds decimals, makes -56 of 200 in a TINYINT,
infinity of 1e400 and the year 57385 of the date "20240101", and the last of several equal keys wins. Here a text is
whole and of its schema, or there is a reason why it can't be used. What is taken, and what is not, stands in the
documentation of `valueSchema` of `fromKafka`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline_platform.frames.columns import HELPER_PREFIX, any_of
from pipeline_platform.frames.exact_json import (
    converted,
    is_changed,
    is_infinite,
    is_large,
    is_rounded,
    is_unfit,
    is_widest,
    lacks_field,
    may_lack_digits,
    read_type,
    with_decimals,
    with_integers,
    with_variants,
)
from pipeline_platform.frames.nested_values import anywhere, types_in

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import DataType, StructType

NOT_UTF8 = "not UTF-8"
"""Why a text can't be used whose bytes are none."""
EMPTY = "empty"
"""Why a record can't be used that has to hold a value, and holds nothing."""

_PARSED = f"{HELPER_PREFIX}parsed"
_BROKEN = f"{HELPER_PREFIX}broken"
_NUMBERS = f"{HELPER_PREFIX}numbers"
_DECIMALS = f"{HELPER_PREFIX}decimals"
_FINER = f"{HELPER_PREFIX}finer"
_TEXTS = f"{HELPER_PREFIX}texts"
_INTEGERS = f"{HELPER_PREFIX}integers"
_BY_NAME = f"{HELPER_PREFIX}by_name"
_CORRUPT = f"{HELPER_PREFIX}corrupt"
_VALUE = "value"

_TIME = "yyyy-MM-dd[['T'][ ]HH:mm[:ss][.SSSSSSSSS]]"
_OPTIONS = {
    "mode": "PERMISSIVE",
    "columnNameOfCorruptRecord": _CORRUPT,
    "allowSingleQuotes": "false",
    "dateFormat": "yyyy-MM-dd",
    "timestampFormat": f"{_TIME}[XXX][XX][X]",
    "timestampNTZFormat": _TIME,
    # Of Spark 1: a date of digits is a number of days.
    "enableDateTimeParsingFallback": "false",
}
_STRICT_NUMBERS = {"allowNonNumericNumbers": "false"}
_FOLLOWED = "something follows the JSON object"
_BLANK = r"^[ \t\r\n]*$"
_ESCAPED_SURROGATE = r"\\u[dD][89a-fA-F]"
_SURROGATE_PAIR = r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
# Spark writes the zeros out before it looks whether the number fits a DECIMAL, and takes forever for some.
_LONG_EXPONENT = r"[eE][+-]?[0-9]{4}"
_HUGE_EXPONENT = r"""[:,\[{]\s*"?-?[0-9]+(\.[0-9]+)?[eE][+-]?[0-9]{4,}"""
# What a double may have no place for; of one with a fraction or an exponent, a double is what is meant.
_LONG_INTEGER = r"[:,\[]\s*-?[0-9]{16,}\s*[,}\]]"


@dataclass(frozen=True)
class JsonValues:
    """Texts that were parsed.

    Args:
        frame: The frame of the texts, with helper columns that `fields` and `reason` refer to.
        fields: The value of each field of the schema, by its name; null where it could not be read.
        reason: Why a text can't be used; null for one that can, and for a null.
    """

    frame: DataFrame
    fields: Mapping[str, Column]
    reason: Column


def with_json(
    frame: DataFrame,
    text: Column,
    schema: StructType,
    options: Mapping[str, str] | None = None,
    *,
    keeps_digits: bool = False,
) -> JsonValues:
    """Parse the JSON object in each text.

    Args:
        frame: The frame.
        text: The texts, of its columns; bytes that are no UTF-8 may stand in them.
        schema: Of the objects. Other fields are ignored; one that is not nullable has to be there.
        options: Of Spark's parser, beside those that keep it to JSON. Those that have it take more, `allow…`, also have
            it take the last of equal keys.
        keeps_digits: Whether an integer that a double makes another one of can't be used.
    """
    from pyspark.sql import functions as F
    from pyspark.sql import types as T

    given = options or {}
    named = {name.lower() for name in given}
    options = {**{name: value for name, value in _OPTIONS.items() if name.lower() not in named}, **given}
    has_decimals = any(isinstance(kind, T.DecimalType) for kind in types_in(schema))
    broken = _broken(text, options)
    if has_decimals:
        huge = text.rlike(_LONG_EXPONENT) & text.rlike(_HUGE_EXPONENT)
        broken = F.when(huge, F.lit("a number in it has an exponent of four digits or more")).otherwise(broken)
    parsed = _parsed(text, options, read_type(schema))
    frame = frame.withColumns({_PARSED: once(parsed), _BROKEN: once(broken)})
    value, usable = F.col(_PARSED)[_VALUE], F.when(F.col(_BROKEN).isNull(), text)
    is_misread = F.col(_PARSED)[_CORRUPT].isNotNull() | value.isNull()
    # Not a part of the reason, where it would be parsed for each field.
    again = {_BY_NAME: F.when(is_misread, F.from_json(usable, "MAP<STRING, STRING>", dict(options)))}
    if has_decimals:
        # The text of a decimal tells what was written, but Spark makes it of a double: the digits are read once more.
        again[_DECIMALS] = _parsed(usable, options, with_decimals(schema))[_VALUE]
        if any(is_widest(kind) for kind in types_in(schema)):
            again[_FINER] = _parsed(usable, options, with_decimals(schema, finer=True))[_VALUE]
    any_fraction = anywhere(value, schema, may_lack_digits)
    if any_fraction is not None:
        # A variant keeps them; looked at where there is one.
        again[_TEXTS] = F.when(any_fraction, _parsed(usable, options, with_variants(schema))[_VALUE])
    any_infinite = anywhere(value, schema, is_infinite)
    if any_infinite is not None:
        # Unless the text says so in words, it was a number too large; looked at where there is one.
        without_words = _parsed(text, {**options, **_STRICT_NUMBERS}, read_type(schema))[_VALUE]
        again[_NUMBERS] = F.when(any_infinite, without_words)
    any_large = anywhere(value, schema, is_large) if keeps_digits else None
    if any_large is not None:
        any_integer = any_large & text.rlike(_LONG_INTEGER)
        again[_INTEGERS] = F.when(any_integer, _parsed(usable, options, with_integers(schema))[_VALUE])
    # In one projection: Spark does not compile what parses JSON, and copies the row for each.
    frame = frame.withColumns({name: once(column) for name, column in again.items()})
    fields: dict[str, Column] = {}
    unfit: list[Column] = []
    for field in schema.fields:
        read, kind = value.getField(field.name), field.dataType.simpleString().upper()[:60]
        rounds = anywhere(read, field.dataType, is_unfit)
        infinite = anywhere(F.col(_NUMBERS).getField(field.name), field.dataType, is_infinite)
        digits = F.col(_DECIMALS).getField(field.name)
        lost = anywhere(digits, field.dataType, is_rounded)
        in_finer = functools.partial(is_rounded, finer=True)
        finer_lost = anywhere(F.col(_FINER).getField(field.name), field.dataType, in_finer)
        changed = None
        if any_large is not None:
            changed = anywhere(F.col(_INTEGERS).getField(field.name), field.dataType, is_changed)
        tests = [test for test in (rounds, lost, finer_lost, infinite, changed) if test is not None]
        misfit = any_of(tests)
        whole = F.col(_BROKEN).isNull() if misfit is None else F.col(_BROKEN).isNull() & ~misfit
        is_exact = any(isinstance(kind, T.DecimalType) for kind in types_in(field.dataType))
        value_of = converted(digits if is_exact else read, field.dataType)
        if any(isinstance(kind, T.StringType) for kind in types_in(field.dataType)):
            exact = converted(F.col(_TEXTS).getField(field.name), field.dataType, texts=True)
            value_of = F.when(F.col(_TEXTS).isNotNull(), exact).otherwise(value_of)
        fields[field.name] = F.when(whole, value_of)
        if misfit is not None:
            unfit.append(F.when(misfit, F.lit(f"'{field.name}' does not fit {kind}")))
        lacks = anywhere(read, field.dataType, lacks_field)
        if not field.nullable:
            unfit.append(F.when(read.isNull(), F.lit(f"'{field.name}' is missing or null")))
        if lacks is not None:
            unfit.append(F.when(lacks, F.lit(f"'{field.name}' lacks a field that is NOT NULL")))
    # What follows within an object alone is found here.
    misread = F.when(is_misread, _why_misread(text, schema, value, options))
    reason = F.when(text.isNotNull(), F.coalesce(F.col(_BROKEN), misread, *unfit))
    return JsonValues(frame, fields, reason)


def once(column: Column) -> Column:
    """The same column, which Spark does not compute anew wherever it is used, as it would in a filter after it."""
    from pyspark.sql import functions as F

    return F.when(F.spark_partition_id() >= 0, column)


def _parsed(text: Column, options: Mapping[str, str], kind: DataType) -> Column:
    """The struct of the value and of the text that could not be read; the value is parsed within another object.

    So the parser has to find the end of that other object after it.
    """
    from pyspark.sql import functions as F
    from pyspark.sql import types as T

    read = T.StructType([T.StructField(_VALUE, kind), T.StructField(_CORRUPT, T.StringType())])
    return F.from_json(F.concat(F.lit(f'{{"{_VALUE}":'), text, F.lit("}")), read, dict(options))


def _broken(text: Column, options: Mapping[str, str]) -> Column:
    """Why no part of a text can be relied on."""
    from pyspark.sql import functions as F

    surrogates = F.regexp_replace(F.regexp_replace(text, r"\\\\", "__"), _SURROGATE_PAIR, "")
    has_half = text.contains(r"\u") & text.rlike(_ESCAPED_SURROGATE) & surrogates.rlike(_ESCAPED_SURROGATE)
    broken = F.when(~F.is_valid_utf8(text), F.lit(NOT_UTF8))
    if not any(name.lower().startswith("allow") and value.lower() == "true" for name, value in options.items()):
        # A variant is made of strict JSON with unique keys. It ends with the first value: what may follow that within
        # an array may not within an object, where it was parsed.
        is_broken = text.isNotNull() & F.try_parse_json(_in_array(text)).isNull()
        broken = broken.when(is_broken, _why_broken(text, options))
    return broken.when(has_half, F.lit("a text in it has half of a surrogate pair"))


def _why_broken(text: Column, options: Mapping[str, str]) -> Column:
    from pyspark.sql import functions as F
    from pyspark.sql import types as T

    names = F.json_object_keys(text)
    twice = F.lit("a key occurs twice in it")
    is_one_item = F.coalesce(F.json_array_length(_in_array(text)), F.lit(0)) == 1
    is_json = _parsed(text, {**options, **_STRICT_NUMBERS}, T.StringType())[_CORRUPT].isNull()
    return (
        F.when(F.size(names) > F.size(F.array_distinct(names)), twice)
        .when(names.isNotNull() & ~is_one_item, F.lit(_FOLLOWED))
        .otherwise(F.when(is_json, twice).otherwise(F.lit("not JSON")))
    )


def _in_array(text: Column) -> Column:
    from pyspark.sql import functions as F

    return F.concat(F.lit("["), text, F.lit("]"))


def _why_misread(text: Column, schema: StructType, value: Column, options: Mapping[str, str]) -> Column:
    """What follows the value, or else the first field that is there and could not be read."""
    from pyspark.sql import functions as F
    from pyspark.sql import types as T

    fields = [
        F.when(
            F.col(_BY_NAME)[field.name].isNotNull() & value.getField(field.name).isNull(),
            F.lit(f"'{field.name}' is not {field.dataType.simpleString().upper()[:60]}"),
        )
        for field in schema.fields
    ]
    read = T.StructType(
        [
            *(T.StructField(field.name, read_type(field.dataType)) for field in schema.fields),
            T.StructField(_CORRUPT, T.StringType()),
        ]
    )
    is_first = F.from_json(text, read, dict(options))[_CORRUPT].isNull()
    return (
        F.when(text.rlike(_BLANK), F.lit(EMPTY))
        .when(F.json_object_keys(text).isNull(), F.lit("not a JSON object"))
        .when(is_first, F.lit(_FOLLOWED))
        .otherwise(F.coalesce(*fields, F.lit("not JSON of the schema")))
    )
