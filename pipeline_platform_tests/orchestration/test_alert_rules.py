"""What is told: each occurrence once, and again only after it was over."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from pipeline_platform.orchestration.alert_rules import (
    CheckEvaluated,
    Event,
    FreshnessMissed,
    Memory,
    Occurrence,
    RowsLeftOut,
    RunFailed,
    RunSucceeded,
    StreamGivenUp,
    Subject,
    decide,
)

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SINK, OTHER = dg.AssetKey(["flow", "sink"]), dg.AssetKey(["other", "sink"])


def subject(key: dg.AssetKey) -> Subject:
    return Subject(key.path[0], f"{key.path[0]}.json")


def minutes(count: float) -> datetime:
    return NOON + timedelta(minutes=count)


def told(*ticks: Sequence[Event]) -> list[list[Occurrence]]:
    """What is told of the events of each tick, with the memory as the cursor keeps it."""
    memory, found = Memory(), []
    for events in ticks:
        memory, occurrences = decide(Memory.model_validate_json(memory.model_dump_json()), events, subject)
        found.append(occurrences)
    return found


def kinds(*ticks: Sequence[Event]) -> list[list[str]]:
    return [[one.kind for one in tick] for tick in told(*ticks)]


def check(at: float, passed: bool = False, name: str = "rule", asset: dg.AssetKey = SINK, **more: Any) -> Event:
    return CheckEvaluated(minutes(at), dg.AssetCheckKey(asset, name), passed, **more)


def failed(at: float, reason: str = "no Kafka", asset: dg.AssetKey = SINK, run: str | None = None) -> Event:
    return RunFailed(minutes(at), run or f"run-{at}", "flow", (asset,), reason)


def left_out(at: float, rows: int, run: str = "r", future: int = 0) -> Event:
    return RowsLeftOut(minutes(at), SINK, run, rows, future)


def test_a_check_that_keeps_failing_is_told_once_and_again_after_it_passed():
    ticks = [[check(at)] for at in range(3)]
    assert kinds(*ticks, [check(3, passed=True)], [check(4)]) == [["check_failed"], [], [], [], ["check_failed"]]
    # Within one tick too, in the order of time.
    assert kinds([check(1, passed=True), check(0)], [check(2)]) == [["check_failed"], ["check_failed"]]


def test_a_check_that_warns_is_told_as_such_and_again_when_it_fails():
    warned, error = check(0, is_error=False), check(1)
    assert kinds([warned], [check(0.5, is_error=False)], [error]) == [["check_warned"], [], ["check_failed"]]
    assert kinds([error], [check(2, is_error=False)], [check(3)]) == [["check_failed"], [], ["check_failed"]]


def test_checks_of_one_pipeline_are_one_message_and_those_of_two_are_two():
    both = [check(0, description="5 rows"), check(1, name="other", partition="2026-01-01"), check(2, asset=OTHER)]
    (found,) = told(both)
    assert [(one.pipeline, one.lines) for one in found] == [
        (
            "flow",
            (
                "the check rule of flow/sink failed: 5 rows",
                "the check other of flow/sink, partition 2026-01-01, failed",
            ),
        ),
        ("other", ("the check rule of other/sink failed",)),
    ]


def test_a_check_of_a_frame_and_of_its_tables_is_one_line():
    frame = dg.AssetKey(["flow", "frame"])
    (found,) = told([check(0, description="5 rows", asset=frame), check(0, description="5 rows")])[0]
    assert found.lines == ("the check rule of flow/frame and flow/sink failed: 5 rows",)
    assert found.assets == (frame, SINK)


def test_each_partition_fails_and_recovers_by_itself():
    first, second = check(0, partition="a"), check(1, partition="b")
    recovered = check(2, passed=True, partition="b")
    assert kinds([first, second], [recovered], [check(3, partition="a"), check(4, partition="b")]) == [
        ["check_failed"],
        [],
        ["check_failed"],
    ]


def test_a_pipeline_that_fails_every_minute_for_the_same_reason_is_told_once_an_hour():
    ticks = [[failed(at, f"broker 10.0.0.{at} is away since {at} s")] for at in range(121)]
    assert [at for at, tick in enumerate(told(*ticks)) if tick] == [0, 60, 120]


def test_a_check_that_fails_a_run_of_which_nobody_is_told_is_told_itself():
    def of_a_run(at: float, partition: str) -> list[Event]:
        cause = check(at, partition=partition, run_id=f"run-{at}", told_as="run_failed")
        return [cause, failed(at, "rows break the rules")]

    first, second = told(of_a_run(0, "2026-01-02"), of_a_run(1, "2026-01-03"))
    assert [(one.kind, one.told_as) for one in first] == [("check_failed", "run_failed"), ("run_failed", None)]
    assert [(one.kind, one.told_as) for one in second] == [("check_failed", None)]


def test_another_reason_another_pipeline_and_a_failure_after_a_success_are_told_at_once():
    recovered = RunSucceeded(minutes(1.5), (SINK,))
    ticks = [[failed(0)], [failed(1, "no space")], [failed(1.2, asset=OTHER)], [recovered], [failed(2)]]
    assert [len(tick) for tick in told(*ticks)] == [1, 1, 1, 0, 1]
    ticks[3] = [RunSucceeded(minutes(1.5), (OTHER,))]
    assert [len(tick) for tick in told(*ticks)] == [1, 1, 1, 0, 0]


def test_a_run_of_several_pipelines_that_fails_as_a_whole_is_told_of_each_and_one_without_assets_by_its_job():
    whole = RunFailed(NOON, "r", "__ASSET_JOB", (SINK, OTHER), "no worker")
    assert [(one.pipeline, one.assets) for one in told([whole])[0]] == [("flow", (SINK,)), ("other", (OTHER,))]
    (bare,) = told([RunFailed(NOON, "r", "clean_up", (), "no worker")])[0]
    assert (bare.pipeline, bare.lines) == ("clean_up", ("run r failed: no worker",))


def test_rows_that_are_left_out_are_told_once_until_none_were_for_an_hour():
    ticks = [[left_out(5 * at, rows=at + 1)] for at in range(20)]
    assert [at for at, tick in enumerate(told(*ticks)) if tick] == [0]
    # A restart counts anew, and both sinks of a stream say the same.
    restarted = [[left_out(5, 2, run="s")], [left_out(70, 4, run="t")]]
    assert kinds([left_out(0, 7), left_out(0, 7)], *restarted) == [["late_rows"], [], ["late_rows"]]
    assert kinds([left_out(0, 7)], [left_out(61, 7)], [left_out(65, 8)]) == [["late_rows"], [], ["late_rows"]]


def test_what_is_told_says_what_happened_and_what_to_do():
    found = told(
        [
            left_out(0, 3, future=2),
            StreamGivenUp(NOON, OTHER, "given up: no such column"),
            FreshnessMissed(NOON, SINK, datetime(2026, 1, 1, 9, 30, tzinfo=UTC)),
        ]
    )[0]
    assert [one.lines for one in found] == [
        (
            "left out: 3 rows came too late for the watermark and 2 rows have a time further ahead than 'maxFuture', "
            "since the run began",
        ),
        ("the stream is given up: no such column\nfix it, then: pipeline-platform resume other.json",),
        ("flow/sink was not updated since 2026-01-01 09:30 UTC, which is longer than its freshness policy allows",),
    ]


@pytest.mark.parametrize("count", [10, 3000])
def test_the_memory_does_not_grow_without_end(count: int):
    memory, _ = decide(Memory(), [check(at / 100, partition=str(at)) for at in range(count)], subject)
    assert len(memory.checks) == min(count, 2000)
