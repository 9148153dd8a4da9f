"""The sensor of the streams, on a real instance."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pipeline_platform.engine.streaming.stream_state import StreamRequest, StreamState, request_file, state_file
from pipeline_platform.orchestration.alerts import SENSOR as ALERTS_SENSOR
from pipeline_platform.orchestration.streams_sensor import SENSOR
from pipeline_platform.orchestration.supervisor import RESTARTS_TAG
from pipeline_platform_tests.orchestration.conftest import MakeDefinitions

FLOW = dg.AssetKey(["flow", "to_delta_lake"])


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """An instance that gives each pool one slot, as the one of this project does."""
    pools = {"concurrency": {"pools": {"default_limit": 1}}}
    with dg.instance_for_test(temp_dir=str(tmp_path), overrides=pools) as found:
        yield found


def stream_of_rates(name: str, tmp_path: Path, trigger: str = "5 seconds", **options: Any) -> dict[str, Any]:
    """A stream of generated rows."""
    return {
        "name": name,
        "mode": "streaming",
        "streaming": {"checkpointRoot": str(tmp_path / "checkpoints"), **options},
        "steps": [
            {"type": "extract", "method": "fromRate", "config": {"rowsPerSecond": 1}},
            {
                "type": "load",
                "method": "toDeltaLake",
                "config": {"path": str(tmp_path / name), "trigger": trigger},
            },
        ],
    }


class Ticking:
    """Ticks the sensor of some definitions as the daemon does: with its own cursor, and each run key once."""

    def __init__(self, definitions: dg.Definitions, instance: dg.DagsterInstance) -> None:
        self.definitions = definitions
        self.instance = instance
        self.cursor: str | None = None
        self.keys: set[str] = set()
        self.run: dg.DagsterRun | None = None

    def tick(self) -> dg.SensorResult:
        """Evaluate the sensor, and make the run it asks for, begun and not ended."""
        context = dg.build_sensor_context(
            self.instance, cursor=self.cursor, repository_def=self.definitions.get_repository_def()
        )
        result = self.definitions.resolve_sensor_def(SENSOR)(context)
        assert isinstance(result, dg.SensorResult)
        self.cursor = result.cursor
        for request in result.run_requests or ():
            assert request.run_key not in self.keys
            self.keys.add(request.run_key or "")
            job = self.definitions.resolve_job_def(request.job_name or "")
            self.run = self.instance.create_run_for_job(job, tags={**job.tags, **request.tags})
            began = dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, self.run.job_name)
            self.instance.report_dagster_event(began, run_id=self.run.run_id)
        return result

    def passes(self, seconds: float) -> None:
        """Let the supervisor's memory be that much older."""
        watches = json.loads(self.cursor or "{}")
        for watch in watches.values():
            for name in ("since", "start_at"):
                if name in watch:
                    then = datetime.fromisoformat(watch[name]) - timedelta(seconds=seconds)
                    watch[name] = then.isoformat()
        self.cursor = json.dumps(watches)

    def says(self, seconds_ago: float = 0, pipeline: str = "flow", **changes: Any) -> None:
        """Write the state file of a stream, by default of the run's."""
        assert self.run is not None
        then = datetime.now(UTC) - timedelta(seconds=seconds_ago)
        values = {"phase": "running", "started": then, "heartbeat": then, "moved": then, **changes}
        known = {"pipeline": pipeline, "checkpoint": "c", "run_id": self.run.run_id}
        StreamState.model_validate({**known, **values}).write(state_file(pipeline))

    def status(self) -> dg.DagsterRunStatus:
        """Of the last run."""
        assert self.run is not None
        found = self.instance.get_run_by_id(self.run.run_id)
        assert found is not None
        return found.status


@pytest.fixture
def ticking(define: MakeDefinitions, tmp_path: Path, instance: dg.DagsterInstance) -> Ticking:
    return Ticking(define(stream_of_rates("flow", tmp_path, maxRestarts=1)), instance)


def started(result: dg.SensorResult) -> list[str | None]:
    return [request.job_name for request in result.run_requests or ()]


def test_a_stream_is_started_once(ticking: Ticking):
    assert started(ticking.tick()) == ["flow"]
    assert started(ticking.tick()) == []
    ticking.says()
    assert started(ticking.tick()) == []


def test_a_stream_that_ends_by_itself_is_left_to_its_schedule(
    define: MakeDefinitions, tmp_path: Path, instance: dg.DagsterInstance
):
    definitions = define(stream_of_rates("flow", tmp_path), stream_of_rates("hourly", tmp_path, trigger="availableNow"))
    assert started(Ticking(definitions, instance).tick()) == ["flow"]


def test_a_project_without_streams_has_no_sensor_for_them(define: MakeDefinitions, tmp_path: Path):
    sensors = define(stream_of_rates("hourly", tmp_path, trigger="availableNow")).sensors or ()
    assert [sensor.name for sensor in sensors] == [ALERTS_SENSOR]


def test_a_run_whose_process_is_gone_is_marked_failed_and_the_next_gets_its_slot(ticking: Ticking):
    ticking.tick()
    assert ticking.run is not None
    storage, gone = ticking.instance.event_log_storage, ticking.run.run_id
    storage.initialize_concurrency_limit_to_default("stream_flow")
    assert storage.claim_concurrency_slot("stream_flow", gone, "run_flow").is_claimed
    ticking.says(seconds_ago=61)
    assert started(ticking.tick()) == []
    assert ticking.status() == dg.DagsterRunStatus.FAILURE
    told = [entry.message for entry in ticking.instance.all_logs(gone)]
    assert any("no heartbeat" in message for message in told)
    ticking.passes(11)
    assert started(ticking.tick()) == ["flow"]
    assert ticking.run.tags[RESTARTS_TAG] == "1"
    assert storage.claim_concurrency_slot("stream_flow", ticking.run.run_id, "run_flow").is_claimed


def test_a_stream_that_does_not_get_on_is_given_up_and_its_check_fails_saying_why(ticking: Ticking):
    events: list[object] = []
    for _ in range(2):
        ticking.tick()
        ticking.says(phase="failed", error="the disk is full")
        assert ticking.run is not None
        ticking.instance.report_run_failed(ticking.run)
        events = [*ticking.tick().asset_events]
        ticking.passes(60)
    [check] = events
    assert isinstance(check, dg.AssetCheckEvaluation)
    assert (check.asset_key, check.passed) == (FLOW, False)
    assert check.description == "given up: the disk is full"
    assert started(ticking.tick()) == []


def test_resume_starts_a_stream_that_was_terminated(ticking: Ticking):
    ticking.tick()
    assert ticking.run is not None
    ticking.instance.report_run_canceled(ticking.run)
    assert started(ticking.tick()) == []
    ticking.passes(3600)
    assert started(ticking.tick()) == []
    StreamRequest(action="resume", by="ada").write(request_file("flow"))
    assert started(ticking.tick()) == ["flow"]
    assert started(ticking.tick()) == []


def test_a_stream_is_not_started_against_the_word_of_a_person(ticking: Ticking):
    StreamRequest(action="stop", by="ada").write(request_file("flow"))
    assert started(ticking.tick()) == []


def test_a_lost_cursor_starts_no_second_run(ticking: Ticking):
    ticking.tick()
    ticking.cursor = None
    assert started(ticking.tick()) == []


def test_the_check_of_a_stream_can_be_made_by_itself(
    define: MakeDefinitions, tmp_path: Path, instance: dg.DagsterInstance
):
    definitions = define(stream_of_rates("flow", tmp_path))
    check = next(iter(definitions.resolve_asset_graph().asset_check_keys))
    job = dg.define_asset_job("looks", selection=dg.AssetSelection.checks(check))
    looking = dg.Definitions.merge(definitions, dg.Definitions(jobs=[job]))

    def result() -> dg.AssetCheckEvaluation:
        found = looking.resolve_job_def("looks").execute_in_process(instance=instance)
        return found.get_asset_check_evaluations()[0]

    assert result().description == "it has not run yet"
    ticking = Ticking(definitions, instance)
    ticking.tick()
    ticking.says()
    assert result().passed
    ticking.says(seconds_ago=100)
    assert "no heartbeat" in (result().description or "")


def test_the_run_of_a_stream_whose_pipeline_is_gone_is_stopped_until_it_is_there_again(
    define: MakeDefinitions, tmp_path: Path, ticking: Ticking
):
    file = tmp_path / "pipelines" / "flow.json"
    text = file.read_text()
    ticking.tick()
    ticking.says(file=str(file))
    file.write_text("{")
    ticking.definitions = define(stream_of_rates("other", tmp_path))
    ticking.tick()
    assert StreamRequest.read(request_file("flow")) is None, "it may be edited at the moment"
    # Renamed; and removed as the last stream of the folder.
    for left in ([text.replace('"flow"', '"renamed"')], []):
        for path in file.parent.iterdir():
            path.unlink()
        for changed in left:
            file.write_text(changed)
        request_file("flow").unlink(missing_ok=True)
        ticking.definitions = define()
        ticking.tick()
        request = StreamRequest.read(request_file("flow"))
        assert request is not None
        assert request.action == "stop"
    file.write_text(text)
    ticking.definitions = define()
    assert started(ticking.tick()) == []
    assert StreamRequest.read(request_file("flow")) is None


def test_a_stream_of_another_folder_and_one_that_no_run_is_left_are_left_alone(
    define: MakeDefinitions, tmp_path: Path, ticking: Ticking, instance: dg.DagsterInstance
):
    ticking.tick()
    ticking.says(file="/elsewhere/flow.json")
    (tmp_path / "pipelines" / "flow.json").unlink()
    ticking.definitions = define(stream_of_rates("other", tmp_path))
    ticking.tick()
    ticking.says(file=str(tmp_path / "pipelines" / "flow.json"), run_id="at a terminal")
    ticking.tick()
    assert StreamRequest.read(request_file("flow")) is None
