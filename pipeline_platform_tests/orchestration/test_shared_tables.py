"""Pipelines that write one table: which pairs lose rows, and are not both loaded or are warned of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline_platform.cli import app
from pipeline_platform.config.loader import parse_pipelines
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.orchestration.project import side_by_side
from pipeline_platform.orchestration.replaced_tables import replaced_tables
from pipeline_platform.registry import method_registry
from pipeline_platform_tests.config.reading import Json, extract, load, pipeline, validate

DAILY = {"type": "daily", "start": "2024-01-01", "column": "day"}
UNTIL = {**DAILY, "end": "2024-02-01"}
SINCE = {**DAILY, "start": "2024-02-01"}
MONTHLY = {**UNTIL, "type": "monthly"}
WEEKLY = {**DAILY, "type": "weekly"}
KEYS = {"type": "static", "keys": ["a", "b"], "column": "k"}
OTHER_KEYS = {"type": "static", "keys": ["c"], "column": "K"}
SHOPS = {"type": "dynamic", "name": "shops", "column": "k"}

ALL = {"path": "out", "mode": "overwrite"}
MERGE = {"path": "out", "mode": "merge", "mergeKeys": ["id"]}
APPEND = {"path": "out"}
CHANGES: Json = {"path": "out", "mode": "applyChanges", "changes": {"keys": ["id"], "sequenceBy": "at"}}
TRUNCATED = {**CHANGES, "changes": {**CHANGES["changes"], "truncateWhen": "op = 't'"}}
WHERE = {**ALL, "replaceWhere": "k = 'c'"}
PRESENT = {**ALL, "partitionBy": ["k"], "partitionOverwrite": "dynamic"}
BY_KEY = {**ALL, "path": "out/${partition:key}"}
BY_START = {**ALL, "path": "out/${partition:start}"}
FILES = load("toFiles", path="out", format="csv", mode="overwrite", partitionBy=["day"])
QUARANTINE = validate("validateNulls", notNullColumns=["id"], onFailure="quarantine", quarantinePath="out")
GROUPS = load("toPostgres", table="t", mode="deleteInsert", mergeKeys="k", credentialPath="secret/s")
ROWS = load("toPostgres", table="T", mode="merge", mergeKeys="k", credentialPath="secret/s")

Half = tuple[Json | None, Json]
"""The partitions of a pipeline and a step of it, or the config of a `toDeltaLake`."""
DAYS: Half = (DAILY, ALL)

CLASHES: list[tuple[Half, Half, str]] = [
    (DAYS, (None, ALL), "this load replaces all rows with each run"),
    ((None, ALL), DAYS, "step 2 of 'one' (one.json) replaces all rows with each run, and with them what this load"),
    (DAYS, DAYS, "this load replaces all rows of a partition whenever it is loaded"),
    (DAYS, (None, APPEND), "step 2 of 'one' (one.json) replaces all rows of a partition whenever it is loaded"),
    (DAYS, (None, MERGE), "step 2 of 'one' (one.json) replaces all rows of a partition"),
    (DAYS, (None, CHANGES), "step 2 of 'one' (one.json) replaces all rows of a partition"),
    ((None, CHANGES), DAYS, "this load replaces all rows of a partition"),
    (DAYS, (None, WHERE), "this load replaces the rows of its 'replaceWhere' with each run"),
    (DAYS, (None, PRESENT), "this load replaces the partitions that it has rows for with each run"),
    (DAYS, (DAILY, MERGE), "step 2 of 'one' (one.json) replaces all rows of a partition"),
    (DAYS, (DAILY, PRESENT), "this load replaces the partitions that it has rows for whenever a partition is loaded"),
    (DAYS, (None, QUARANTINE), "with them what the quarantine of this step has put there"),
    ((None, QUARANTINE), DAYS, "with them what the quarantine of step 2 of 'one' (one.json) has put there"),
    ((UNTIL, ALL), (SINCE, QUARANTINE), "with them what the quarantine of this step has put there"),
    (DAYS, (MONTHLY, MERGE), "step 2 of 'one' (one.json) replaces all rows of a partition"),
    ((UNTIL, ALL), ({**SINCE, "start": "2024-01-31"}, ALL), "this load replaces all rows of a partition"),
    ((UNTIL, ALL), ({**SINCE, "timezone": "Asia/Tokyo"}, ALL), "this load replaces all rows of a partition"),
    ((UNTIL, ALL), ({**SINCE, "column": "loaded_on"}, ALL), "this load replaces all rows of a partition"),
    ((KEYS, ALL), ({**OTHER_KEYS, "keys": ["c", "b"]}, ALL), "this load replaces all rows of a partition"),
    ((KEYS, ALL), ({**OTHER_KEYS, "column": "j"}, ALL), "this load replaces all rows of a partition"),
    ((KEYS, ALL), (SHOPS, MERGE), "step 2 of 'one' (one.json) replaces all rows of a partition"),
    ((KEYS, ALL), DAYS, "this load replaces all rows of a partition"),
    ((DAILY, FILES), (None, APPEND), "step 2 of 'one' (one.json) replaces all rows of a partition"),
    ((KEYS, BY_KEY), (None, {**APPEND, "path": "out/a"}), "replaces all rows of the table of a partition"),
    ((None, {**ALL, "path": "out/a"}), (KEYS, {**BY_KEY, **MERGE, "path": BY_KEY["path"]}), "replaces all rows with"),
    ((SHOPS, BY_KEY), (None, {**APPEND, "path": "out/x"}), "replaces all rows of the table of a partition"),
    ((DAILY, BY_KEY), (None, {**APPEND, "path": "out/2024-03-01"}), "replaces all rows of the table of a partition"),
    (
        (KEYS, BY_KEY),
        ({**OTHER_KEYS, "keys": ["b"]}, BY_KEY),
        "this load replaces all rows of the table of a partition",
    ),
    ((DAILY, BY_START), (None, {**APPEND, "path": "out/2024-03-01"}), "replaces all rows of a partition"),
    ((None, {**APPEND, "path": "out/2024-03-01"}), (DAILY, BY_START), "this load replaces all rows of a partition"),
    ((DAILY, BY_START), (DAILY, {**BY_KEY, "path": "out/${partition:key}"}), "replaces all rows of the table of a"),
    ((DAILY, BY_START), (DAILY, {**MERGE, "path": "out/${partition:start}"}), "replaces all rows of a partition"),
    ((KEYS, {**BY_KEY, "path": "o/${partition:key}/t"}), (SHOPS, {**BY_KEY, "path": "o/a/${partition:key}"}), "this"),
    ((KEYS, BY_KEY), (OTHER_KEYS, {**MERGE, "path": "out/a"}), "replaces all rows of the table of a partition"),
    ((WEEKLY, BY_KEY), (None, {**APPEND, "path": "out/2024-01-08"}), "replaces all rows of the table of a partition"),
    ((DAILY, BY_KEY), (MONTHLY, BY_KEY), "this load replaces all rows of the table of a partition"),
    ((UNTIL, TRUNCATED), (SINCE, MERGE), "deletes all rows by its 'truncateWhen' whenever a partition is loaded"),
    ((DAILY, ROWS), (None, GROUPS), "this load deletes the groups that it has rows of with each run"),
]
NO_CLASHES: list[tuple[Half, Half]] = [
    ((KEYS, ALL), (OTHER_KEYS, ALL)),
    ((KEYS, ALL), (OTHER_KEYS, MERGE)),
    ((KEYS, ALL), (None, WHERE)),
    ((MONTHLY, ALL), (SINCE, ALL)),
    ((UNTIL, ALL), (SINCE, MERGE)),
    ((UNTIL, FILES), (SINCE, FILES)),
    ((DAILY, MERGE), (MONTHLY, MERGE)),
    ((DAILY, MERGE), (KEYS, MERGE)),
    ((DAILY, MERGE), (None, APPEND)),
    ((DAILY, MERGE), (None, QUARANTINE)),
    (DAYS, (None, {**APPEND, "path": "other"})),
    (DAYS, (DAILY, BY_KEY)),
    ((KEYS, BY_KEY), (None, {**APPEND, "path": "out/c"})),
    ((KEYS, BY_KEY), (OTHER_KEYS, BY_KEY)),
    ((DAILY, BY_KEY), (None, {**APPEND, "path": "out/2023-12-31"})),
    ((DAILY, BY_KEY), (None, {**APPEND, "path": "out/latest"})),
    ((DAILY, BY_START), (None, {**APPEND, "path": "other/2024-03-01"})),
    ((UNTIL, BY_START), (SINCE, BY_START)),
    ((SHOPS, BY_KEY), (None, {**APPEND, "path": "out/a/b"})),
    ((MONTHLY, BY_KEY), (None, {**APPEND, "path": "out/2024-01-15"})),
    ((WEEKLY, BY_KEY), (None, {**APPEND, "path": "out/2024-01-09"})),
    ((DAILY, BY_KEY), ({**DAILY, "type": "hourly"}, BY_KEY)),
    # Without partitions a table may be made anew: a warning at most.
    ((None, ALL), (None, ALL)),
    ((None, ALL), (None, APPEND)),
]


def written(name: str, half: Half) -> Json:
    partitions, step = half
    steps = [step if "type" in step else load(**step)]
    if steps[0]["type"] == "validate":
        steps.append(load(path=f"{name}_rows", mode="overwrite"))
    return pipeline(extract(), *steps, name=name, **({"partitions": partitions} if partitions is not None else {}))


def parsed(*pipelines: Json) -> list[PipelineConfig]:
    """Pipelines, each of a file called as it is."""
    files = ((Path(f"{value['name']}.json"), json.dumps(value)) for value in pipelines)
    return [one for path, text in files for one in parse_pipelines(text, method_registry(), path)]


@pytest.mark.parametrize(("one", "other", "message"), CLASHES)
def test_the_later_of_two_pipelines_is_left_out_if_a_partition_of_one_takes_away_rows_of_the_other(
    one: Half, other: Half, message: str
):
    kept, broken = side_by_side(parsed(written("one", one), written("two", other)))
    assert [pipeline.name for pipeline in kept] == ["one"]
    [problem] = broken[0].problems
    assert message in problem.message
    # Overwriting and merging is how rows are lost, so no hint may lead there.
    assert "let one of them write a table of its own" in (problem.hint or "") or "'quarantinePath'" in (
        problem.hint or ""
    )


@pytest.mark.parametrize(("one", "other"), NO_CLASHES)
@pytest.mark.parametrize("is_turned", [False, True])
def test_pipelines_that_are_known_to_leave_each_other_s_rows_are_both_loaded(one: Half, other: Half, is_turned: bool):
    pipelines = [written("one", one), written("two", other)]
    assert side_by_side(parsed(*(reversed(pipelines) if is_turned else pipelines)))[1] == []


@pytest.mark.parametrize(
    ("other", "is_told"),
    [(APPEND, True), (MERGE, True), (PRESENT, True), (ALL, False), ({**APPEND, "path": "other"}, False)],
)
def test_a_load_that_replaces_all_rows_is_warned_of_where_another_pipeline_adds_some(other: Json, is_told: bool):
    warnings = list(replaced_tables(parsed(written("one", (None, ALL)), written("two", (None, other)))))
    assert len(warnings) == is_told
    for warning in warnings:
        assert warning.file == Path("one.json")
        assert "this load replaces all rows with each run, and with them what step 2 of 'two' (two.json)" in str(
            warning
        )


def test_many_pipelines_of_one_file_that_replace_one_table_are_warned_of_once():
    value = written("copy_${var:shop}", (None, ALL))
    value |= {"variables": {"shop": {}}, "forEach": [{"shop": shop} for shop in ("a", "b", "c")]}
    [warning] = replaced_tables(parsed({**value, "name": "copy_${var:shop}"}))
    assert "and 1 more has put there" in warning.message


def test_check_of_several_files_prints_the_warning_and_succeeds(tmp_path: Path):
    files = [tmp_path / f"{name}.json" for name in ("one", "two")]
    for file, half in zip(files, [(None, ALL), (None, APPEND)], strict=True):
        file.write_text(json.dumps(written(file.stem, half), indent=2))
    found = CliRunner().invoke(app, ["check", *map(str, files)])
    assert found.exit_code == 0
    assert "warning: " in found.output
    assert "this load replaces all rows with each run" in found.output


def test_pipelines_of_one_file_that_take_away_each_other_s_rows_are_not_run(tmp_path: Path):
    value = {**written("shop", DAYS), "name": "copy_${var:shop}", "variables": {"shop": {}}}
    file = tmp_path / "copies.json"
    file.write_text(json.dumps({**value, "forEach": [{"shop": "a"}, {"shop": "b"}]}, indent=2))
    found = CliRunner().invoke(app, ["run", "--partition", "2024-01-01", str(file)])
    assert found.exit_code == 1
    assert "and with them what step 2 of 'copy_a'" in found.output
