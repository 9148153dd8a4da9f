"""JSON with the position of every value in its text, in one pass of the standard library's decoder."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from json import decoder
from typing import Any, cast

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
# The parts of the decoder in Python: they take the function that reads a value. Those in C, behind `json.loads`, don't.
_decoder = cast("Any", decoder)
_read_members: Callable[..., tuple[list[tuple[str, LocatedValue]], int]] = _decoder.JSONObject
_read_items: Callable[..., tuple[list[LocatedValue], int]] = _decoder.JSONArray


@dataclass(slots=True, eq=False)
class LocatedValue:
    """A value and where it stands, all in characters from the beginning of the text.

    Args:
        value: What `json.loads` makes of it, without halves of surrogate pairs.
        start: Where it begins.
        end: Where it ends.
        parts: The values in an object by their keys, or those in an array; None if it is neither.
        key_start: Where the quote before its key stands; None if it has none.
    """

    value: Any
    start: int
    end: int
    parts: dict[str, LocatedValue] | list[LocatedValue] | None
    key_start: int | None = None


@dataclass(frozen=True)
class JsonError:
    """What is wrong with a text although it is JSON.

    Args:
        start: Where.
        message: What.
        first: Of a key that appears twice in one object, where it appeared before.
    """

    start: int
    message: str
    first: int | None = None


def decode(text: str) -> tuple[LocatedValue, list[JsonError]]:
    """Read JSON.

    Raises:
        JSONDecodeError: It is not JSON.
        RecursionError: It is nested too deeply.
    """
    reader = _Decoder()
    return reader.decode(text), reader.flaws


class _Decoder(json.JSONDecoder):
    """json's decoder. `decode` asks `raw_decode` for the whole, and that is asked again for each value in it."""

    def __init__(self) -> None:
        super().__init__(parse_constant=_refuse_constant, parse_int=_integer)
        self.flaws: list[JsonError] = []

    def raw_decode(self, s: str, idx: int = 0) -> tuple[LocatedValue, int]:
        match s[idx : idx + 1]:
            case "{":
                members, end = _read_members((s, idx + 1), True, self.raw_decode, None, list)
                parts = self._by_key(s, idx, members)
                located = LocatedValue({key: part.value for key, part in parts.items()}, idx, end, parts)
            case "[":
                items, end = _read_items((s, idx + 1), self.raw_decode)
                located = LocatedValue([item.value for item in items], idx, end, items)
            case _:
                value, end = self._scalar(s, idx)
                located = LocatedValue(value, idx, end, None)
        return located, end

    def _by_key(self, text: str, start: int, members: list[tuple[str, LocatedValue]]) -> dict[str, LocatedValue]:
        parts: dict[str, LocatedValue] = {}
        for spelled, located in members:
            # No quote stands between a bracket, or the value before, and the one that opens the key.
            located.key_start = text.index('"', start)
            start = located.end
            key = self._without_surrogates(spelled, located.key_start)
            if key in parts:
                message = f"the key '{key}' appears twice in one object"
                self.flaws.append(JsonError(located.key_start, message, parts[key].key_start))
            parts[key] = located
        return parts

    def _scalar(self, text: str, start: int) -> tuple[Any, int]:
        try:
            value, end = super().raw_decode(text, start)
        except json.JSONDecodeError:
            raise
        except ValueError as error:
            raise json.JSONDecodeError(str(error), text, start) from error
        if isinstance(value, str):
            return self._without_surrogates(value, start), end
        if isinstance(value, float) and math.isinf(value):
            message = "the number is too large; write it as a string if it has to be exact"
            self.flaws.append(JsonError(start, message))
        return value, end

    def _without_surrogates(self, text: str, start: int) -> str:
        replaced = _LONE_SURROGATE.sub("\ufffd", text)
        if replaced != text:
            self.flaws.append(JsonError(start, "a string holds half of a surrogate pair, which is not a character"))
        return replaced


def _refuse_constant(name: str) -> None:
    raise ValueError(f"'{name}' is not a JSON value")


def _integer(digits: str) -> int:
    try:
        return int(digits)
    except ValueError as error:
        raise ValueError(f"a number has {len(digits)} digits") from error
