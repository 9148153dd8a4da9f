"""Streams that share a process, as the sensor `streams` supervises them, on a real instance."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import psutil
import pytest

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.engine.spark.settings import REMOTE_VARIABLE
from pipeline_platform.engine.streaming.stream_group import Member, all_groups
from pipeline_platform.engine.streaming.stream_state import StreamRequest, request_file
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.orchestration.stream_groups import SIZE_VARIABLE, assigned, group_names, group_size
from pipeline_platform_tests.orchestration.conftest import MakeDefinitions
from pipeline_platform_tests.orchestration.test_streams_sensor import Ticking, started, stream_of_rates


@pytest.fixture
def instance(tmp_path: Path) -> Any:
    """An instance whose runs are processes of this machine."""
    with dg.instance_for_test(
        temp_dir=str(tmp_path), overrides={"run_launcher": {"module": "dagster", "class": "DefaultRunLauncher"}}
    ) as found:
        yield found


class Group(Ticking):
    """Ticks the sensor, and says what the process of a group would."""

    def __init__(self, definitions: dg.Definitions, instance: dg.DagsterInstance, folder: Path) -> None:
        super().__init__(definitions, instance)
        self.folder = folder

    def members(self, group: str = "both") -> dict[str, Member]:
        """What the group was last told to run, by the pipelines' names."""
        said = all_groups(self.folder).get(group)
        return {member.pipeline: member for member in said.members} if said is not None else {}

    def beats(self, *names: str, seconds_ago: float = 0, group: str = "both", **changes: Any) -> None:
        """Have streams of the group say that they run."""
        for name in names:
            member = self.members(group)[name]
            self.says(seconds_ago, pipeline=name, run_id=member.run_id, **changes)


@pytest.fixture
def ticking(define: MakeDefinitions, tmp_path: Path, instance: dg.DagsterInstance) -> Group:
    """A project with two streams of one group, and one without."""
    grouped = [stream_of_rates(name, tmp_path, group="both", maxRestarts=1) for name in ("flow", "tide")]
    definitions = define(*grouped, stream_of_rates("alone", tmp_path, group=False))
    return Group(definitions, instance, tmp_path / "pipelines")


def test_one_run_is_started_for_a_group_and_told_its_streams(ticking: Group):
    assert sorted(map(str, started(ticking.tick()))) == ["alone", "streams_both"]
    assert sorted(ticking.members()) == ["flow", "tide"]
    assert started(ticking.tick()) == []
    ticking.beats("flow", "tide")
    before = ticking.members()
    assert started(ticking.tick()) == []
    assert ticking.members() == before


def test_one_that_fails_is_started_again_in_the_run_that_goes_on_until_it_is_given_up(ticking: Group):
    ticking.tick()
    ticking.beats("flow", "tide")
    ticking.tick()
    first = ticking.members()
    for attempt in (1, 2):
        ticking.beats("flow", phase="failed", error="the disk is full")
        ticking.beats("tide")
        events = [*ticking.tick().asset_events]
        assert ticking.members() == {"tide": first["tide"]}
        ticking.passes(60)
        assert started(ticking.tick()) == []
        if attempt == 1:
            again = ticking.members()["flow"]
            assert again.run_id != first["flow"].run_id
            assert again.restarts == 1
            assert ticking.members()["tide"] == first["tide"]
            ticking.beats("flow", "tide")
            ticking.tick()
    [check] = events
    assert isinstance(check, dg.AssetCheckEvaluation)
    assert check.description == "given up: the disk is full"
    assert ticking.status() == dg.DagsterRunStatus.STARTED


def test_one_that_stalls_is_taken_out_and_started_again(ticking: Group):
    ticking.tick()
    ticking.beats("flow", "tide")
    ticking.tick()
    first = ticking.members()
    ticking.beats("flow", moved="2026-01-01T00:00:00Z")
    ticking.tick()
    assert ticking.members() == {"tide": first["tide"]}
    assert ticking.status() == dg.DagsterRunStatus.STARTED
    ticking.says(pipeline="flow", run_id=first["flow"].run_id, phase="stopped")
    ticking.passes(60)
    ticking.beats("tide")
    ticking.tick()
    assert ticking.members()["flow"].run_id != first["flow"].run_id


def test_one_that_a_person_stops_stays_stopped_and_resume_starts_it_beside_the_others(ticking: Group):
    ticking.tick()
    ticking.beats("flow", "tide")
    ticking.tick()
    StreamRequest(action="stop", by="ada").write(request_file("flow"))
    ticking.beats("flow", phase="stopped", started="2026-01-01T00:00:00Z")
    for _ in range(2):
        assert started(ticking.tick()) == []
        assert sorted(ticking.members()) == ["tide"]
    StreamRequest(action="resume", by="ada").write(request_file("flow"))
    assert started(ticking.tick()) == []
    assert sorted(ticking.members()) == ["flow", "tide"]


def test_a_process_that_is_gone_is_another_run_for_all(ticking: Group):
    ticking.tick()
    ticking.beats("flow", "tide")
    ticking.tick()
    first = ticking.members()
    ticking.beats("flow", "tide", seconds_ago=61)
    assert started(ticking.tick()) == []
    assert ticking.status() == dg.DagsterRunStatus.FAILURE
    assert ticking.members() == {}
    ticking.passes(11)
    assert started(ticking.tick()) == ["streams_both"]
    assert {member.run_id for member in ticking.members().values()}.isdisjoint(each.run_id for each in first.values())


def test_a_group_that_stops_with_its_code_server_is_started_again(ticking: Group):
    ticking.tick()
    ticking.beats("flow", "tide")
    ticking.tick()
    # Each has stopped after its micro-batch, and Dagster does not know yet.
    ticking.beats("flow", "tide", phase="stopped")
    before = ticking.members()
    ticking.tick()
    assert ticking.members() == before
    assert ticking.run is not None
    ticking.instance.report_run_failed(ticking.run)
    ticking.tick()
    ticking.passes(11)
    assert started(ticking.tick()) == ["streams_both"]
    assert sorted(ticking.members()) == ["flow", "tide"]


def test_one_that_makes_progress_after_a_restart_is_left_alone(ticking: Group):
    ticking.tick()
    ticking.beats("flow", "tide")
    ticking.tick()
    ticking.beats("flow", phase="failed", error="the disk is full")
    ticking.tick()
    ticking.passes(60)
    ticking.beats("tide")
    ticking.tick()
    before = ticking.members()
    worked = {
        **{"query_id": "q", "query_run_id": "r", "name": None, "batch": 1, "worked": True, "rows": 3, "sources": []},
        **{"at": "2026-01-01T00:00:00Z", "rows_per_second_in": None, "rows_per_second": None, "seconds": 1},
    }
    for _ in range(2):
        ticking.beats("flow", progress=worked)
        ticking.beats("tide")
        ticking.tick()
        assert ticking.members() == before
    assert json.loads(ticking.cursor or "{}")["flow"].get("restarts", 0) == 0


def test_one_silent_stream_does_not_end_the_run_of_the_others(ticking: Group):
    ticking.tick()
    ticking.beats("flow", "tide")
    ticking.tick()
    ticking.beats("flow", seconds_ago=61)
    ticking.tick()
    assert sorted(ticking.members()) == ["tide"]
    assert ticking.status() == dg.DagsterRunStatus.STARTED


def test_a_group_that_a_person_terminates_stays_stopped(ticking: Group):
    ticking.tick()
    ticking.beats("flow", "tide")
    ticking.tick()
    assert ticking.run is not None
    ticking.instance.report_run_canceled(ticking.run)
    ticking.beats("flow", "tide", phase="stopped")
    ticking.tick()
    ticking.passes(3600)
    assert started(ticking.tick()) == []
    assert ticking.members() == {}


def test_a_lost_cursor_starts_nothing_again(ticking: Group):
    ticking.tick()
    ticking.beats("flow", "tide")
    ticking.tick()
    before, ticking.cursor = ticking.members(), None
    assert "streams_both" not in started(ticking.tick())
    assert ticking.members() == before


def test_a_stream_leaves_one_group_and_is_started_in_another_or_by_itself(
    define: MakeDefinitions, tmp_path: Path, ticking: Group
):
    ticking.tick()
    ticking.beats("flow", "tide")
    ticking.tick()
    old = ticking.members()["flow"]
    ticking.definitions = define(stream_of_rates("flow", tmp_path, group="other"))
    assert started(ticking.tick()) == ["streams_other"]
    assert sorted(ticking.members()) == ["tide"]
    new = ticking.members("other")["flow"]
    assert new.run_id != old.run_id
    # It has not ended yet where it was, and then it has.
    ticking.says(pipeline="flow", run_id=old.run_id)
    ticking.tick()
    ticking.says(pipeline="flow", run_id=old.run_id, phase="stopped")
    ticking.tick()
    assert ticking.members("other") == {"flow": new}
    ticking.beats("flow", group="other")
    ticking.tick()
    ticking.definitions = define(stream_of_rates("flow", tmp_path, group=False))
    assert started(ticking.tick()) == ["flow"]
    assert ticking.members("other") == {}


def test_a_stream_whose_file_is_gone_is_in_its_group_no_more(define: MakeDefinitions, tmp_path: Path, ticking: Group):
    ticking.tick()
    (tmp_path / "pipelines" / "tide.json").unlink()
    ticking.definitions = define()
    ticking.tick()
    assert sorted(ticking.members()) == ["flow"]


def test_a_link_that_leads_nowhere_keeps_no_group_from_loading(define: MakeDefinitions, tmp_path: Path):
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "lost.json").symlink_to(tmp_path / "nowhere")
    assert define(stream_of_rates("flow", tmp_path, group="both")).resolve_job_def("streams_both")


def pipelines(define: MakeDefinitions, tmp_path: Path, *streams: dict[str, Any]) -> list[PipelineConfig]:
    from pipeline_platform.orchestration.project import load_project
    from pipeline_platform.registry import method_registry

    define(*streams)
    return [*load_project(tmp_path / "pipelines", method_registry()).pipelines]


def test_streams_without_a_group_stay_where_they_are_and_fill_what_is_free(define: MakeDefinitions, tmp_path: Path):
    names = ["a", "b", "c", "d"]
    found = pipelines(
        define,
        tmp_path,
        *(stream_of_rates(name, tmp_path) for name in names),
        stream_of_rates("named", tmp_path, group="own"),
        stream_of_rates("single", tmp_path, group=False),
    )
    assert group_names(found, 1) == ["own"]
    assert group_names(found, 3) == ["own", "1", "2"]
    assert assigned(found, {}, 1) == {"named": "own"}
    first = {"a": "1", "b": "1", "c": "1", "d": "2", "named": "own"}
    assert assigned(found, {}, 3) == first
    # "a" has come last: nobody moves for it.
    assert assigned(found, {"b": "1", "c": "1", "d": "1"}, 3) == {**first, "d": "1", "a": "2"}
    # A group that there is no more, or that is too large now.
    assert assigned(found, {"a": "9", "b": "2", "c": "2", "d": "2"}, 2)["a"] == "1"
    assert {*assigned(found, dict.fromkeys(names, "1"), 2).values()} == {"1", "2", "own"}


@pytest.mark.parametrize("said", ["0", "-1", "many", "1.5"])
def test_a_size_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, said: str):
    monkeypatch.setenv(SIZE_VARIABLE, said)
    with pytest.raises(PipelineConfigurationException, match=SIZE_VARIABLE):
        group_size([])


def test_streams_share_processes_where_their_own_would_take_half_of_the_machine(
    define: MakeDefinitions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    fixed = {**stream_of_rates("fixed", tmp_path), "sparkConf": {"spark.driver.memory": "8g"}}
    found = pipelines(
        define,
        tmp_path,
        *(stream_of_rates(name, tmp_path) for name in ("a", "b", "c")),
        {**stream_of_rates("quick", tmp_path), "sparkConf": {"spark.sql.shuffle.partitions": "1"}},
        fixed,
        stream_of_rates("single", tmp_path, group=False),
    )
    memory = SimpleNamespace(total=12 * 2**30)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    assert group_size(found) == 1
    memory.total = 11 * 2**30
    assert assigned(found, {}, group_size(found)) == dict.fromkeys(["a", "b", "c", "quick"], "1")
    monkeypatch.setenv(REMOTE_VARIABLE, "sc://elsewhere")
    assert group_size(found) == 1


def test_streams_share_processes_by_size_where_runs_are_processes_of_one_machine(
    define: MakeDefinitions, tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(SIZE_VARIABLE, "2")
    definitions = define(*(stream_of_rates(name, tmp_path) for name in ("a", "b", "c")))
    ticking = Group(definitions, instance, tmp_path / "pipelines")
    assert sorted(map(str, started(ticking.tick()))) == ["streams_1", "streams_2"]
    assert (sorted(ticking.members("1")), sorted(ticking.members("2"))) == (["a", "b"], ["c"])
    assert json.loads(ticking.cursor or "{}").keys() == {"a", "b", "c"}
    with dg.instance_for_test(
        overrides={"run_launcher": {"module": "dagster._core.test_utils", "class": "MockedRunLauncher"}}
    ) as elsewhere:
        (tmp_path / "streams").rename(tmp_path / "of the other")
        assert sorted(map(str, started(Ticking(definitions, elsewhere).tick()))) == ["a", "b", "c"]
