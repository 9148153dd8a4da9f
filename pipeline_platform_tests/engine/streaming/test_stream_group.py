"""Several streams in one process: each has its own session, and its end is nobody else's."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from devtools.pipelines import StepValue, extract, load, pipeline_of, transform, validate
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.connectors.files.committer import FileCommitter
from pipeline_platform.engine.spark.session import session_beside
from pipeline_platform.engine.streaming.stream import StreamRun
from pipeline_platform.engine.streaming.stream_group import EndedMember, GroupMembers, Member, StreamGroup, all_groups
from pipeline_platform.engine.streaming.stream_state import StreamState, state_file
from pipeline_platform.exceptions import PipelineConfigurationException

PATIENCE_SECONDS = 120.0
MakeGroup = Callable[[Mapping[str, PipelineConfig]], StreamGroup]


@pytest.fixture
def make_group(spark: SparkSession) -> Iterator[MakeGroup]:
    """Make a group of these pipelines; whatever runs in it is stopped at the end."""
    made: list[StreamGroup] = []

    def make(pipelines: Mapping[str, PipelineConfig]) -> StreamGroup:
        def run(member: Member, pipeline: PipelineConfig) -> StreamRun:
            return StreamRun(pipeline, session_beside(spark, pipeline.name), run_id=member.run_id)

        made.append(StreamGroup(lambda member: pipelines[member.pipeline], run))
        return made[-1]

    yield make
    for group in made:
        group.stop()


def of_rates(
    tmp_path: Path, name: str, *between: StepValue, to: StepValue | None = None, **keys: Any
) -> PipelineConfig:
    """A stream of generated rows into a table, or to what else is said."""
    steps = [
        extract("fromRate", rowsPerSecond=10),
        *between,
        to or load("toDeltaLake", path=str(tmp_path / name), trigger="1 second"),
    ]
    options = {"checkpointRoot": str(tmp_path / "checkpoints")}
    return pipeline_of(steps, name=name, mode="streaming", streaming=options, **keys)


def rows(path: Path) -> int:
    has_version = any((path / "_delta_log").glob("*.json"))
    return DeltaTable(path).to_pyarrow_table().num_rows if has_version else 0


def follow_until(
    group: StreamGroup, wanted: list[Member], condition: Callable[[list[EndedMember]], bool]
) -> list[EndedMember]:
    """Let a group follow what is wanted until something is so; what has ended by then."""
    deadline, ended = time.monotonic() + PATIENCE_SECONDS, [*group.follow(wanted)]
    while not condition(ended):
        assert time.monotonic() < deadline, [str(each.error) for each in ended]
        time.sleep(0.1)
        ended += group.follow(wanted)
    return ended


def state_of(name: str) -> StreamState:
    found = StreamState.read(state_file(name))
    assert found is not None
    return found


def test_one_that_fails_or_is_stopped_leaves_the_others_alone(make_group: MakeGroup, tmp_path: Path):
    fails = of_rates(tmp_path, "fails", validate("validateRanges", ranges={"value": {"max": -1}}))
    group = make_group({"fails": fails, **{name: of_rates(tmp_path, name) for name in ("stops", "stays")}})
    members = [Member(pipeline=name, run_id=f"{name}-1") for name in ("fails", "stops", "stays")]
    [failed] = follow_until(
        group, members, lambda ended: len(ended) == 1 and all(rows(tmp_path / name) for name in ("stops", "stays"))
    )
    assert failed.member.pipeline == "fails"
    assert "value" in str(failed.error)
    assert (state_of("fails").phase, state_of("fails").run_id) == ("failed", "fails-1")
    [stopped] = follow_until(group, [members[0], members[2]], lambda ended: len(ended) == 1)
    assert stopped.was_stopped
    assert state_of("stops").phase == "stopped"
    before = rows(tmp_path / "stays")
    assert follow_until(group, members[2:], lambda _: rows(tmp_path / "stays") > before + 10) == []
    assert [*group.names] == ["stays"]
    # What is said of its restarts is none.
    group.follow([members[2].model_copy(update={"restarts": 7})])
    assert group.follow(members[2:]) == []
    # Another run id is another start, from where it was.
    again = Member(pipeline="stops", run_id="stops-2")
    before = rows(tmp_path / "stops")
    follow_until(group, [members[2], again], lambda _: rows(tmp_path / "stops") > before)
    assert {each.member.pipeline for each in group.stop()} == {"stays", "stops"}
    assert [*group.names] == []
    for name in ("stays", "stops"):
        values = sorted(DeltaTable(tmp_path / name).to_pyarrow_table()["value"].to_pylist())
        assert values == [*range(len(values))]
    assert rows(tmp_path / "fails") == 0


def test_each_has_its_own_settings(make_group: MakeGroup, tmp_path: Path):
    zones = {"kolkata": "Asia/Kolkata", "lima": "America/Lima"}
    group = make_group(
        {
            name: of_rates(
                tmp_path,
                name,
                transform("enrichData", columns={"zone": "current_timezone()"}),
                sparkConf={"spark.sql.session.timeZone": zone},
            )
            for name, zone in zones.items()
        }
    )
    members = [Member(pipeline=name, run_id=name) for name in zones]
    follow_until(group, members, lambda _: all(rows(tmp_path / name) for name in zones))
    for name, zone in zones.items():
        assert {*DeltaTable(tmp_path / name).to_pyarrow_table()["zone"].to_pylist()} == {zone}


def test_one_that_can_not_be_stopped_keeps_nobody_else_and_is_not_begun_beside_itself(
    make_group: MakeGroup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    blocked, free = threading.Event(), threading.Event()
    write = FileCommitter.write

    def waits(*given: Any) -> Any:
        blocked.set()
        assert free.wait(PATIENCE_SECONDS)
        return write(*given)

    monkeypatch.setattr(FileCommitter, "write", waits)
    files = load("toFiles", path=str(tmp_path / "files"), format="json", trigger="1 second")
    group = make_group({"blocked": of_rates(tmp_path, "blocked", to=files), "free": of_rates(tmp_path, "free")})
    first, other = Member(pipeline="blocked", run_id="1"), Member(pipeline="free", run_id="1")
    second = first.model_copy(update={"run_id": "2"})
    try:
        follow_until(group, [first, other], lambda _: blocked.is_set() and rows(tmp_path / "free") > 0)
        before = rows(tmp_path / "free")
        assert follow_until(group, [second, other], lambda _: rows(tmp_path / "free") > before + 20) == []
        assert state_of("blocked").run_id == "1"
    finally:
        free.set()
    follow_until(group, [second, other], lambda _: state_of("blocked").run_id == "2")


def test_what_fails_before_its_stream_begins_is_in_its_state(make_group: MakeGroup, tmp_path: Path):
    clashing = of_rates(tmp_path, "clashing", sparkConf={"spark.driver.memory": "77g"})
    group = make_group({"clashing": clashing})
    members = [Member(pipeline="clashing", run_id="1"), Member(pipeline="gone", run_id="2", restarts=3)]
    state_of_gone = StreamState.model_validate(
        {
            **{"pipeline": "gone", "checkpoint": "c", "run_id": "0", "phase": "running", "has_begun": True},
            **{"started": "2026-01-01T00:00:00Z", "heartbeat": "2026-01-01T00:00:00Z"},
        }
    )
    state_of_gone.write(state_file("gone"))
    follow_until(group, members, lambda ended: len(ended) == 2)
    state = state_of("clashing")
    assert (state.phase, state.run_id, state.lasting) == ("failed", "1", True)
    assert "spark.driver.memory" in (state.error or "")
    state = state_of("gone")
    assert (state.phase, state.run_id, state.restarts, state.has_begun) == ("failed", "2", 3, True)


def test_a_session_beside_has_no_functions_that_run_java(spark: SparkSession):
    beside = session_beside(spark, "beside")
    assert not beside.catalog.functionExists("java_method")


def test_groups_of_two_folders_are_told_apart(tmp_path: Path, streams: Path):
    said = GroupMembers.of(tmp_path / "a", "1", [Member(pipeline="flow", run_id="1")])
    said.write(said.file)
    GroupMembers.of(tmp_path / "b", "1").write(GroupMembers.of(tmp_path / "b", "1").file)
    assert all_groups(tmp_path / "a") == {"1": said}
    assert all_groups(tmp_path / "b")["1"].members == ()
    assert all_groups(tmp_path / "c") == {}


def test_a_member_that_is_not_found_is_a_failure_of_its_own(make_group: MakeGroup):
    def find(_: Member) -> PipelineConfig:
        raise PipelineConfigurationException("it is gone")

    group = StreamGroup(find, lambda *_: pytest.fail("there is no pipeline"))
    [ended] = follow_until(group, [Member(pipeline="nowhere", run_id="1")], lambda ended: len(ended) == 1)
    assert "it is gone" in str(ended.error)
    assert StreamState.read(state_file("nowhere")) is None
