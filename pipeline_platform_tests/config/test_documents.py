"""A file that is hardly JSON, or not at all, is refused with its place and never with another exception."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline_platform.config.loader import load_pipeline, parse_pipeline
from pipeline_platform.registry import method_registry
from pipeline_platform_tests.config.reading import extract, messages_of, pipeline, problems_of

VALID = json.dumps(pipeline(extract()))


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ("", 1, 1, "the file is empty; expected a JSON object"),
        (" \n\t", 1, 1, "the file is empty; expected a JSON object"),
        ('{"name": "a",\n "mode" "batch"}', 2, 9, "not JSON: expecting ':' delimiter"),
        ('{\n  "name": "a"', 2, 14, "not JSON: expecting ',' delimiter"),
        ('{"name": NaN}', 1, 10, "not JSON: 'NaN' is not a JSON value"),
        ('{"name": -Infinity}', 1, 10, "not JSON: '-Infinity' is not a JSON value"),
        ("[" * 100_000, 1, 1, "the JSON is nested too deeply"),
        ('{"a":' * 100_000, 1, 1, "the JSON is nested too deeply"),
        ('{"name": ' + "9" * 5000 + "}", 1, 10, "not JSON: a number has 5000 digits"),
        ('{"name": "a\0b"}', 1, 12, "not JSON: invalid control character at"),
        ("\0", 1, 1, "not JSON: expecting value"),
        ('{"name": "a"} x', 1, 15, "not JSON: extra data"),
    ],
)
def test_what_is_not_json_is_refused_at_its_place(text: str, line: int, column: int, message: str):
    (problem,) = problems_of(text)
    assert (problem.line, problem.column, problem.message) == (line, column, message)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ('{"name": "a",}', "remove the comma before it"),
        ('{"name": "a"} // so', "JSON has no comments"),
        ("{'name': 'a'}", "write strings in double quotes"),
    ],
)
def test_what_people_write_by_mistake_for_json_gets_a_hint(text: str, hint: str):
    (problem,) = problems_of(text)
    assert problem.hint == hint


def test_a_number_that_is_too_large_for_its_key_is_refused():
    assert messages_of(pipeline(extract(), retry={"delaySeconds": 10**400})) == ["expected a number"]
    text = VALID.replace('"mode"', '"retry": {"delaySeconds": 1e999}, "mode"')
    assert messages_of(text) == [
        "expected a number",
        "the number is too large; write it as a string if it has to be exact",
    ]


def test_half_of_a_surrogate_pair_is_refused_at_its_place():
    (problem,) = problems_of(VALID.replace('"path": "flights"', '"path": "\\ud800"'))
    assert problem.message == "a string holds half of a surrogate pair, which is not a character"
    assert VALID[problem.column - 1 :].startswith('"flights"')


def test_half_of_a_surrogate_pair_in_a_key_is_refused():
    found = messages_of(VALID.replace('"path"', '"\\udfff"'))
    assert "a string holds half of a surrogate pair, which is not a character" in found


def test_a_whole_surrogate_pair_is_a_character():
    read = parse_pipeline(VALID.replace('"path": "flights"', '"path": "\\ud83d\\ude00"'), method_registry())
    assert read.steps[0].config.as_config()["path"] == "\U0001f600"


def test_a_byte_order_mark_is_no_part_of_the_file(tmp_path: Path):
    file = tmp_path / "flights.json"
    file.write_bytes(b"\xef\xbb\xbf" + VALID.encode())
    assert load_pipeline(file, method_registry()).name == "flights"
    assert parse_pipeline("\ufeff" + VALID, method_registry()).name == "flights"


def test_lines_may_end_as_on_windows(tmp_path: Path):
    file = tmp_path / "flights.json"
    file.write_bytes(b'{\r\n  "name": "a b",\r\n  "mode": "batch",\r\n  "steps": []\r\n}\r\n')
    name, steps = problems_of(file)
    assert (name.line, name.column, name.source_line) == (2, 11, '  "name": "a b",')
    assert (steps.line, steps.column) == (4, 12)


def test_a_file_that_is_not_utf_8_is_refused_at_the_byte(tmp_path: Path):
    file = tmp_path / "flights.json"
    file.write_bytes(b'{\n  "name": "caf\xe9"}')
    (problem,) = problems_of(file)
    assert (problem.line, problem.column) == (2, 15)
    assert problem.message == "the file is not UTF-8: the byte 0xe9 can't be read"


@pytest.mark.parametrize("name", ["missing.json", "", "a\0b.json", "x" * 5000])
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, name: str):
    (problem,) = problems_of(tmp_path / name)
    assert problem.message.startswith("the file can't be read: ")


def test_a_key_that_stands_twice_is_reported_at_its_second_place_with_the_first():
    text = VALID.replace('"mode": "batch"', '"mode": "batch",\n"name": "b"')
    (problem,) = problems_of(text)
    assert (problem.line, problem.column) == (2, 1)
    assert (problem.message, problem.hint) == ("the key 'name' appears twice in one object", "first on line 1")


def test_a_key_that_stands_twice_is_found_however_it_is_spelled():
    assert messages_of(VALID.replace('"mode"', '"na\\u006de": "b", "mode"')) == [
        "the key 'name' appears twice in one object (first on line 1)",
    ]


def test_a_key_that_stands_twice_hides_no_other_mistake():
    found = messages_of(VALID.replace('"mode": "batch"', '"mode": "batch", "mode": "bach"'))
    assert [message.partition(" (")[0] for message in found] == [
        "the key 'mode' appears twice in one object",
        "expected 'batch' or 'streaming', not 'bach'",
    ]


@pytest.mark.parametrize("key", ["a/b", "a~b", "", "\\u00e9", '\\"', "0"])
def test_a_key_of_any_spelling_is_found_at_its_place(key: str):
    (problem,) = problems_of(VALID.replace('"mode"', f'\n"{key}": 1, "mode"'))
    assert (problem.line, problem.column) == (2, 1)
    assert problem.message.startswith("unknown key ")
