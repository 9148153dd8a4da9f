"""What a file with mistakes in its JSON says nevertheless."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from pipeline_platform.config.documents.lenient_json import read_leniently

VALUE: dict[str, Any] = {
    "name": "sales",
    "mode": "batch",
    "steps": [
        {"type": "extract", "method": "fromRate", "config": {"rowsPerSecond": 1, "numbers": [1.5, None, True]}},
        {"type": "transform", "method": "filterRows", "config": {"condition": 'a > "1" // {x'}},
        {"type": "load", "method": "toDeltaLake", "name": "table", "config": {"path": "/x"}},
    ],
}
TEXT = json.dumps(VALUE, indent=2)
PLAIN = TEXT.replace('\\"1\\"', "1")


def names_of(text: str) -> list[Any]:
    """The names that assets are made of."""
    value = read_leniently(text)
    steps = [step.get("name") or step.get("method") for step in value["steps"]]
    return [value.get("name"), *(step for step in steps if step is not None)]


NAMES = ["sales", "fromRate", "filterRows", "table"]


@pytest.mark.parametrize("indent", [None, 0, 2])
def test_json_is_read_as_it_is(indent: int | None):
    assert read_leniently(json.dumps(VALUE, indent=indent)) == VALUE


def test_whichever_quote_comma_colon_or_bracket_is_missing_the_names_are_read():
    places = [place for place, character in enumerate(PLAIN) if character in '"{}[],:']
    assert len(places) > 80
    for place in places:
        assert names_of(PLAIN[:place] + PLAIN[place + 1 :]) == NAMES, PLAIN[place - 20 : place + 10]


@pytest.mark.parametrize(
    "text",
    [
        PLAIN.replace('"mode": "batch",', '<<<<<<< HEAD\n"mode": "batch",\n=======\n"mode": "streaming",\n>>>>>>> x'),
        PLAIN.replace('"mode"', '// a "comment": {\n  "mode"'),
        PLAIN.replace('"batch"', "'batch'"),
        PLAIN.replace('"rowsPerSecond": 1', '"rowsPerSecond": ${rows}'),
        PLAIN[: PLAIN.index('"/x"')],
        "\ufeff" + PLAIN + "\n}}",
    ],
)
def test_what_else_people_do_to_json_leaves_the_names(text: str):
    assert names_of(text) == NAMES


def test_any_text_is_read_as_something():
    chance = random.Random(7)
    for _ in range(500):
        text = list(TEXT)
        for _ in range(chance.randint(1, 9)):
            text.insert(chance.randrange(len(text)), chance.choice('{}[]:,"\\\n/a1'))
            del text[chance.randrange(len(text))]
        read_leniently("".join(text))
    for text in ("", "\0", "[" * 5_000, '{"a":' * 5_000, '"a":' * 5_000, "[:" * 5_000, ":" * 5_000):
        read_leniently(text)
