"""Profiles against DuckDB, and what is proposed: nothing that the data breaks, and what it speaks for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pytest
from typer.testing import CliRunner

from devtools.pipelines import extract, load, run_by_name, validate
from pipeline_platform.cli import app
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.profiling.column_profile import ColumnProfile
from pipeline_platform.profiling.proposals import merged, proposals
from pipeline_platform.profiling.table_profile import STEP, as_json, table_pipeline, table_profile
from pipeline_platform_tests.config.reading import pipeline, read

ROWS = 1000
COLUMNS = """
    range AS id, range % 9 AS digit, 'C-' || lpad((range * 7 % 997)::VARCHAR, 4, '0') AS code,
    ['red', 'green'][1 + range % 2] AS colour, range / 1000.0 AS share, (range - 500)::DECIMAL(12, 2) AS change,
    CASE WHEN range % 50 = 0 THEN NULL ELSE 'note ' || range END AS "a note",
    'u' || range || '@example.org' AS mail, 'secret' || range AS password,
    CASE range % 3 WHEN 0 THEN 'NaN'::DOUBLE WHEN 1 THEN -0.0 ELSE 0.0 END AS odd,
    DATE '2026-01-01' + (range % 28)::INT AS "day.of", {'town': 'Oslo'} AS place, MAP {'a': 1} AS tags,
    NULL::INT AS nothing, CASE WHEN range = 999 THEN 'x' ELSE 'AB' END AS rare
"""


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("profile") / "table.parquet"
    fetched(f"COPY (SELECT {COLUMNS} FROM range({ROWS})) TO '{path}' (FORMAT parquet)")
    return path


@pytest.fixture(scope="module")
def profiled(spark: Any, table: Path) -> Any:
    return table_profile(table_pipeline(str(table), None), STEP)


def fetched(sql: str) -> list[Any]:
    with duckdb.connect() as connection:
        return connection.execute(sql).fetchall()


def test_what_is_in_each_column_is_what_duckdb_finds(profiled: Any, table: Path):
    assert profiled.rows == ROWS
    for column in profiled.columns:
        name = column.name.replace('"', '""')
        counts = f'count(*) - count("{name}"), count(DISTINCT "{name}")'
        [(nulls, distinct)] = fetched(f"SELECT {counts} FROM '{table}'")
        assert column.nulls == nulls, column
        if column.type.startswith("map"):
            assert column.distinct is None
        else:
            assert column.distinct == pytest.approx(distinct, rel=0.1), column
    by_name = {column.name: column for column in profiled.columns}
    colours = fetched(f"SELECT colour, count(*) FROM '{table}' GROUP BY 1 ORDER BY 2 DESC, 1")
    assert by_name["colour"].values == colours
    assert (by_name["change"].least, by_name["change"].most) == ("-500.00", "499.00")
    assert (by_name["code"].lengths, by_name["code"].shapes) == ((6, 6), [("A-9999", ROWS)])
    assert by_name["odd"].nans == 334
    assert (by_name["day.of"].least, by_name["nothing"].most) == ("2026-01-01", None)


PROPOSED = {
    "validateRowCount": {"min": 1},
    "validateUnique": {"columns": ["id"]},
    "validateValues": {"values": {"colour": ["green", "red"]}},
    "validateRanges": {"ranges": {"digit": {"min": 0}, "share": {"min": 0, "max": 1}}},
    "validatePatterns": {"patterns": {"code": r"^[A-Z]-[0-9]{4}\z", "mail": r"^[^@\s]+@[^@\s]+\.[^@\s]+\z"}},
    "validateStatistics": {"columns": {"a note": {"nullShare": {"max": 0.04}}}},
}


def test_rules_are_proposed_that_the_data_speaks_for_and_each_with_what_speaks_for_it(profiled: Any):
    first: dict[str, Any] = {}
    for proposal in profiled.proposals:
        assert proposal.evidence
        first.setdefault(proposal.method, proposal.config)
    nulls = first.pop("validateNulls")["notNullColumns"]
    assert set(nulls) == {column.name for column in profiled.columns} - {"a note", "nothing"}
    assert first == PROPOSED


def test_the_proposed_steps_are_right_for_check_and_no_row_of_the_data_breaks_them(
    spark: Any, profiled: Any, table: Path, tmp_path: Path
):
    steps = [one["step"] for one in json.loads(json.dumps(as_json(profiled)))["proposals"]]
    source = extract("fromFiles", path=str(table), format="parquet")
    assert len(read(pipeline(source, *steps, load("toDeltaLake", path="out"))).steps) == len(steps) + 2
    strict = [validate(step["method"], **{**step["config"], "onFailure": "fail"}) for step in steps]
    found = run_by_name(spark, source, *strict)
    rules = [rule for step in found.values() for rule in step.rules]
    assert len(rules) > len(steps)
    assert all(rule.passed for rule in rules)


def test_a_rule_that_a_single_row_breaks_is_not_proposed(profiled: Any):
    proposed = json.dumps([one.step() for one in profiled.proposals])
    # 'code' has three values twice, and 'rare' one row of another form.
    assert '{"columns": ["code"]' not in proposed
    assert "rare" not in proposed.replace('"rare"', "", 1)


def test_no_value_of_a_column_that_looks_secret_is_shown_or_in_a_rule(profiled: Any):
    shown = json.dumps(as_json(profiled))
    assert "secret9" not in shown
    [password] = [column for column in as_json(profiled)["columns"] if column["name"] == "password"]
    assert password == {
        "name": "password",
        "type": "string",
        "nulls": 0,
        "distinct": password["distinct"],
        "hidden": True,
    }


def column(**known: Any) -> ColumnProfile:
    """A column of a thousand texts, unless something else is known of it."""
    facts: dict[str, Any] = {"name": "a", "type": "string", "kind": "text", "rows": 1000, "nulls": 0, **known}
    return ColumnProfile(**facts)


def methods(*columns: ColumnProfile) -> Sequence[str]:
    return [one.method for one in proposals(columns) if one.method not in ("validateRowCount", "validateNulls")]


@pytest.mark.parametrize(
    ("known", "proposed"),
    [
        ({"distinct": 2, "values": [("x", 996), ("y", 4)]}, []),
        ({"distinct": 2, "values": [("x", 995), ("y", 5)]}, ["validateValues"]),
        ({"distinct": 1, "values": [("x", 1000)]}, []),
        ({"distinct": 500, "lengths": (7, 7)}, ["validateLengths"]),
        ({"distinct": 500, "lengths": (7, 8)}, []),
        ({"distinct": 500, "shapes": [("Ab-9", 1000)]}, ["validatePatterns"]),
        ({"distinct": 500, "shapes": [("Ä-9", 1000)]}, []),
        ({"nulls": 200}, ["validateStatistics"]),
        ({"nulls": 201}, []),
        ({"kind": "number", "least": "0.5", "most": "NaN", "nans": 1}, []),
        ({"kind": "number", "least": "0.5", "most": "Infinity"}, []),
        ({"kind": "number", "least": "-0.5", "most": "7"}, []),
        ({"kind": "number", "least": "-0.0", "most": "1e300"}, ["validateRanges"]),
        ({"kind": "whole", "distinct": 900, "least": "1", "most": "1000"}, ["validateUnique"]),
        ({"kind": "number", "distinct": 1000, "least": "-1", "most": "1000"}, []),
        ({"kind": "date", "distinct": 1000, "least": "2026-01-01", "most": "2026-02-01"}, []),
    ],
)
def test_only_what_is_hardly_chance_is_proposed(known: dict[str, Any], proposed: list[str]):
    assert methods(column(**known)) == proposed


def test_nothing_is_proposed_from_a_few_rows():
    assert proposals([column(rows=99)]) == []
    assert proposals([]) == []
    assert merged([]) == []


@pytest.mark.parametrize(("pattern", "shape"), [(r"^[A-Z]{2}\.[0-9]\z", "AA.9"), (r"^\([a-z]\) /\\\z", "(a) /\\")])
def test_a_form_is_a_pattern_of_java(pattern: str, shape: str):
    [_, _, proposal] = proposals([column(distinct=500, shapes=[(shape, 1000)])])
    assert proposal.config == {"patterns": {"a": pattern}}


def test_the_command_prints_steps_to_paste_and_as_json_the_same(spark: Any, table: Path):
    done = CliRunner().invoke(app, ["profile", str(table)])
    assert done.exit_code == 0, done.output
    pasted = [json.loads(line.rstrip(",")) for line in done.stdout.splitlines() if line.startswith("{")]
    in_json = json.loads(CliRunner().invoke(app, ["profile", str(table), "--json"]).stdout)
    assert pasted == [one["step"] for one in in_json["proposals"]]


def test_a_step_of_a_pipeline_is_profiled_too(spark: Any, table: Path, tmp_path: Path):
    file = tmp_path / "flow.json"
    source = {"type": "extract", "method": "fromFiles", "config": {"path": str(table), "format": "parquet"}}
    few = {"type": "transform", "method": "filterRows", "name": "few", "config": {"condition": "id < 20"}}
    file.write_text(json.dumps(pipeline(source, few)))
    done = CliRunner().invoke(app, ["profile", str(file), "--step", "few"])
    assert done.exit_code == 0, done.output
    assert "20 rows: no rule is proposed from fewer than 100" in done.stdout
    done = CliRunner().invoke(app, ["profile", str(file), "--step", "fwe"])
    assert "there is no step called fwe; the steps are from_files, few" in done.output


def test_a_path_that_does_not_tell_what_it_is_asks_for_a_format(tmp_path: Path):
    (tmp_path / "mixed").mkdir()
    (tmp_path / "mixed" / "a.csv").touch()
    (tmp_path / "mixed" / "b.parquet").touch()
    with pytest.raises(PipelineConfigurationException, match="does not tell what is in it") as raised:
        table_pipeline(str(tmp_path / "mixed"), None)
    assert raised.value.hint == "say so with --format, which is one of delta, parquet, csv, json, orc, avro"
    with pytest.raises(PipelineConfigurationException, match="there is nothing at"):
        table_pipeline(str(tmp_path / "none"), None)
    (tmp_path / "flow.json").write_text(json.dumps(pipeline(extract("fromRate"))))
    with pytest.raises(PipelineConfigurationException, match="is a pipeline"):
        table_pipeline(str(tmp_path / "flow.json"), None)
    assert table_pipeline("s3a://lake/orders", None).steps[0].config.method == "fromDeltaLake"
    assert table_pipeline(str(tmp_path / "mixed"), "avro").steps[0].config.method == "fromAvro"
