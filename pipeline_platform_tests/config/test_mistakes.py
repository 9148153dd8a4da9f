"""Every mistake in a file is reported at once, at its place, with what was probably meant."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline_platform_tests.config.reading import (
    extract,
    load,
    messages_of,
    pipeline,
    problems_of,
    read,
    transform,
    validate,
)


def to_mysql(**config: Any) -> Any:
    return load("toMySQL", table="t", credentialPath="secret/shop", **config)


FIVE_MISTAKES = """\
{
  "name": "flights",
  "mode": "bach",
  "steps": [
    {"type": "extract", "method": "fromFiles", "config": {"path": "in", "format": "csv", "headr": true}},
    {"type": "transform", "method": "filterRow", "config": {"condition": "a > 1"}},
    {"type": "transform", "method": "filterRows", "config": {"condition": "a > "}},
\t{"type": "validate", "method": "validateNulls", "config": {"notNullColumns": ["a"], "input": "flihgts"}},
    {"type": "load", "method": "toDeltaLake", "config": {"path": "out"}}
  ]
}
"""


def test_five_different_mistakes_are_reported_together_each_at_its_place():
    found = [(problem.line, problem.column, problem.message) for problem in problems_of(FIVE_MISTAKES)]
    assert found == [
        (3, 11, "expected 'batch' or 'streaming', not 'bach'"),
        (5, 90, "unknown key 'headr'"),
        (6, 37, "unknown method 'filterRow'"),
        (7, 78, "SQL syntax: Required keyword: 'expression' missing near '>', column 3"),
        (8, 95, "there is no registered frame 'flihgts' before this step"),
    ]


def test_the_nearest_valid_name_is_offered():
    hints = [problem.hint for problem in problems_of(FIVE_MISTAKES)]
    assert hints[:3] == ["did you mean 'batch'?", "did you mean 'header'?", "did you mean 'filterRows'?"]


@pytest.mark.parametrize(
    ("step", "values"),
    [
        (
            load(path="out", mode="replace"),
            "'append', 'overwrite', 'errorIfExists', 'ignore', 'merge' or 'applyChanges', not 'replace'",
        ),
        (extract(path="in", format="xlsx"), "'parquet', 'json', 'csv', 'avro' or 'orc', not 'xlsx'"),
        (validate("validateNulls", notNullColumns="a", onFailure="x"), "'fail', 'warn' or 'quarantine', not 'x'"),
        (transform("joinDataFrames", inputDataFrames=["a", "b"], joinColumn="k", joinType="up"), None),
    ],
)
def test_a_wrong_value_is_told_with_the_valid_ones_once(step: dict[str, Any], values: str | None):
    named = [extract(path="in", format="csv", registerAs=name) for name in ("a", "b")]
    [problem] = problems_of(pipeline(*named, step, load()))
    values = values or "'inner', 'left', 'right', 'full', 'semi', 'anti' or 'cross', not 'up'"
    assert problem.message == f"expected {values}"
    assert problem.hint is None
    assert str(problem).count("expected") == 1
    assert "valid" not in str(problem)


def test_all_mistakes_of_one_step_are_reported():
    wrong = extract(path="", format="cvs", header=3, cacheStorageLevel="RAM", cache="maybe")
    assert len(problems_of(pipeline(wrong))) == 5


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "expected a pipeline object, not a list"),
        ("3", "expected a pipeline object, not a number"),
        ({"mode": "batch", "steps": [extract()]}, "the key 'name' is missing"),
        ({"name": "a", "steps": [extract()]}, "the key 'mode' is missing"),
        (pipeline(), "expected 'steps', a list of at least one step"),
        ({"name": "a", "mode": "batch"}, "expected 'steps', a list of at least one step"),
        (pipeline(extract(), name="a b"), "must match ^[A-Za-z0-9_-]+$"),
        (pipeline(extract(), name=3), "expected a string, not a number"),
        (pipeline(extract(), descripton="x"), "unknown key 'descripton' (did you mean 'description'?)"),
        (pipeline(extract(), retry={"attempts": 3}), "unknown key 'attempts' (did you mean 'maxAttempts'?)"),
        (pipeline(extract(), retry={"maxAttempts": 0}), "must be greater than 0"),
        (pipeline(extract(), retry={"maxAttempts": "three"}), "expected an integer, not a string"),
        (pipeline(extract(), retry={"maxAttempts": True}), "expected an integer, not a boolean"),
        (pipeline(extract(), retry={"delaySeconds": -1}), "must be 0 or more"),
        (pipeline(extract(), retry=[]), "expected an object, not a list"),
        (pipeline(extract(), metadata={"tags": "x"}), "expected a list, not a string"),
        (pipeline(3), "expected a step object, not a number"),
        (pipeline({**extract(), "configs": {}}), "unknown key 'configs' (did you mean 'config'?)"),
        (pipeline({**extract(), "config": []}), "expected 'config' to be an object, not a list"),
        (
            pipeline({"method": "fromFiles", "config": {}}),
            "the key 'type' is missing (valid: extract, transform, validate, load)",
        ),
        (pipeline({**extract(), "type": "extrac"}), "unknown type 'extrac' (did you mean 'extract'?)"),
        (pipeline({**extract(), "type": ["extract"]}), "expected a string, not a list"),
        (pipeline({**extract(), "method": None}), "expected a string, not null"),
        (pipeline({**extract(), "method": "fromDelta"}), "unknown method 'fromDelta' (did you mean 'fromDeltaLake'?)"),
        (pipeline(extract(path="in")), "the key 'format' is missing"),
        (pipeline({"type": "extract", "method": "fromRate"}), "the key 'rowsPerSecond' is missing"),
        (
            pipeline(extract(), validate("validateRanges", ranges={"a": {"min": [], "max": 1}})),
            "expected an integer or a number or a string",
        ),
        (
            pipeline(extract(), validate("validateRanges", ranges={"a": {"minimum": 1, "max": 1}})),
            "unknown key 'minimum' (did you mean 'min'?)",
        ),
        (
            pipeline(extract(), validate("validateSchema", expectedColumns=[{"name": "a"}])),
            "the key 'type' is missing",
        ),
        (pipeline(extract(), load(path="out", mode="replace")), "expected 'append', 'overwrite'"),
        (pipeline(extract(), load(path="out", mode="merge")), "mode merge needs 'mergeKeys'"),
        (pipeline(extract(), to_mysql(mode="merge")), "mode merge needs 'mergeKeys'"),
        (pipeline(extract(), to_mysql(mode="DELETEINSERT")), "mode deleteInsert needs 'mergeKeys'"),
        (pipeline(extract(), to_mysql(mergeKeys="id")), "'mergeKeys' needs mode merge or deleteInsert"),
        (pipeline(extract(), to_mysql(mode="merge", mergeKeys=["id", "ID"])), "'mergeKeys' names a column twice"),
        (
            pipeline(extract(), load("toFiles", path="out", format="csv", mode="merge")),
            "expected 'append', 'overwrite'",
        ),
        (pipeline(extract(), load(path="out", trigger="5 sex")), "unknown trigger '5 sex'"),
        (pipeline(extract(), load(path="a\0b")), "must not hold a NUL character"),
        (
            pipeline(extract(), load(path="~/lake")),
            "only a shell knows what '~' is: write the folder out, or '${env:HOME}/l",
        ),
        (pipeline(extract(), transform("filterRows", condition=" ")), "the SQL is empty"),
        (pipeline(extract(), transform("filterRows", condition="a; DROP TABLE b")), "expected one statement, not 2"),
        (pipeline(extract(), transform("filterRows", condition="a, b")), "expected one expression"),
        (pipeline(extract(), transform("filterRows", condition="a FROM t")), "expected one expression"),
        (pipeline(extract(), transform("filterRows", condition="a = 'x")), "Error tokenizing"),
        (pipeline(extract(), transform("filterRows", condition="(" * 9999)), "nested too deeply"),
        (pipeline(extract(), transform("filterRows", condition="a\n = = 1")), "line 2, column 4"),
        (pipeline(extract(), transform("sqlQuery", query="DROP TABLE flights")), "expected a SELECT"),
        (pipeline(extract(path="in", format="csv", schema="id BIGIN")), "expected a schema in Spark DDL"),
    ],
)
def test_a_mistake_is_said_in_the_words_of_the_format(value: object, message: str):
    found = messages_of(value)
    assert len(found) == 1, found
    assert message in found[0]


def test_a_model_that_finds_a_mistake_says_which_key_it_is():
    both = pipeline(extract("fromDeltaLake", path="t", version=3, timestamp="2026-01-01"))
    (problem,) = problems_of(both)
    assert problem.source_line == '        "timestamp": "2026-01-01"'


def test_a_missing_key_is_reported_where_it_should_stand():
    (problem,) = problems_of('{"name": "a", "mode": "batch", "steps": [\n{"type": "extract", "method": "fromRate"}]}')
    assert (problem.line, problem.column) == (2, 1)


def test_whatever_a_method_of_another_package_raises_is_a_mistake_in_the_file():
    from typing import ClassVar

    from pydantic import model_validator

    from pipeline_platform.config.loader import parse_pipeline
    from pipeline_platform.config.method_registry import Methods
    from pipeline_platform.exceptions import PipelineConfigurationException
    from pipeline_platform.steps.extract import Extract

    class FromNowhere(Extract):
        method: ClassVar[str] = "fromNowhere"

        @model_validator(mode="after")
        def _fails(self) -> FromNowhere:
            raise RuntimeError("no such place")

    text = '{"name": "a", "mode": "batch", "steps": [{"type": "extract", "method": "fromNowhere"}]}'
    methods: Methods = {"extract": {"fromNowhere": FromNowhere}, "transform": {}, "validate": {}, "load": {}}
    with pytest.raises(PipelineConfigurationException, match="no such place"):
        parse_pipeline(text, methods, Path("x.json"))


def one_line(*steps: dict[str, object]) -> str:
    """A pipeline on a single line."""
    return json.dumps(pipeline(*steps))


@pytest.mark.parametrize(
    ("step", "at"),
    [
        (transform("filterRows", condition="a > "), '> "'),
        (transform("filterRows", condition="a\n = = 1"), "= 1"),
        (transform("filterRows", condition='é\t"q" = = 😀'), '\\"q\\" ='),
        (transform("filterRows", condition="a\\ = = 'x'"), "\\\\ ="),
        (transform("filterRows", condition="coalesce(a, 'x"), "'x"),
        (transform("enrichData", columns={"b": "a + 1", "c": "a b c"}), 'c"}'),
        (validate("validateBusinessRules", rules=["a > 1", "(a > 2"]), '2"'),
        (transform("sqlQuery", query="  SELECT a,\n b c d FROM flights"), "d FROM"),
        (extract("fromPostgres", query="\n  SELECT a,\n b c d FROM flights;"), "d FROM"),
        (transform("filterRows", condition="a\n = 'x"), "'x"),
    ],
)
@pytest.mark.parametrize("ascii_only", [True, False])
def test_the_caret_stands_within_the_sql_whatever_escapes_come_before_it(
    step: dict[str, object], at: str, ascii_only: bool
):
    steps = (step,) if step["type"] == "extract" else (extract(), step)
    text = json.dumps(pipeline(*steps), ensure_ascii=ascii_only)
    (problem,) = problems_of(text)
    assert "SQL syntax" in problem.message
    assert text[problem.column - 1 :].startswith(at)


@pytest.mark.parametrize("condition", ["parse_json(a):x::int > 1", "a:b.c[0].d::string = 'x'", "a.b:c:d IS NOT NULL"])
def test_fields_of_a_variant_are_spark_s_sql(condition: str):
    assert read(pipeline(extract(), transform("filterRows", condition=condition), load()))


@pytest.mark.parametrize(
    ("step", "hint"),
    [
        ({**extract(), "method": "fromCsv"}, "read such files with 'fromFiles' and 'format': 'csv'"),
        ({**extract(), "method": "fromJSON"}, "read such files with 'fromFiles' and 'format': 'json'"),
        ({**load(), "method": "toParquet"}, "write such files with 'toFiles' and 'format': 'parquet'"),
        ({**extract(), "method": "fromPostgre"}, "did you mean 'fromPostgres'?"),
        ({**extract(), "method": "kafka"}, "did you mean 'fromKafka'?"),
        ({**validate("validateNull"), "method": "validateNull"}, "did you mean 'validateNulls'?"),
    ],
)
def test_only_a_method_that_is_near_is_offered(step: dict[str, object], hint: str):
    steps = (step,) if step["type"] == "extract" else (extract(), step)
    (problem,) = problems_of(pipeline(*steps))
    assert problem.hint == hint


def test_what_all_names_begin_with_makes_none_of_them_near():
    (problem,) = problems_of(pipeline({**extract(), "method": "fromExcel"}))
    assert problem.hint is not None
    assert problem.hint.startswith("valid: fromAvro, ")


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (transform("coalesce", numPartitions=2**31), "must be 2147483647 or less"),
        (transform("repartition", numPartitions=str(10**20)), "must be 2147483647 or less"),
        (extract("fromRate", rowsPerSecond=2**63), "must be 2147483647 or less"),
        (extract("fromDeltaLake", path="t", version=2**63), "must be 9223372036854775807 or less"),
        (extract("fromPostgres", table="t", fetchSize=2**31), "must be 2147483647 or less"),
        (extract("fromMySQL", table="t", port=65536), "must be 65535 or less"),
        (validate("validateRowCount", min=2**63), "must be 9223372036854775807 or less"),
        (validate("validateRanges", ranges={"a": {"max": 10**38}}), "no column holds a number of more than 38 digits"),
    ],
)
def test_a_number_that_spark_does_not_take_is_a_problem_at_its_place(step: dict[str, object], message: str):
    steps = (step,) if step["type"] == "extract" else (extract(), step)
    (problem,) = problems_of(pipeline(*steps))
    assert message in problem.message
    assert any(str(number) in str(problem.source_line) for number in (2**31, 10**20, 2**63, 65536, 10**38))


def test_a_number_that_is_infinite_is_a_problem_wherever_it_stands():
    ranges = one_line(extract(), validate("validateRanges", ranges={"a": {"max": 7}})).replace("7", "1e999")
    conf = json.dumps(pipeline(extract(), sparkConf={"x": 7})).replace("7", "-1e999")
    for text in (ranges, conf):
        (problem,) = problems_of(text)
        assert "the number is too large" in problem.message
        assert text[problem.column - 1 :].startswith(("1e999", "-1e999"))


def mistakes_on_one_line(count: int) -> str:
    wrong = [transform("filterRows", condition="a >", **{f"x{index}": 1}) for index in range(count)]
    return one_line(extract(), *wrong)


def test_what_is_looked_at_to_show_the_mistakes_of_a_file_grows_with_the_file_not_with_its_square(
    monkeypatch: pytest.MonkeyPatch,
):
    looked_at = 0

    def counting(text: str) -> str:
        nonlocal looked_at
        looked_at += len(text)
        return text

    monkeypatch.setattr("pipeline_platform.config.config_error.redact", counting)

    def work(count: int) -> int:
        nonlocal looked_at
        looked_at = 0
        problems = problems_of(mistakes_on_one_line(count))
        assert len(problems) == 2 * count
        looked_at = 0
        assert all(str(problem) for problem in problems)
        return looked_at

    assert work(200) < 2.2 * work(100)


def test_a_long_line_is_shown_in_part_and_no_part_of_a_secret_in_it_is():
    secret = "".join(f"{index:04}" for index in range(1000))
    steps = [extract("fromMySQL", table="t", password=secret, oops=1), extract("fromMySQL", table="t", oops=1)]
    text = json.dumps(pipeline(*(steps * 3)))
    assert len(text) > 12_000
    for problem in problems_of(text):
        assert problem.source_line is not None
        assert len(problem.source_line) < 9_000
        shown = str(problem)
        assert caret_is_at(shown, '"oops"')
        assert not any(secret[start : start + 8] in shown for start in range(0, len(secret), 4))


def caret_is_at(shown: str, text: str) -> bool:
    _, line, caret = shown.splitlines()
    return line[caret.index("^") :].startswith(text)


def test_of_many_names_that_are_not_registered_all_are_told_and_the_first_get_a_guess():
    frames = [extract("fromRate", rowsPerSecond=1, registerAs=f"frame{index}") for index in range(50)]
    wrong = [transform("filterRows", condition="a", input=f"farme{index}") for index in range(50)]
    problems = problems_of(pipeline(*frames, *wrong))
    assert len(problems) == 50
    assert sum(problem.hint is not None and "did you mean" in problem.hint for problem in problems) == 20


@pytest.mark.parametrize("written", ["${env:FRAME}", "${env:NO_FRAME:-flights}"])
def test_a_variable_names_a_registered_frame_wherever_one_may_stand(written: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FRAME", "flights")
    found = read(
        pipeline(
            extract(path="a", format="csv", registerAs="flights"),
            extract(path="b", format="csv", registerAs="other"),
            transform(
                "joinDataFrames",
                inputDataFrames=[written, "other"],
                joinColumn="id",
                broadcast=written,
                watermarks={written: {"column": "at", "delay": "1 minute"}},
            ),
            transform("unionDataFrames", inputDataFrames=[written, "other"]),
            validate(
                "validateReferentialIntegrity", foreignKey="a", referencedDataFrame=written, referencedColumn="id"
            ),
            load(),
        )
    )
    for step in found.steps[2:5]:
        assert "flights" in {edge.name for edge in step.inputs}


def test_a_frame_whose_variable_is_not_set_is_told_at_its_place():
    union = transform("unionDataFrames", inputDataFrames=["flights", "${env:NO_FRAME}"])
    (problem,) = problems_of(pipeline(extract(path="a", format="csv", registerAs="flights"), union))
    assert "the environment variable NO_FRAME is not set" in problem.message
    assert problem.source_line is not None
    assert "NO_FRAME" in problem.source_line


@pytest.mark.parametrize("terms", [2_000, 20_000])
def test_an_expression_that_is_too_deep_is_told_in_words(terms: int):
    (problem,) = problems_of(pipeline(extract(), transform("enrichData", columns={"b": " + ".join(["a"] * terms)})))
    assert "nested too deeply" in problem.message
    assert "RecursionError" not in problem.message
