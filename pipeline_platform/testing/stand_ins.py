"""Stand-ins for sensitive values: of the same type and shape, the same for the same value, and made of nothing in it.

What stands for a value follows from which of the values it is, counted as they come up, and from its shape: its length,
its digits, letters and punctuation. No key or hash is in it that could be tried out.
"""

from __future__ import annotations

import math
import random
import re
import string
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal
from itertools import chain, count
from typing import TYPE_CHECKING, Any, cast

from pipeline_platform.redaction import looks_secret, redact

if TYPE_CHECKING:
    from pyspark.sql.types import DataType

_TRIES = 50
_NAME = re.compile(r"[A-Za-z_. -]+")
_EXACT = Context(prec=80)
_FIRST_DAY = datetime(2000, 1, 1, tzinfo=UTC)
_SHORTEST_TEXT = 4
_SHORTEST_NUMBER = 6
_SHORTEST_PART = 6
"""Of a text that is replaced where it is a part of another one."""


@dataclass
class StandIns:
    """What stands for which value.

    Args:
        real: All values for which there may be stand-ins; none of them is a stand-in.
    """

    real: frozenset[Any]
    _given: dict[Any, Any] = field(default_factory=dict[Any, Any])
    _taken: set[Any] = field(default_factory=set[Any])

    def hide(self, value: Any, kind: DataType) -> Any:
        """What stands for a value, or is in it.

        NULL, NaN, infinity and an empty text stay; of a BOOLEAN, what stands for it may be the same.

        Args:
            value: A value of a sensitive column, as pyarrow hands it to Python.
            kind: Its type.
        """
        return _mapped(value, kind, self._stand_in)

    def elsewhere(self, value: Any, kind: DataType) -> Any:
        """A value of another column, in whose texts stand-ins are in place of what they stand for.

        Args:
            value: As pyarrow hands it to Python.
            kind: Its type.
        """
        return _mapped(value, kind, self._known)

    def _stand_in(self, value: Any) -> Any:
        key = _key(value)
        if key is None:
            return value
        if key not in self._given:
            made = next(one for one in _candidates(value, len(self._given)) if self._is_free(one))
            self._given[key] = made
            self._taken.add(_key(made))
        return _as_type_of(value, self._given[key])

    def _is_free(self, made: Any) -> bool:
        key = _key(made)
        return isinstance(made, bool) or (key not in self.real and key not in self._taken)

    def _known(self, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        for real, made in self._given.items():
            if isinstance(real, str) and len(real) >= _SHORTEST_PART:
                value = re.sub(re.escape(real), lambda _, made=made: made, value, flags=re.IGNORECASE)
        return value


def single_values(column: Iterable[Any], kind: DataType) -> Iterator[Any]:
    """What the values of a column consist of, as `StandIns` counts it.

    Args:
        column: The values, as pyarrow hands them to Python.
        kind: Their type.
    """
    found: list[Any] = []

    def note(one: Any) -> Any:
        found.append(_key(one))
        return one

    for value in column:
        _mapped(value, kind, note)
    yield from (key for key in found if key is not None)


def is_telling(key: Any) -> bool:
    """Whether a value is long enough for another column to have it by more than chance.

    Args:
        key: Of `single_values`.
    """
    if isinstance(key, tuple):
        return len(str(abs(cast("Any", key)[1]))) >= _SHORTEST_NUMBER
    return isinstance(key, (str, bytes)) and len(key) >= _SHORTEST_TEXT


def holds_secret(values: Iterable[Any]) -> bool:
    """Whether a text among values has something in it that looks like a secret, or is one that was handed out.

    Args:
        values: Of `single_values`.
    """
    return any(isinstance(value, str) and redact(value) != value for value in values)


def _mapped(value: Any, kind: DataType, change: Any) -> Any:
    from pyspark.sql import types as T

    match kind:
        case _ if value is None:
            return None
        case T.StructType():
            return {one.name: _mapped(value[one.name], one.dataType, change) for one in kind.fields}
        case T.ArrayType():
            return [_mapped(one, kind.elementType, change) for one in value]
        case T.MapType():
            pairs = cast("list[tuple[str, Any]]", value)
            return [(_mapped_key(key, change), _mapped(one, kind.valueType, change)) for key, one in pairs]
        case _:
            return change(value)


def _mapped_key(key: Any, change: Any) -> Any:
    # The name of a secret is none, and expressions ask for it.
    is_name = isinstance(key, str) and looks_secret(key) and _NAME.fullmatch(key) is not None
    return key if is_name else change(key)


def _key(value: Any) -> Any:
    """The same for values that a join takes for the same; None for one that stays."""
    match value:
        case bool():
            return value
        case float() if not math.isfinite(value):
            return None
        case int() | float() | Decimal():
            return "number", _number(value)
        case "" | b"" | None:
            return None
        case _:
            return value


def _as_type_of(value: Any, made: Any) -> Any:
    """A number as one of a value's own type: the same stands for 7, 7.0 and 7.00."""
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        return made
    if isinstance(value, Decimal):
        _, _, exponent = value.as_tuple()
        assert isinstance(exponent, int)
        return made.quantize(Decimal(1).scaleb(exponent), context=_EXACT)
    return type(value)(made)


def _candidates(value: Any, number: int) -> Iterator[Any]:
    """What may stand for a value.

    Args:
        value: The value.
        number: How many have been given before.
    """
    drawn = random.Random(number)
    match value:
        case bool():
            yield number % 2 == 0
        case str():
            yield from _texts(value, drawn)
        case bytes():
            yield from (drawn.randbytes(max(len(value), 8 * (tried // _TRIES))) for tried in count())
        case datetime():
            moments = (_FIRST_DAY + timedelta(seconds=number + tried) for tried in count())
            yield from (one if value.tzinfo is not None else one.replace(tzinfo=None) for one in moments)
        case date():
            yield from ((_FIRST_DAY + timedelta(days=number + tried)).date() for tried in count())
        case _:
            yield from _numbers(value, drawn)


def _texts(value: str, drawn: random.Random) -> Iterator[str]:
    last = value[-1] if value[-1].isalnum() else "a"
    for tried in count():
        # One that is too short for another of its shape gets longer.
        shape = value + last * (tried // _TRIES)
        yield "".join(_character(one, drawn) for one in shape)


def _character(one: str, drawn: random.Random) -> str:
    if one.isdigit():
        return drawn.choice(string.digits)
    if one.isalpha():
        return drawn.choice(string.ascii_uppercase if one.isupper() else string.ascii_lowercase)
    return one


def _numbers(value: float | Decimal, drawn: random.Random) -> Iterator[Decimal]:
    exact = _number(value)
    if exact == exact.to_integral_value(context=_EXACT):
        exact = Decimal(int(exact))
    sign, digits, exponent = exact.as_tuple()
    assert isinstance(exponent, int)
    # The smallest numbers of as many digits fit each type that the value fits.
    least = 10 ** (len(digits) - 1)
    most = {1: 9, 3: 127}.get(len(digits)) or least * 2 - 1
    drawn_ones = (drawn.randint(least, most) for _ in range(_TRIES))
    for unscaled in chain(drawn_ones, range(least, most + 1), range(1, 128)):
        yield Decimal((sign, tuple(map(int, str(unscaled))), exponent))
    raise OverflowError(f"there is no other number of {len(digits)} digits left to stand for one")


def _number(value: float | Decimal) -> Decimal:
    """A number without zeros after its last digit, exactly."""
    exact = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    return exact.normalize(_EXACT)
