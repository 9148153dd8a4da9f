"""What json reads is read as json reads it, with the place of everything."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_platform.config.documents.json_positions import JsonError, LocatedValue, decode

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
indents = st.sampled_from([None, 0, 1, "\t", " \r\n"])
quickly = settings(deadline=None, database=None)


def parts_of(located: LocatedValue) -> Iterator[tuple[str | int, LocatedValue]]:
    if located.parts is not None:
        yield from located.parts.items() if isinstance(located.parts, dict) else enumerate(located.parts)


def places_hold(text: str, located: LocatedValue) -> None:
    assert json.loads(text[located.start : located.end]) == located.value
    for key, part in parts_of(located):
        assert part.value is located.value[key]
        assert (part.key_start is not None) == isinstance(key, str)
        if part.key_start is not None:
            # From the key on to the end of its value, and nothing else, makes an object of one member.
            assert json.loads("{" + text[part.key_start : part.end] + "}") == {key: part.value}
        places_hold(text, part)


def outcome(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except json.JSONDecodeError as error:
        return error


def told(result: Any) -> Any:
    return (result.msg, result.pos) if isinstance(result, json.JSONDecodeError) else result


@settings(quickly, max_examples=100)
@given(values, indents, st.booleans())
def test_each_key_and_value_is_found_where_it_stands(value: Any, indent: Any, escaped: bool) -> None:
    text = f" {json.dumps(value, indent=indent, ensure_ascii=escaped)}\n"
    located, flaws = decode(text)
    assert (located.value, flaws) == (json.loads(text), [])
    places_hold(text, located)


@settings(quickly, max_examples=300)
@given(
    st.text(alphabet='{}[]",:truefalsn01eE+-. \\ud8\n', max_size=40)
    | st.builds(
        lambda value, at, inserted: (text := json.dumps(value))[: at % len(text)] + inserted + text[at % len(text) :],
        values,
        st.integers(0, 1000),
        st.sampled_from(["", *'{}[]",:\\ \n0-.x', "\\u12", "null", ",,", "\0"]),
    )
)
def test_what_json_refuses_is_refused_with_the_same_words_at_the_same_place(text: str) -> None:
    expected = outcome(lambda: json.loads(text))
    read = outcome(lambda: decode(text)[0].value)
    # Halves of surrogate pairs are replaced.
    if "\\ud" not in text or isinstance(expected, json.JSONDecodeError):
        assert told(read) == told(expected)


@pytest.mark.parametrize(
    ("text", "flaws"),
    [
        ('{"a": 1, "a": 2, "b": {"a": 3}}', [(9, "appears twice", 1)]),
        ('{"a": {"x": 1}, "a": {"x": 2}}', [(16, "appears twice", 1)]),
        ('{"a": 1, "\\u0061": 2, "a": 3}', [(9, "appears twice", 1), (22, "appears twice", 9)]),
        ('["x", "\\ud800"]', [(6, "surrogate", None)]),
        ('{"a": 1, "\\udc00": 2}', [(9, "surrogate", None)]),
        ("[1, -1e999]", [(4, "too large", None)]),
    ],
)
def test_a_flaw_of_what_is_json_has_its_place(text: str, flaws: list[tuple[int, str, int | None]]) -> None:
    _, found = decode(text)
    assert len(found) == len(flaws)
    for flaw, (start, word, first) in zip(found, flaws, strict=True):
        assert word in flaw.message
        assert flaw == JsonError(start, flaw.message, first)


def test_half_of_a_surrogate_pair_is_replaced() -> None:
    assert decode('{"\\ud800a": "\\udc00"}')[0].value == {"\ufffda": "\ufffd"}


def test_of_a_key_that_stands_twice_the_last_value_counts() -> None:
    located, _ = decode('{"a": {"x": 1}, "b": 0, "a": [7]}')
    assert located.value == {"a": [7], "b": 0}
    assert isinstance(located.parts, dict)
    assert located.parts["a"].start == 29


@pytest.mark.parametrize(("text", "start"), [("[1, NaN]", 4), ('{"a": -Infinity}', 6), ("[" + "9" * 5000 + "]", 1)])
def test_a_number_that_is_not_json_is_refused_at_its_place(text: str, start: int) -> None:
    with pytest.raises(json.JSONDecodeError) as refused:
        decode(text)
    assert refused.value.pos == start
