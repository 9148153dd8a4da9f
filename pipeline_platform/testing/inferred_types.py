"""The types of columns for which nobody has written a schema: what their values look like."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast

from pipeline_platform.config.config_error import refused
from pipeline_platform.config.documents.document import SourcePosition, json_type

if TYPE_CHECKING:
    from pyspark.sql.types import DataType, StructType

_MOST_DIGITS = 38
_LARGEST = (1 << 63) - 1
_HINT = 'write it as in the other rows, or give an object with "schema" and "rows"'


def inferred_schema(place: SourcePosition, *, in_batches: bool = False) -> StructType:
    """The columns of rows, in the order in which they come up, with the types that their values look like.

    Args:
        place: Where they are written: a list of objects.
        in_batches: Whether it is a list of such lists.

    Raises:
        PipelineConfigurationException: There is no row, or none has a column, or values of a column are of several
            kinds.
    """
    from pyspark.sql import types as T

    lists = _items(place) if in_batches else [place]
    rows = [row for one in lists for row in _items(one)]
    places = _by_name(rows)
    if not places:
        message = "without a row that has a value, nobody knows which columns there are"
        raise refused([place.problem(message, hint='give an object with "schema" and "rows"')])
    spelled: dict[str, str] = {}
    for name, where in places.items():
        if (other := spelled.setdefault(name.lower(), name)) != name:
            message = f"'{name}' and '{other}' are one column, as Spark does not tell upper from lower case"
            raise refused([where[0].problem(message, on_key=True)])
    return T.StructType([T.StructField(name, _type_of(name, where)) for name, where in places.items()])


def _items(place: SourcePosition) -> list[SourcePosition]:
    return [place / number for number in range(len(cast("list[Any]", place.value)))]


def _by_name(objects: Iterable[SourcePosition]) -> dict[str, list[SourcePosition]]:
    """Where the values of each key stand."""
    found: dict[str, list[SourcePosition]] = {}
    for one in objects:
        for name in cast("dict[str, Any]", one.value):
            found.setdefault(name, []).append(one / name)
    return found


def _type_of(name: str, values: Sequence[SourcePosition]) -> DataType:
    """The type of values.

    Raises:
        PipelineConfigurationException: They are of several kinds.
    """
    from pyspark.sql import types as T

    there = [(place, json_type(place.value)) for place in values if place.value is not None]
    kinds = Counter(kind for _, kind in there)
    if not kinds:
        return T.StringType()
    if len(kinds) > 1:
        raise refused([_odd_one(name, there, kinds)])
    places = [place for place, _ in there]
    match there[0][1]:
        case "an object":
            fields = _by_name(places)
            if not fields:
                raise refused([places[0].problem(f"nobody knows which fields '{name}' has", hint=_HINT)])
            return T.StructType([T.StructField(one, _type_of(one, fields[one])) for one in sorted(fields)])
        case "a list":
            return T.ArrayType(_type_of(name, [item for place in places for item in _items(place)]))
        case "a number":
            return _number([place.text for place in places])
        case "a boolean":
            return T.BooleanType()
        case _:
            return T.StringType()


def _odd_one(name: str, there: Sequence[tuple[SourcePosition, str]], kinds: Counter[str]) -> Any:
    """What is wrong with values of several kinds: the first of a kind that the fewest are of, and of those the last."""
    fewest = min(kinds.values())
    odd = [kind for kind, count in kinds.items() if count == fewest][-1]
    usual = next(kind for kind, _ in kinds.most_common() if kind != odd)
    where = next(place for place, kind in there if kind == odd)
    other = next(place for place, kind in there if kind == usual)
    line, column = other.document.position(other.pointer)
    count = kinds[usual]
    elsewhere = "in another row" if count == 1 else f"in {count} others"
    message = f"'{name}' is {odd} here and {usual} {elsewhere}, first at {line}:{column}"
    return where.problem(message, hint=_HINT)


def _number(texts: Sequence[str]) -> DataType:
    from pyspark.sql import types as T

    if any(set(text) & set(".eE") for text in texts):
        return T.DoubleType()
    if all(-_LARGEST - 1 <= int(text) <= _LARGEST for text in texts):
        return T.LongType()
    digits = max(len(text.lstrip("-")) for text in texts)
    # Any BIGINT has a place beside the others.
    return T.DecimalType(max(digits, 20), 0) if digits <= _MOST_DIGITS else T.DoubleType()
