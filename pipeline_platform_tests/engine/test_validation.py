"""What a run makes of validations: what it stops, what it writes, what it tells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from devtools.pipelines import extract, load, run_by_name, transform, validate, wrote_nothing
from pipeline_platform.config.step import Step
from pipeline_platform.engine import execution
from pipeline_platform.engine.validation_run import kept_block
from pipeline_platform.exceptions import PipelineExecutionException, ValidationException
from pipeline_platform_tests.duckdb_rows import Table, duckdb_rows, rows_of
from pipeline_platform_tests.validations.blocks import outcome, validation

PEOPLE = Table(
    "id BIGINT, age BIGINT, mail STRING",
    [(1, 30, "a@x"), (2, -1, "b@x"), (2, 200, None), (3, None, "c@x"), (None, 40, "d@x"), (4, 50, "e@x")],
)


@pytest.fixture(scope="module")
def people(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("validation") / "people"
    PEOPLE.frame(spark).write.parquet(str(path))
    return path


def all_of(people: Path) -> dict[str, Any]:
    return extract("fromFiles", path=str(people), format="parquet", registerAs="people")


AGES = {"ranges": {"age": {"min": 0, "max": 120}}}


@pytest.mark.parametrize(
    ("tolerance", "passed"),
    [(0, False), (1, False), (2, True), ("2", True), (0.33, False), (0.34, True), ("0.5", True)],
)
def test_a_tolerance_is_a_count_or_a_fraction_of_the_rows(spark: Any, tolerance: Any, passed: bool):
    found = outcome(PEOPLE.frame(spark), validation("validateRanges", **AGES, tolerance=tolerance))
    assert found.rule.violations == 2
    assert found.rule.passed is passed


def test_a_fraction_is_taken_as_it_is_written(spark: Any):
    check = validation("validateBusinessRules", rules=["id >= 29"], tolerance=0.29)
    assert outcome(spark.range(100), check).rule.passed


def test_with_quarantine_the_tolerance_only_says_whether_the_check_passed(spark: Any):
    for tolerance, passed in ((1, False), (2, True)):
        check = validation("validateRanges", **AGES, tolerance=tolerance, onFailure="quarantine")
        found = outcome(PEOPLE.frame(spark), check)
        assert found.rule.passed is passed
        assert len(found.quarantined) == 2
        assert len(found.passed) == 4


def test_what_one_validation_puts_in_quarantine_the_next_does_not_see(spark: Any):
    found = outcome(
        PEOPLE.frame(spark),
        validation("validateRanges", **AGES, onFailure="quarantine"),
        validation("validateUnique", columns="id", onFailure="warn"),
        validation("validateNulls", notNullColumns=["mail"], onFailure="quarantine"),
        validation("validateRowCount", max=4),
    )
    assert [rule.violations for check in (1, 2, 3, 4) for rule in found.rules(check)] == [2, 0, 0, 0]
    assert found.result.rows == {1: 6, 2: 4, 3: 4, 4: 4}
    assert found.result.quarantined == {1: 2, 2: None, 3: 0, 4: None}
    assert {reasons for *_, reasons in ((*row[:-1], tuple(row[-1])) for row in found.reasons)} == {
        ("check_1: age between 0 and 120",)
    }


def test_a_row_in_quarantine_has_every_rule_of_the_validation_that_it_broke(spark: Any):
    check = validation("validateNulls", notNullColumns=["mail", "age", "id"], onFailure="quarantine")
    frame = Table("id BIGINT, age BIGINT, mail STRING", [(None, 1, None), (1, 1, "m")]).frame(spark)
    [(*_, reasons)] = outcome(frame, check).reasons
    assert reasons == ["check_1: mail is not null", "check_1: id is not null"]


def test_samples_show_the_columns_of_the_rule_and_nothing_else(spark: Any):
    found = outcome(PEOPLE.frame(spark), validation("validateRanges", **AGES))
    assert sorted(sample["age"] for sample in found.rule.samples) == [-1, 200]
    assert all(set(sample) == {"age"} for sample in found.rule.samples)


def test_a_sample_has_a_time_to_its_microsecond(spark: Any):
    made = "TIMESTAMP '2026-01-01 00:00:00.123456Z'"
    frame = spark.sql(f"SELECT {made} AS at, CAST({made} AS TIMESTAMP_NTZ) AS there")
    rules = [{"name": "late", "rule": "at > '2027-01-01' AND there > '2027-01-01'"}]
    found = outcome(frame, validation("validateBusinessRules", rules=rules, onFailure="warn"))
    assert found.rule.samples == [{"at": "2026-01-01T00:00:00.123456Z", "there": "2026-01-01T00:00:00.123456"}]


def test_there_are_only_a_few_samples(spark: Any):
    found = outcome(spark.range(1000), validation("validateBusinessRules", rules=["id < 10"]))
    assert found.rule.violations == 990
    assert 1 <= len(found.rule.samples) <= 3
    assert all(sample["id"] >= 10 for sample in found.rule.samples)


def test_no_sample_shows_a_sensitive_column_or_one_that_looks_secret(spark: Any):
    frame = Table("MAIL STRING, password STRING, n INT", [("a@x", "hunter2", 1)]).frame(spark)
    check = validation(
        "validateBusinessRules", rules=["length(MAIL) > 9 AND length(password) > 9 AND n > 9"], sensitiveColumns="mail"
    )
    [sample] = outcome(frame, check).rule.samples
    assert sample == {"MAIL": "***", "password": "***", "n": 1}


def test_a_broken_rule_stops_the_run_and_nothing_after_it_is_loaded(spark: Any, people: Path, tmp_path: Path):
    steps = [all_of(people), validate("validateRanges", **AGES), load("toDeltaLake", path=str(tmp_path / "sink"))]
    with pytest.raises(ValidationException) as raised:
        run_by_name(spark, *steps)
    error = raised.value
    assert (error.rule, error.violations, error.rows) == ("age between 0 and 120", 2, 6)
    assert {"age": -1} in error.samples
    text = str(error)
    assert "step 2 (validate validateRanges)" in text
    assert "2 of 6 rows (33.33%) break 'age between 0 and 120'" in text
    assert '{"age": -1}' in text
    assert not DeltaTable.is_deltatable(str(tmp_path / "sink"))


@pytest.mark.parametrize(
    ("sink", "files"),
    [
        ({"method": "toDeltaLake", "mode": "overwrite"}, None),
        ({"method": "toFiles", "format": "parquet", "mode": "overwrite"}, "*.parquet"),
    ],
    ids=["delta", "files"],
)
def test_a_load_that_a_rule_stops_leaves_its_sink_as_it_was_and_the_next_one_loads(
    spark: Any, people: Path, tmp_path: Path, sink: dict[str, Any], files: str | None
):
    path = tmp_path / "sink"

    def run(condition: str, last: int) -> None:
        rules = [f"id < {last}"]
        keeping, check = transform("filterRows", condition=condition), validate("validateBusinessRules", rules=rules)
        run_by_name(spark, all_of(people), keeping, check, load(**sink, path=str(path)))

    def ids() -> list[int | None]:
        found = [str(file) for file in path.glob(files)] if files else DeltaTable(path).file_uris()
        return sorted(row[0] for row in duckdb.connect().read_parquet(found).project("id").fetchall())

    with pytest.raises(ValidationException, match=r"1 of 6 rows .* break 'id < 4'"):
        run("true", 4)
    run("id < 3", 4)
    assert ids() == [1, 2, 2]
    there = sorted(path.rglob("*"))
    with pytest.raises(ValidationException, match=r"1 of 2 rows .* break 'id < 4'"):
        run("id > 2", 4)
    assert ids() == [1, 2, 2]
    # Files that belong to no version of a Delta table are left until they are vacuumed.
    assert files is None or sorted(path.rglob("*")) == there
    run("id > 2", 5)
    assert ids() == [3, 4]


@pytest.mark.parametrize(("kind", "most", "loaded"), [("inner", 1, 1), ("leftSemi", 1, 1), ("left", 7, 2)])
def test_a_load_that_carries_out_rules_looks_at_no_row_that_a_join_takes_out(
    spark: Any, tmp_path: Path, kind: str, most: int, loaded: int
):
    """Nor at one of the other side, which the optimizer knows to be equal: nothing matches the code 99."""
    for name, column, values in (("left", "id", (1, 7)), ("right", "code", (1, 99))):
        Table(f"{column} INT", [(value,) for value in values]).frame(spark).write.parquet(str(tmp_path / name))
    left, right = (
        extract("fromFiles", path=str(tmp_path / name), format="parquet", registerAs=name) for name in ("left", "right")
    )
    both = transform(
        "joinDataFrames", inputDataFrames=["left", "right"], joinConditions=["left.id = right.code"], joinType=kind
    )
    rule, sink = validate("validateRanges", ranges={"id": {"max": most}}), load("toDeltaLake", path=str(tmp_path / "s"))
    run_by_name(spark, left, right, both, rule, sink)
    found = duckdb.connect().read_parquet(DeltaTable(tmp_path / "s").file_uris()).project("id").fetchall()
    assert sorted(found) == [(1,), (7,)][:loaded]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT age FROM people GROUP BY age HAVING max(id) > 2",
        "SELECT p.id, p.age FROM people p LEFT JOIN people q ON p.mail = q.mail WHERE q.id = 4",
        "SELECT age FROM (SELECT age, explode(IF(age = 200, array(), array(1))) FROM people WHERE age > 30)",
    ],
    ids=["having", "join", "explode"],
)
def test_a_load_that_carries_out_rules_looks_at_no_row_that_a_query_leaves_out(
    spark: Any, people: Path, tmp_path: Path, query: str
):
    rule = validate("validateRanges", **AGES)
    run_by_name(
        spark, all_of(people), transform("sqlQuery", query=query), rule, load("toDeltaLake", path=f"{tmp_path}/s")
    )


def test_a_rule_that_is_broken_only_while_rows_are_loaded_is_told_as_that(
    spark: Any, people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """As one with rand() may be."""
    monkeypatch.setattr(execution, "broken_block", lambda block: kept_block(block, 6))
    with pytest.raises(PipelineExecutionException, match=r"none did when the rows were read once more") as raised:
        run_by_name(
            spark, all_of(people), validate("validateRanges", **AGES), load("toDeltaLake", path=f"{tmp_path}/s")
        )
    assert raised.value.location is not None
    assert raised.value.location.method == "validateRanges"
    assert not DeltaTable.is_deltatable(f"{tmp_path}/s")


@pytest.mark.parametrize(
    "step",
    [
        validate("validateBusinessRules", rules=[{"name": "share", "rule": "100 / (age + 1) > 0"}]),
        transform("enrichData", columns={"share": "100 / (age + 1)"}),
        transform("sqlQuery", query="SELECT *, 100 / (age + 1) AS share FROM people"),
    ],
    ids=lambda step: step["method"],
)
def test_an_expression_that_fails_while_rows_are_loaded_is_told_of_its_own_step(
    spark: Any, people: Path, tmp_path: Path, step: dict[str, Any]
):
    with pytest.raises(PipelineExecutionException, match="Division by zero") as raised:
        run_by_name(spark, all_of(people), step, load("toDeltaLake", path=f"{tmp_path}/sink"))
    assert raised.value.location is not None
    assert raised.value.location.method == step["method"]
    assert not DeltaTable.is_deltatable(f"{tmp_path}/sink")


def test_only_a_load_behind_rules_about_rows_that_stop_the_run_carries_them_out(
    spark: Any, people: Path, tmp_path: Path
):
    """Where anything else is asked, all rows are validated before the first is written."""
    ages = validate("validateRanges", **AGES)
    to_delta = load("toDeltaLake", path=str(tmp_path / "sink"))
    for checks in (
        [validate("validateUnique", columns=["id"])],
        [ages, validate("validateRowCount", min=1)],
        [validate("validateRanges", **AGES, tolerance=1)],
        [ages, transform("filterRows", condition="age = 30")],
    ):
        with pytest.raises(ValidationException):
            run_by_name(spark, all_of(people), *checks, to_delta)
        assert wrote_nothing(tmp_path / "sink")


def test_a_warning_lets_the_run_go_on_and_reports(spark: Any, people: Path, tmp_path: Path):
    found = run_by_name(
        spark,
        all_of(people),
        validate("validateRanges", **AGES, onFailure="warn"),
        load("toDeltaLake", path=str(tmp_path / "sink")),
    )
    check = found["validate_ranges"]
    assert (check.status, check.passed, check.blocking) == ("COMPLETED", False, False)
    assert found["to_delta_lake"].rows == 6


def quarantines(people: Path, tmp_path: Path, last: str) -> list[dict[str, Any]]:
    return [
        all_of(people),
        validate("validateRanges", **AGES, onFailure="quarantine"),
        validate("validateNulls", notNullColumns="id", onFailure="quarantine", quarantinePath=str(tmp_path / "nulls")),
        validate("validateBusinessRules", rules=[last]),
        load("toDeltaLake", path=str(tmp_path / "sink")),
    ]


def test_nothing_goes_to_quarantine_or_sink_when_a_later_rule_stops_the_run(spark: Any, people: Path, tmp_path: Path):
    with pytest.raises(ValidationException, match=r"1 of 3 rows .* break 'id < 4'"):
        run_by_name(spark, *quarantines(people, tmp_path, "id < 4"))
    assert wrote_nothing(*(tmp_path / name for name in ("sink", "nulls", "sink_quarantine")))


def test_each_quarantine_gets_its_own_rows_and_the_sink_the_rest(spark: Any, people: Path, tmp_path: Path):
    steps = quarantines(people, tmp_path, "id < 5")
    steps[1]["config"]["quarantinePath"] = str(tmp_path / "ages")
    found = run_by_name(spark, *steps)

    def written(name: str) -> Any:
        return rows_of(
            spark.read.format("delta")
            .load(str(tmp_path / name))
            .drop("_violations", "_step", "_quarantined_at", "_quarantined_by")
        )

    out = "age NOT BETWEEN 0 AND 120"
    assert written("ages") == duckdb_rows(f"SELECT * FROM people WHERE {out}", people=PEOPLE)
    assert written("nulls") == duckdb_rows(
        f"SELECT * FROM people WHERE NOT coalesce({out}, false) AND id IS NULL", people=PEOPLE
    )
    assert written("sink") == duckdb_rows(
        f"SELECT * FROM people WHERE NOT coalesce({out}, false) AND id IS NOT NULL", people=PEOPLE
    )
    assert [found[name].quarantined for name in ("validate_ranges", "validate_nulls")] == [2, 1]
    assert found["people"].rows == 6
    assert found["to_delta_lake"].rows == 3


def test_without_a_path_of_its_own_the_quarantine_is_beside_the_sink(spark: Any, people: Path, tmp_path: Path):
    steps = [all_of(people), validate("validateRanges", **AGES, onFailure="quarantine")]
    run_by_name(spark, *steps, load("toDeltaLake", path=str(tmp_path / "sink")))
    rows = spark.read.format("delta").load(str(tmp_path / "sink_quarantine")).collect()
    assert sorted((row["age"], row["_violations"]) for row in rows) == [
        (-1, ["validate_ranges: age between 0 and 120"]),
        (200, ["validate_ranges: age between 0 and 120"]),
    ]


@pytest.mark.parametrize("name", ["table", "50% off"])
def test_rows_that_come_after_the_validation_are_not_loaded(spark: Any, tmp_path: Path, name: str):
    source, out = str(tmp_path / name), tmp_path / "out"
    spark.range(10).write.format("delta").save(source)

    def add_unvalidated_rows(event: str, step: Step, _: Any) -> None:
        if event == "finished" and step.type == "validate":
            spark.range(-5, 0).write.format("delta").mode("append").save(source)

    run_by_name(
        spark,
        extract("fromDeltaLake", path=source),
        validate("validateRanges", ranges={"id": {"min": 0}}),
        load("toDeltaLake", path=str(out)),
        listener=add_unvalidated_rows,
    )
    assert sorted(DeltaTable(out).to_pyarrow_table()["id"].to_pylist()) == list(range(10))
