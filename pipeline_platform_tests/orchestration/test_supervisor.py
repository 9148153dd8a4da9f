"""What is done for a stream: decided from what there is to see, without a run, a file or a clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from pipeline_platform.config.pipeline_keys import StreamingOptions
from pipeline_platform.engine.streaming.stream_state import StreamRequest, StreamState
from pipeline_platform.metrics.stream import StreamProgress
from pipeline_platform.orchestration.supervisor import (
    START_SECONDS,
    Decision,
    Observation,
    SeenRun,
    SupervisorState,
    decide,
)

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
OPTIONS = StreamingOptions(max_restarts=3, restart_delay_seconds=10, max_restart_delay_seconds=30)
STARTED, CANCELING = dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING
FAILURE, CANCELED = dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def progress(batch: int, *, worked: bool = True) -> StreamProgress:
    return StreamProgress(
        query_id="q",
        query_run_id="r",
        name=None,
        batch=batch,
        worked=worked,
        at=NOW,
        rows=1,
        rows_per_second_in=1,
        rows_per_second=1,
        seconds=1,
        sources=[],
    )


def state(run_id: str = "one", **changes: object) -> StreamState:
    values = {"phase": "running", "started": ago(900), "heartbeat": ago(3), "moved": ago(3), **changes}
    return StreamState.model_validate({"pipeline": "flow", "checkpoint": "c", "run_id": run_id, **values})


def run(status: dg.DagsterRunStatus = STARTED, run_id: str = "one", began: float = 900) -> SeenRun:
    return SeenRun(run_id, status, ago(began))


def live(**changes: object) -> SupervisorState:
    return SupervisorState.model_validate(
        {"phase": "live", "run_id": "one", "since": ago(900), "generation": 1, **changes}
    )


def of(watch: SupervisorState, seen: Observation) -> Decision:
    return decide(OPTIONS, watch, seen, NOW)


def test_a_stream_that_nobody_runs_is_started():
    decision = of(SupervisorState(), Observation())
    assert decision.start
    assert (decision.watch.phase, decision.watch.generation) == ("requested", 1)


def test_a_request_that_was_lost_is_made_again_under_the_same_key():
    requested = of(SupervisorState(), Observation()).watch
    again = of(requested, Observation())
    assert again.start
    assert again.watch == requested


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTING, STARTED, CANCELING])
def test_a_live_run_is_left_alone(status: dg.DagsterRunStatus):
    decision = of(live(), Observation(run(status), state()))
    assert decision == Decision(live())


def test_a_stream_that_somebody_runs_at_a_terminal_is_adopted():
    decision = of(SupervisorState(), Observation(state=state("terminal")))
    assert not decision.start
    assert (decision.watch.phase, decision.watch.run_id) == ("live", "terminal")


def test_after_a_failure_it_is_started_again_with_growing_delay_and_then_given_up():
    watch, delays = live(), []
    while watch.phase != "given_up":
        watch = of(watch, Observation(run(FAILURE), state(phase="failed", error="boom"))).watch
        if watch.phase == "waiting":
            assert watch.start_at is not None
            delays.append((watch.start_at - NOW).total_seconds())
            assert not of(watch, Observation()).start
            due = decide(OPTIONS, watch, Observation(), watch.start_at)
            assert due.start
            adopted = of(due.watch, Observation(run(run_id="one", began=1)))
            watch = adopted.watch
    assert delays == [10, 20, 30]
    assert watch.reason == "boom"
    assert of(watch, Observation()) == Decision(watch)


def test_a_micro_batch_that_was_not_finished_before_counts_the_restarts_anew():
    before = live(restarts=2, place="q/6")
    assert of(before, Observation(run(), state(progress=progress(6)))).watch.restarts == 2
    assert of(before, Observation(run(), state(progress=progress(7, worked=False)))).watch.restarts == 2
    assert of(before, Observation(run(), state(progress=progress(7)))).watch.restarts == 0


def test_the_restarts_go_on_counting_over_the_runs_of_the_supervisor_but_not_over_those_of_a_person():
    requested = SupervisorState(phase="requested", restarts=2, generation=3, since=ago(5))
    assert of(requested, Observation(run(run_id="next", began=1))).watch.restarts == 2
    assert of(live(restarts=2), Observation(run(run_id="by hand", began=1))).watch.restarts == 0


def test_an_error_that_would_come_again_is_given_up_at_once():
    decision = of(live(), Observation(run(FAILURE), state(phase="failed", error="a rule was broken", lasting=True)))
    assert (decision.watch.phase, decision.watch.reason) == ("given_up", "a rule was broken")


def test_a_run_that_was_terminated_stays_stopped():
    decision = of(live(), Observation(run(CANCELED), state(phase="stopped")))
    assert decision.watch.phase == "stopped"
    assert of(decision.watch, Observation(run(CANCELED))) == Decision(decision.watch)


def test_one_that_was_stopped_at_a_terminal_stays_stopped():
    assert of(live(), Observation(state=state(phase="stopped"))).watch.phase == "stopped"


@pytest.mark.parametrize("phase", ["stopped", "given_up"])
def test_resume_starts_it_with_a_clean_slate(phase: str):
    watch = live(phase=phase, restarts=3)
    old = StreamRequest(action="resume", at=ago(1000), by="ada")
    new = StreamRequest(action="resume", at=ago(1), by="ada")
    assert not of(watch, Observation(request=old)).start
    decision = of(watch, Observation(request=new))
    assert decision.start
    assert decision.watch.restarts == 0


def test_one_that_a_person_stopped_is_not_started_though_it_failed_at_that():
    waiting = live(phase="waiting", start_at=ago(1))
    decision = of(waiting, Observation(request=StreamRequest(action="stop", at=ago(2), by="ada")))
    assert not decision.start
    assert (decision.watch.phase, decision.watch.reason) == ("stopped", "stopped by ada")


@pytest.mark.parametrize(
    "seen",
    [
        Observation(run(), state(heartbeat=ago(61))),
        Observation(run(began=START_SECONDS + 1)),
        Observation(run(began=START_SECONDS + 1), state("another")),
    ],
    ids=["stale", "none yet", "that of another run"],
)
def test_a_run_without_a_heartbeat_is_ended_and_started_again(seen: Observation):
    decision = of(live(), seen)
    assert decision.end_run is not None
    assert "no heartbeat" in decision.end_run
    assert decision.watch.phase == "waiting"


def test_a_run_that_just_began_may_be_without_a_heartbeat():
    assert of(live(), Observation(run(began=START_SECONDS - 1))).end_run is None


def test_a_terminated_run_whose_process_is_gone_is_stopped_not_started_again():
    decision = of(live(), Observation(run(CANCELING), state(heartbeat=ago(61))))
    assert decision.end_run is not None
    assert decision.watch.phase == "stopped"


def test_one_that_stands_still_is_ended_and_its_process_counts_no_more_though_it_beats_on():
    still = state(moved=ago(OPTIONS.stall_timeout_seconds + 1))
    decision = of(live(), Observation(run(), still))
    assert decision.end_run is not None
    assert "no progress" in decision.end_run
    assert decision.watch.phase == "waiting"
    later = decision.watch.model_copy(update={"start_at": ago(1)})
    assert of(later, Observation(state=still)).start
    assert of(later, Observation(run(FAILURE), still)).start


def test_one_that_is_slow_is_left_alone():
    assert of(live(), Observation(run(), state(moved=ago(OPTIONS.stall_timeout_seconds - 1)))).end_run is None
