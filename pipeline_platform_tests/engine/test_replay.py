"""Rows in quarantine go back once, whatever happens on the way; the others stay."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from pyspark.sql import SparkSession

from devtools.pipelines import StepValue, extract, load, pipeline_of, run, transform, validate
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.connectors.delta.write import DeltaWrite
from pipeline_platform.credentials.run_credentials import RunCredentials
from pipeline_platform.engine import quarantine_rows
from pipeline_platform.engine.batch import BatchRun
from pipeline_platform.engine.quarantine_changes import QuarantineTable, dropped
from pipeline_platform.engine.quarantine_tables import quarantine_of, state_of
from pipeline_platform.engine.replay import Replay, ReplayDone
from pipeline_platform.engine.replay_release import release_replays
from pipeline_platform.engine.replay_steps import replay_steps
from pipeline_platform.engine.streaming.stream import StreamRun
from pipeline_platform.exceptions import PipelineException, ValidationException

POSITIVE = validate("validateRanges", ranges={"amount": {"min": 0}}, onFailure="quarantine")
STEP = "validate_ranges"


@pytest.fixture
def orders(tmp_path: Path) -> StepValue:
    """Orders, of which those with an even id have an amount below 0."""
    return written(tmp_path / "orders.csv", range(8))


def written(path: Path, ids: range) -> StepValue:
    path.write_text("id,amount\n" + "".join(f"{n},{n if n % 2 else -n - 1}\n" for n in ids))
    return extract("fromFiles", path=str(path), format="csv", schema="id INT, amount INT")


def sink(path: Path, **config: Any) -> StepValue:
    return load("toDeltaLake", path=str(path), **{"mode": "append", **config})


def replayed(
    spark: SparkSession,
    pipeline: PipelineConfig,
    *beside: PipelineConfig,
    where: str | None = None,
    **changes: str,
) -> list[ReplayDone]:
    step = pipeline.step(STEP)
    quarantine = quarantine_of(pipeline, step, beside)

    def credentials() -> RunCredentials:
        return RunCredentials.from_environment("test", pipeline.location)

    return Replay(quarantine, replay_steps(pipeline, step), spark, credentials, where, changes).run()


def kept_aside(path: Path, numbers: Iterable[int], step: str = f"tested/{STEP}") -> None:
    """Put orders into a quarantine, as a run would have."""
    rows = list(numbers)
    table = pa.table(
        {
            "id": pa.array(rows, pa.int32()),
            "amount": pa.array([-n - 1 for n in rows], pa.int32()),
            "_violations": pa.array([[f"{STEP}: amount >= 0"]] * len(rows), pa.list_(pa.string())),
            "_step": [step] * len(rows),
            "_quarantined_at": pa.array([datetime.now(UTC)] * len(rows), pa.timestamp("us", "UTC")),
        }
    )
    write_deltalake(path, table, mode="append", schema_mode="merge")


def ids(table: Path) -> list[int]:
    return sorted(DeltaTable(table).to_pyarrow_table()["id"].to_pylist())


def claimed(table: Path) -> int:
    """How many rows a replay has claimed."""
    return sum(text is not None for text in DeltaTable(table).to_pyarrow_table()["_replay"].to_pylist())


class Killed(BaseException):
    """What stands for a SIGKILL: nothing that comes after it is done."""


def after_the_claim(patch: pytest.MonkeyPatch) -> None:
    claim = QuarantineTable.claim

    def then_killed(table: QuarantineTable, text: str, condition: str) -> None:
        claim(table, text, condition)
        raise Killed

    patch.setattr(QuarantineTable, "claim", then_killed)


def between_two_sinks(patch: pytest.MonkeyPatch) -> None:
    write = DeltaWrite.write

    def killed(load: DeltaWrite) -> Any:
        if load.how.path.endswith("second"):
            raise Killed
        return write(load)

    patch.setattr(DeltaWrite, "write", killed)


def before_the_claimed_rows_are_deleted(patch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise Killed

    patch.setattr(QuarantineTable, "delete", killed)


@pytest.mark.parametrize(
    ("kill", "copies"), [(after_the_claim, 1), (between_two_sinks, 2), (before_the_claimed_rows_are_deleted, 2)]
)
def test_each_of_ten_thousand_rows_is_there_once_after_a_replay_that_was_killed(
    spark: SparkSession,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kill: Callable[[pytest.MonkeyPatch], None],
    copies: int,
):
    aside, steps = tmp_path / "first_quarantine", [POSITIVE, sink(tmp_path / "first"), sink(tmp_path / "second")]
    pipeline = pipeline_of([written(tmp_path / "orders.csv", range(1)), *steps])
    kept_aside(aside, range(10_000))
    mended = {"amount": "if(id % 3 = 0, amount, -amount)"}
    with monkeypatch.context() as patch:
        kill(patch)
        with pytest.raises(Killed):
            replayed(spark, pipeline, **mended)
    # What still breaks the rule is there a second time until the claimed rows are deleted.
    assert ids(aside).count(0) == copies
    # What is put into quarantine meanwhile is no part of it.
    kept_aside(aside, [10_000, 10_001])
    [done] = replayed(spark, pipeline, where="false")
    assert (done.is_resumed, done.rows, done.again) == (True, 10_000, 3_334)
    assert ids(aside) == [*range(0, 10_000, 3), 10_000, 10_001]
    first, second = (DeltaTable(tmp_path / name).to_pyarrow_table().sort_by("id") for name in ("first", "second"))
    assert first == second
    wanted = "SELECT range AS id, range + 1 AS amount FROM range(10_000) WHERE range % 3 > 0 ORDER BY id"
    with duckdb.connect() as db:
        assert db.execute("FROM first").fetchall() == db.execute(wanted).fetchall()


def test_rows_of_a_run_that_failed_are_replayed_only_once_it_is_continued(
    spark: SparkSession, orders: StepValue, tmp_path: Path
):
    def pipeline(shared: str) -> PipelineConfig:
        shares = transform("enrichData", columns={"share": shared})
        return pipeline_of([orders, POSITIVE, shares, sink(tmp_path / "out")])

    mended = pipeline("1 / (id + 1)")
    with pytest.raises(PipelineException, match=r"[Dd]ivision by zero"):
        BatchRun(pipeline("1 / (id - 3)"), spark, load_id="failed").run()
    BatchRun(mended, spark).run()
    state = state_of(quarantine_of(mended, mended.step(STEP), []), no_credentials())
    assert state is not None
    assert (state.rows, state.unfinished) == (4, {"failed": 4})
    assert [done.rows for done in replayed(spark, mended, amount="-amount")] == [4]
    assert ids(tmp_path / "out") == list(range(8))
    BatchRun(mended, spark, load_id="failed").run()
    assert [done.rows for done in replayed(spark, mended, amount="-amount")] == [4]
    assert ids(tmp_path / "out") == sorted([*range(8), *range(8)])
    assert ids(tmp_path / "out_quarantine") == []


def test_mended_rows_take_the_steps_after_the_rule_and_no_others(
    spark: SparkSession, orders: StepValue, tmp_path: Path
):
    # The load before the rule has the rows already.
    steps = [orders, sink(tmp_path / "all"), POSITIVE, transform("enrichData", columns={"twice": "amount * 2"})]
    pipeline = pipeline_of([*steps, sink(tmp_path / "out")])
    BatchRun(pipeline, spark).run()
    [done] = replayed(spark, pipeline, where="id <= 4 -- of four", amount="abs(amount)")
    assert (done.rows, done.again) == (3, 0)
    assert ids(tmp_path / "all") == list(range(8))
    assert ids(tmp_path / "all_quarantine") == [6]
    out = DeltaTable(tmp_path / "out").to_pyarrow_table().sort_by("id")
    assert out["id"].to_pylist() == [0, 1, 2, 3, 4, 5, 7]
    assert out["twice"].to_pylist() == [2, 2, 6, 6, 10, 10, 14]
    assert replayed(spark, pipeline, where="id = 99") == []


def test_a_mended_pipeline_judges_the_rows_again_and_says_what_still_breaks_its_rules(
    spark: SparkSession, orders: StepValue, tmp_path: Path
):
    kept_aside(tmp_path / "out_quarantine", [0, 2, 4, 6])
    mended = validate("validateRanges", ranges={"amount": {"min": -5}}, onFailure="quarantine")
    pipeline = pipeline_of([orders, mended, sink(tmp_path / "out")])
    [done] = replayed(spark, pipeline)
    assert (done.rows, done.again, done.by_rule()) == (4, 1, {"amount >= -5": 1})
    assert ids(tmp_path / "out") == [0, 2, 4]
    kept = DeltaTable(tmp_path / "out_quarantine").to_pyarrow_table().to_pylist()
    assert [(row["id"], row["_violations"], row["_replay"]) for row in kept] == [
        (6, ["validate_ranges: amount >= -5"], None)
    ]


def test_a_replay_that_a_later_rule_stops_leaves_all_as_it_was_and_its_rows_free(
    spark: SparkSession, orders: StepValue, tmp_path: Path
):
    small = validate("validateBusinessRules", rules=["amount < 5"])
    loose = validate("validateBusinessRules", rules=["amount < 50"])

    def pipeline(rule: StepValue) -> PipelineConfig:
        return pipeline_of([orders, POSITIVE, transform("filterRows", condition="true"), rule, sink(tmp_path / "out")])

    kept_aside(tmp_path / "out_quarantine", [0, 2, 4, 6])
    with pytest.raises(ValidationException, match="2 of 4 rows"):
        replayed(spark, pipeline(small), amount="-amount")
    assert claimed(tmp_path / "out_quarantine") == 0
    [done] = replayed(spark, pipeline(loose), where="id = 2", amount="-amount")
    assert done.rows == 1
    assert ids(tmp_path / "out_quarantine") == [0, 4, 6]


def test_a_merge_of_two_rows_with_one_key_leaves_all_as_it_was_and_one_of_them_can_be_chosen(
    spark: SparkSession, orders: StepValue, tmp_path: Path
):
    aside, merged = tmp_path / "out_quarantine", sink(tmp_path / "out", mode="merge", mergeKeys=["id"])
    pipeline = pipeline_of([orders, POSITIVE, merged])
    kept_aside(aside, [0, 2, 4])
    kept_aside(aside, [0])
    before = DeltaTable(aside).to_pyarrow_table()["_quarantined_at"].to_pylist()
    with pytest.raises(PipelineException, match="the same merge keys") as told:
        replayed(spark, pipeline, amount="if(id = 4, amount, -amount)")
    assert "chosen with --where, such as by _quarantined_at" in str(told.value)
    assert (ids(aside), claimed(aside)) == ([0, 0, 2, 4], 0)
    [done] = replayed(spark, pipeline, where=f"_quarantined_at < '{max(before).isoformat()}'", amount="-amount")
    assert (done.rows, ids(tmp_path / "out"), ids(aside)) == (3, [0, 2, 4], [0])


def before_the_load(patch: pytest.MonkeyPatch) -> None:
    write = DeltaWrite.write

    def killed(load: DeltaWrite) -> Any:
        if load.how.path.endswith("out"):
            raise Killed
        return write(load)

    patch.setattr(DeltaWrite, "write", killed)


def test_a_replay_that_was_killed_can_be_given_up_unless_it_has_loaded_rows(
    spark: SparkSession, orders: StepValue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    aside, pipeline = tmp_path / "out_quarantine", pipeline_of([orders, POSITIVE, sink(tmp_path / "out")])
    quarantine = quarantine_of(pipeline, pipeline.step(STEP), [])
    kept_aside(aside, [0, 2])
    mended = {"amount": "if(id = 2, amount, -amount)"}
    with monkeypatch.context() as patch:
        before_the_load(patch)
        with pytest.raises(Killed):
            replayed(spark, pipeline, **mended)
    # What it has put there again is no row more, and is not deleted: whoever finishes the replay would lose it.
    state = state_of(quarantine, no_credentials())
    assert state is not None
    assert (ids(aside), state.rows, state.pending, state.unfinished) == ([0, 2, 2], 2, 2, {})
    dropping = dropped(quarantine, spark, no_credentials(), None, None)
    assert (dropping.rows, dropping.pending) == (0, 2)
    assert release_replays(quarantine, spark, no_credentials()) == 2
    assert (ids(aside), claimed(aside)) == ([0, 2], 0)
    with monkeypatch.context() as patch:
        before_the_claimed_rows_are_deleted(patch)
        with pytest.raises(Killed):
            replayed(spark, pipeline, **mended)
    with pytest.raises(PipelineException, match="'to_delta_lake' has loaded its rows"):
        release_replays(quarantine, spark, no_credentials())
    assert dropped(quarantine, spark, no_credentials(), None, None).rows == 0
    assert [done.rows for done in replayed(spark, pipeline, where="false")] == [2]
    assert (ids(tmp_path / "out"), ids(aside)) == ([0], [2])


@pytest.mark.parametrize(
    ("where", "amount", "told"),
    [
        ("id", "-amount", "'--where id' is no condition, but a value of type int"),
        (None, "int(concat('x', id))", r"'--set amount=int\(concat\('x', id\)\)': "),
    ],
)
def test_what_does_not_fit_the_rows_is_told_by_the_name_of_its_option(
    spark: SparkSession, orders: StepValue, tmp_path: Path, where: str | None, amount: str, told: str
):
    kept_aside(tmp_path / "out_quarantine", [0, 2])
    with pytest.raises(PipelineException, match=told):
        replayed(spark, pipeline_of([orders, POSITIVE, sink(tmp_path / "out")]), where=where, amount=amount)


def no_credentials() -> RunCredentials:
    return RunCredentials("test")


def test_a_replay_that_another_process_has_taken_over_neither_loads_nor_loses_its_rows(
    spark: SparkSession, orders: StepValue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pipeline = pipeline_of([orders, POSITIVE, sink(tmp_path / "out"), sink(tmp_path / "second")])
    kept_aside(tmp_path / "out_quarantine", [0, 2])
    write, done = DeltaWrite.write, list[ReplayDone]()

    def overtaken(load: DeltaWrite) -> Any:
        if load.how.path.endswith("second"):
            monkeypatch.setattr(DeltaWrite, "write", write)
            done.extend(replayed(spark, pipeline, where="false"))
        return write(load)

    monkeypatch.setattr(DeltaWrite, "write", overtaken)
    [late] = replayed(spark, pipeline, amount="-amount")
    assert [(one.id, one.rows, one.is_resumed) for one in done] == [(late.id, 2, True)]
    assert [ids(tmp_path / name) for name in ("out", "second", "out_quarantine")] == [[0, 2], [0, 2], []]


def test_a_replay_that_was_killed_does_not_go_on_by_other_rules(
    spark: SparkSession, orders: StepValue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pipeline = pipeline_of([orders, POSITIVE, sink(tmp_path / "out")])
    kept_aside(tmp_path / "out_quarantine", [0, 2, 4, 6])
    with monkeypatch.context() as patch:
        before_the_claimed_rows_are_deleted(patch)
        with pytest.raises(Killed):
            replayed(spark, pipeline)
    none = validate("validateRanges", ranges={"amount": {"min": -99}}, onFailure="quarantine")
    with pytest.raises(PipelineException, match="have changed since") as told:
        replayed(spark, pipeline_of([orders, none, sink(tmp_path / "out")]))
    assert "replay once, which finishes it" in str(told.value)
    replayed(spark, pipeline, where="false")
    assert ids(tmp_path / "out_quarantine") == [0, 2, 4, 6]


def test_rows_of_a_table_that_the_last_version_wrote_are_those_of_its_only_step(
    spark: SparkSession, orders: StepValue, tmp_path: Path
):
    pipeline = pipeline_of([orders, POSITIVE, sink(tmp_path / "out")])
    path = tmp_path / "out_quarantine"
    kept_aside(path, [0, 2, 4, 6])
    old = DeltaTable(path).to_pyarrow_table().drop_columns(["_step", "_quarantined_at"])
    write_deltalake(path, old, mode="overwrite", schema_mode="overwrite")
    other = pipeline_of([orders, POSITIVE, sink(tmp_path / "o", query_name="q")], name="other")
    other_there = pipeline_of(
        [orders, {**POSITIVE, "config": {**POSITIVE["config"], "quarantinePath": str(path)}}, sink(tmp_path / "o")],
        name="other",
    )
    assert replayed(spark, pipeline, other_there, amount="-amount") == []
    [done] = replayed(spark, pipeline, other, where="id = 2", amount="-amount")
    assert done.rows == 1
    # A run adds the columns to the table, and to its own rows alone.
    BatchRun(pipeline, spark).run()
    state = state_of(quarantine_of(pipeline, pipeline.step(STEP), []), no_credentials())
    assert state is not None
    assert (state.rows, state.by_rule, state.pending) == (7, {"amount >= 0": 7}, 0)
    assert state.oldest == state.newest is not None
    assert replayed(spark, pipeline, amount="-amount")[0].rows == 7
    assert ids(path) == []


def test_two_validations_of_one_table_have_each_their_own_rows(spark: SparkSession, orders: StepValue, tmp_path: Path):
    odd = validate("validateBusinessRules", rules=["id <> 3"], onFailure="quarantine")
    pipeline = pipeline_of([orders, POSITIVE, odd, sink(tmp_path / "out")])
    BatchRun(pipeline, spark).run()
    marks = DeltaTable(tmp_path / "out_quarantine").to_pyarrow_table().sort_by("id").select(["id", "_step"]).to_pylist()
    of_three = [row["_step"] for row in marks if row["id"] == 3]
    assert (of_three, {row["_step"] for row in marks if row["id"] != 3}) == (
        ["tested/validate_business_rules"],
        {"tested/validate_ranges"},
    )
    replayed(spark, pipeline, amount="-amount")
    assert ids(tmp_path / "out_quarantine") == [3]


def test_a_column_that_the_quarantine_lacks_is_told_by_name_and_can_be_given(
    spark: SparkSession, orders: StepValue, tmp_path: Path
):
    kept_aside(tmp_path / "out_quarantine", [0, 2, 4, 6])
    wider = transform("enrichData", columns={"region": "'north'"})
    pipeline = pipeline_of([orders, wider, POSITIVE, sink(tmp_path / "out", mergeSchema=True)])
    with pytest.raises(PipelineException, match="no column 'region', which 'enrich_data' has now") as told:
        replayed(spark, pipeline)
    assert "--set region=NULL" in str(told.value)
    with pytest.raises(PipelineException, match="`nope` cannot be resolved"):
        replayed(spark, pipeline, where="nope = 1", region="'south'")
    with pytest.raises(PipelineException, match=r"'--set regoin=…'.*has no column 'regoin'"):
        replayed(spark, pipeline, regoin="'south'")
    replayed(spark, pipeline, region="'south'", amount="-amount")
    regions = DeltaTable(tmp_path / "out").to_pyarrow_table().sort_by("id")["region"].to_pylist()
    assert regions == ["south"] * 4


def test_rows_of_a_stream_are_replayed_beside_it(spark: SparkSession, tmp_path: Path):
    (tmp_path / "in").mkdir()
    written(tmp_path / "in" / "one.csv", range(4))
    source = extract("fromFiles", path=str(tmp_path / "in"), format="csv", schema="id INT, amount INT")
    out = sink(tmp_path / "out", mode="merge", mergeKeys=["id"], trigger="availableNow")
    options = {"checkpointRoot": str(tmp_path / "checkpoints")}
    pipeline = pipeline_of([source, POSITIVE, out], mode="streaming", streaming=options)
    StreamRun(pipeline, spark).run()
    assert (ids(tmp_path / "out"), ids(tmp_path / "out_quarantine")) == ([1, 3], [0, 2])
    [done] = replayed(spark, pipeline, where="id = 2", amount="-amount")
    assert done.rows == 1
    written(tmp_path / "in" / "two.csv", range(4, 8))
    StreamRun(pipeline, spark).run()
    assert (ids(tmp_path / "out"), ids(tmp_path / "out_quarantine")) == ([1, 2, 3, 5, 7], [0, 4, 6])


def test_rows_that_are_kept_no_longer_are_deleted_when_others_come_but_not_those_of_a_replay(
    spark: SparkSession, orders: StepValue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    steps, path = [orders, POSITIVE, sink(tmp_path / "out")], tmp_path / "out_quarantine"
    run(spark, *steps, quarantine={"keep": "90 days"})
    table = DeltaTable(path).to_pyarrow_table()
    old = datetime.now(UTC) - timedelta(days=91)
    claims = pa.array(["{}", None, None, None], pa.string())
    aged = table.sort_by("id").append_column("_replay", claims)
    times = pa.array([old, old, datetime.now(UTC), datetime.now(UTC)], pa.timestamp("us", "UTC"))
    aged = aged.set_column(aged.column_names.index("_quarantined_at"), "_quarantined_at", times)
    write_deltalake(path, aged, mode="overwrite", schema_mode="overwrite")
    run(spark, *steps)
    assert ids(path) == [0, 0, 2, 2, 4, 4, 6, 6]
    run(spark, *steps, quarantine={"keep": "90 days"})
    assert len(ids(path)) == 12  # A process does so once an hour.
    monkeypatch.setattr(quarantine_rows, "_forgotten", {})
    run(spark, *steps, quarantine={"keep": "90 days"})
    assert ids(path) == [0] * 4 + [2] * 3 + [4] * 4 + [6] * 4
    assert claimed(path) == 1


def test_a_frame_with_a_column_of_the_quarantines_own_is_refused_before_anything_is_written(
    spark: SparkSession, orders: StepValue, tmp_path: Path
):
    named = transform("enrichData", columns={"_step": "'mine'"})
    with pytest.raises(PipelineException, match="has a column '_step', and a quarantine has one of that name"):
        run(spark, orders, named, POSITIVE, sink(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
