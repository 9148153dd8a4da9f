"""The types of columns without a schema."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline_platform.config.documents.document import SourcePosition, parse_document
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.testing.inferred_types import inferred_schema


def inferred(text: str) -> str:
    return inferred_schema(SourcePosition(parse_document(text, Path("t.json")))).simpleString()


def test_types_are_what_values_look_like() -> None:
    assert inferred('[{"b": 1, "a": "x"}, {"b": 2.5, "c": true, "d": null}]') == (
        "struct<b:double,a:string,c:boolean,d:string>"
    )
    assert inferred('[{"a": 9223372036854775807, "b": 9223372036854775808, "c": 1e3}]') == (
        "struct<a:bigint,b:decimal(20,0),c:double>"
    )
    assert inferred('[{"a": [[]]}, {"a": [[1], null]}, {"a": [[1.5]]}]') == "struct<a:array<array<double>>>"
    assert inferred('[{"a": {"z": 1}}, {"a": {"b": "x"}}]') == "struct<a:struct<b:string,z:bigint>>"


@pytest.mark.parametrize(
    ("rows", "line", "message"),
    [
        (["1", '"two"', "3"], 3, "'a' is a string here and a number in 2 others, first at 2:7"),
        (['"one"', "2", '"three"'], 3, "'a' is a number here and a string in 2 others, first at 2:7"),
        (["1", '"two"'], 3, "'a' is a string here and a number in another row, first at 2:7"),
        (["[1]", '[2, "x"]'], 3, "'a' is a string here and a number in 2 others, first at 2:8"),
    ],
)
def test_mixed_values_are_told_at_the_odd_one_with_the_place_of_the_others(
    rows: list[str], line: int, message: str
) -> None:
    with pytest.raises(PipelineConfigurationException) as refused:
        inferred("[\n" + ",\n".join(f'{{"a": {row}}}' for row in rows) + "\n]")
    (problem,) = refused.value.problems
    assert (problem.line, problem.message) == (line, message)
    assert '"schema"' in (problem.hint or "")


def test_columns_that_spark_takes_for_one_and_objects_without_fields_are_refused() -> None:
    for text, message in (
        ('[{"Id": 1}, {"id": 2}]', "are one column"),
        ('[{"a": {}}]', "nobody knows which fields 'a' has"),
        ("[{}]", "nobody knows which columns there are"),
    ):
        with pytest.raises(PipelineConfigurationException, match=message):
            inferred(text)
