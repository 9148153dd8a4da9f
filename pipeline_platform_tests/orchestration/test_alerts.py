"""The sensor of alerts, on a real instance: who needs to know is told once, whatever dies in between."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG
from dagster._core.test_utils import (
    create_run_for_test,
    create_test_daemon_workspace_context,
    freeze_time,
    load_remote_repo,
)
from dagster._core.workspace.load_target import PythonFileTarget
from dagster._daemon.freshness import FreshnessDaemon
from dagster._daemon.sensor import execute_sensor_iteration
from dagster._time import get_current_datetime
from pyspark.sql import SparkSession

from devtools.services.postgres import Postgres
from pipeline_platform.orchestration.alerts import DAGSTER_URL_VARIABLE, SENSOR, alerts_sensor
from pipeline_platform.orchestration.broken import CHECK
from pipeline_platform.orchestration.project_definitions import project_definitions
from pipeline_platform.orchestration.supervisor import STREAM_TAG
from pipeline_platform.resources.alert_routes import ALERTS_VARIABLE, ROUTES_VARIABLE
from pipeline_platform.resources.alerts import AlertsResource
from pipeline_platform_tests.orchestration.alert_servers import Webhook
from pipeline_platform_tests.orchestration.conftest import MakeDefinitions, rate_to_delta, validation
from pipeline_platform_tests.orchestration.test_streams_sensor import Ticking, stream_of_rates

FLOW = dg.AssetKey(["flow", "to_delta_lake"])


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    made = Webhook()
    monkeypatch.setenv(ALERTS_VARIABLE, f"webhook:{made.url}")
    yield from made.serve()


@pytest.fixture
def team() -> Iterator[Webhook]:
    yield from Webhook().serve()


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test(temp_dir=str(tmp_path), overrides={"run_retries": {"enabled": True}}) as found:
        yield found


class Alerting:
    """Ticks the sensor as the daemon does: with its own cursor."""

    def __init__(self, definitions: dg.Definitions, instance: dg.DagsterInstance) -> None:
        self.definitions = definitions
        self.instance = instance
        self.cursor: str | None = None
        self.tick()

    def tick(self) -> str | None:
        """Evaluate the sensor; returns why it starts no run."""
        resources = self.definitions.resources
        assert resources is not None
        context = dg.build_sensor_context(
            self.instance,
            cursor=self.cursor,
            repository_def=self.definitions.get_repository_def(),
            resources={"alerts": resources["alerts"]},
        )
        result = self.definitions.resolve_sensor_def(SENSOR)(context)
        assert isinstance(result, dg.SensorResult)
        self.cursor = result.cursor
        assert isinstance(result.skip_reason, dg.SkipReason)
        return result.skip_reason.skip_message

    def reports(self, name: str = "rule", passed: bool = False, **more: Any) -> None:
        """Evaluate a check of the flow's sink without a run, as whoever watches the table from outside does."""
        evaluation = dg.AssetCheckEvaluation(asset_key=FLOW, check_name=name, passed=passed, **more)
        self.instance.report_runless_asset_event(evaluation)


def kinds(webhook: Webhook) -> list[str]:
    return [posted["alert"]["kind"] for posted in webhook.posted]


def own_assets(fails: Collection[str]) -> dg.Definitions:
    """A person's own assets, with a check that fails or warns and one that blocks, where `fails` says so."""

    @dg.asset(owners=["team:own"], tags={"tier": "gold"})
    def fine() -> None: ...

    @dg.asset_check(asset=fine)
    def not_so_fine() -> dg.AssetCheckResult:
        severity = dg.AssetCheckSeverity.ERROR if "error" in fails else dg.AssetCheckSeverity.WARN
        passed = not {"error", "warn"} & {*fails}
        return dg.AssetCheckResult(passed=passed, severity=severity, description="3 of 7")

    @dg.asset_check(asset=fine, blocking=True)
    def blocks() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed="blocks" not in fails, description="no rows")

    @dg.asset(owners=["team:other"], deps=[fine])
    def after() -> None: ...

    job = dg.define_asset_job("own", dg.AssetSelection.assets(fine, after), executor_def=dg.in_process_executor)
    return dg.Definitions(assets=[fine, after], asset_checks=[not_so_fine, blocks], jobs=[job])


def test_a_run_that_failed_is_told_once_with_its_step_and_what_to_do(
    define: MakeDefinitions,
    webhook: Webhook,
    instance: dg.DagsterInstance,
    tmp_path: Path,
    spark: SparkSession,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv(DAGSTER_URL_VARIABLE, "https://dagster.example.org/")
    flow = rate_to_delta("flow", tmp_path / "t", validation("validateRanges", ranges={"value": {"max": 5}}))
    broken = rate_to_delta("broken", tmp_path / "u", partitionBy="nowhere")
    owned = {**flow, "metadata": {"owner": "ada@example.org", "team": "weather", "tags": ["gold"]}}
    definitions = define(owned, broken)
    alerting = Alerting(definitions, instance)
    runs: list[str] = []
    for name, tags in [("broken", {}), ("broken", {}), ("flow", {}), ("broken", {STREAM_TAG: "broken"})]:
        job = definitions.resolve_job_def(name)
        result = job.execute_in_process(instance=instance, raise_on_error=False, tags=tags)
        assert not result.success
        runs.append(result.run_id)
    assert alerting.tick() == "told: broken: run failed; flow: run failed"
    assert alerting.tick() == "nothing to tell"
    # Not the second one, which fails for the same reason, nor the check that makes the run of `flow` fail.
    first, second = webhook.posted
    assert first["alert"]["kind"] == "run_failed"
    assert first["alert"]["run_id"] == runs[0]
    assert runs[0] in first["text"]
    assert "step 2 (load toDeltaLake), " in first["text"]
    assert "next: " in first["text"]
    assert "Traceback" not in first["text"]
    assert first["text"].endswith(f"\nhttps://dagster.example.org/runs/{runs[0]}")
    assert second["alert"]["run_id"] == runs[2]
    assert second["alert"]["owners"] == ["ada@example.org", "team:weather"]
    assert second["alert"]["tags"]["gold"] == ""
    assert "value" in second["text"]


def test_checks_and_runs_of_a_persons_own_assets_go_to_their_owners(
    define: MakeDefinitions,
    webhook: Webhook,
    team: Webhook,
    instance: dg.DagsterInstance,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    routes = [{"owner": "team:own", "tag": "tier=gold", "kinds": ["check_failed"], "to": [f"webhook:{team.url}"]}]
    (tmp_path / "routes.json").write_text(json.dumps({"routes": routes}))
    monkeypatch.setenv(ROUTES_VARIABLE, str(tmp_path / "routes.json"))
    fails: list[str] = []
    definitions = dg.Definitions.merge(own_assets(fails), define(rate_to_delta("flow", tmp_path / "t")))
    alerting = Alerting(definitions, instance)
    job = definitions.resolve_job_def("own")
    partition = {"dagster/partition": "2026-01-01"}
    days = {ASSET_PARTITION_RANGE_START_TAG: "2026-01-02", ASSET_PARTITION_RANGE_END_TAG: "2026-01-04"}
    same: list[tuple[str, dict[str, str]]] = [("error", {}), ("error", partition), ("error", days), ("error", {})]
    for outcome, tags in (*same, ("warn", {}), ("blocks", {})):
        fails[:] = [outcome]
        job.execute_in_process(instance=instance, raise_on_error=False, tags=tags)
    assert alerting.tick() == "told: fine: check failed; fine: run failed"
    failed, blocked = team.posted
    assert failed["text"] == (
        "fine: 3 checks failed:\n"
        "- the check not_so_fine of fine failed: 3 of 7\n"
        "- the check not_so_fine of fine, partition 2026-01-01, failed: 3 of 7\n"
        "- the check not_so_fine of fine, partition 2026-01-02...2026-01-04, failed: 3 of 7"
    )
    # Those who are told that the run failed, are not told of the check that made it fail.
    assert blocked["text"] == "fine: the check blocks of fine failed: no rows"
    assert kinds(webhook) == ["run_failed"]
    assert "no rows" in webhook.posted[0]["text"] or "blocks" in webhook.posted[0]["text"]


def test_a_run_is_told_when_no_retry_comes_also_one_that_never_began_and_one_without_assets(
    webhook: Webhook, instance: dg.DagsterInstance
):
    @dg.op
    def fails() -> None:
        raise dg.Failure("no disk")

    @dg.job(executor_def=dg.in_process_executor)
    def clean_up() -> None:
        fails()

    sensors = dg.Definitions(sensors=[alerts_sensor()], resources={"alerts": AlertsResource()}, jobs=[clean_up])
    definitions = dg.Definitions.merge(own_assets(["blocks"]), sensors)
    alerting, own = Alerting(definitions, instance), definitions.resolve_job_def("own")
    own.execute_in_process(instance=instance, raise_on_error=False, tags={"dagster/max_retries": "1"})
    assert alerting.tick() == "nothing to tell"
    instance.report_run_failed(instance.create_run_for_job(own), "no worker took it")
    definitions.resolve_job_def("clean_up").execute_in_process(instance=instance, raise_on_error=False)
    alerting.tick()
    assert {posted["alert"]["pipeline"]: posted["text"].rpartition("failed: ")[2] for posted in webhook.posted} == {
        "fine": "no worker took it",
        "after": "no worker took it",
        "clean_up": "no disk",
    }


def test_a_stream_that_is_given_up_is_told_once_and_its_restarts_are_not(
    define: MakeDefinitions, webhook: Webhook, instance: dg.DagsterInstance, tmp_path: Path
):
    definitions = define(stream_of_rates("flow", tmp_path, maxRestarts=1))
    alerting, ticking = Alerting(definitions, instance), Ticking(definitions, instance)
    for _ in range(2):
        ticking.tick()
        ticking.says(phase="failed", error="no such column", lasting=False)
        assert ticking.run is not None
        found = instance.get_run_by_id(ticking.run.run_id)
        assert found is not None
        instance.report_run_failed(found)
        for event in ticking.tick().asset_events:
            instance.report_runless_asset_event(event)
        ticking.passes(3600)
    assert '"given_up"' in (ticking.cursor or "")
    assert alerting.tick() == "told: flow: stream given up"
    assert alerting.tick() == "nothing to tell"
    (told,) = webhook.posted
    assert told["alert"]["kind"] == "stream_given_up"
    assert "given up" in told["text"]
    assert f"pipeline-platform resume {tmp_path / 'pipelines' / 'flow.json'}" in told["text"]


def test_what_was_before_the_first_tick_is_not_told_and_what_comes_after_is_told_in_one_message(
    define: MakeDefinitions, webhook: Webhook, instance: dg.DagsterInstance, tmp_path: Path
):
    definitions = define(rate_to_delta("flow", tmp_path / "t"))
    early = dg.AssetCheckEvaluation(asset_key=FLOW, check_name="early", passed=False)
    instance.report_runless_asset_event(early)
    alerting = Alerting(definitions, instance)
    alerting.reports("one", description="password=hush-hush-9")
    alerting.reports("two", severity=dg.AssetCheckSeverity.WARN)
    alerting.reports("three", description=f"{'very ' * 2000}long\n  next: shorten it")
    instance.report_runless_asset_event(
        dg.AssetCheckEvaluation(asset_key=dg.AssetKey("elsewhere"), check_name="one", passed=False)
    )
    alerting.tick()
    (told,) = webhook.posted
    begin = (
        "flow: 2 checks failed:\n- the check one of flow/to_delta_lake failed: password=***\n- the check three of flow"
    )
    assert told["text"].startswith(begin)
    # A long one keeps its begin and its end.
    assert told["text"].endswith("very long\n  next: shorten it")
    assert 2900 < len(told["text"]) < 3100


def test_a_tick_that_dies_while_it_tells_is_continued_by_the_next(
    define: MakeDefinitions,
    webhook: Webhook,
    team: Webhook,
    instance: dg.DagsterInstance,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv(ALERTS_VARIABLE, f"webhook:{webhook.url},webhook:{team.url}")
    alerting = Alerting(define(rate_to_delta("flow", tmp_path / "t")), instance)
    alerting.reports(description="password=hush-hush-9")
    team.hold.clear()
    if (process := os.fork()) == 0:
        storage = type(instance.daemon_cursor_storage)
        set_values, kept = storage.set_cursor_values, []

        def killed_once_one_is_told(self: Any, pairs: Mapping[str, str]) -> None:
            set_values(self, pairs)
            kept.append(pairs)
            if len(kept) == 2:
                os._exit(9)

        storage.set_cursor_values = killed_once_one_is_told
        alerting.tick()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 9
    team.hold.set()
    assert (len(webhook.posted), len(team.posted)) == (1, 0)
    key = "pipeline_platform/alerts"
    assert "hush" not in instance.daemon_cursor_storage.get_cursor_values({key})[key]
    # Meanwhile more has happened, which is for the tick after the next.
    alerting.reports("other")
    assert alerting.tick() == "told: flow: check failed"
    assert (len(webhook.posted), len(team.posted)) == (1, 1)
    before = alerting.cursor
    assert alerting.tick() == "told: flow: check failed"
    # And one that dies after it has told everybody, before the daemon has kept its cursor.
    alerting.cursor = before
    assert alerting.tick() == "nothing to tell"
    for posted in (webhook.posted, team.posted):
        assert [told["text"] for told in posted] == [
            "flow: the check rule of flow/to_delta_lake failed: password=***",
            "flow: the check other of flow/to_delta_lake failed",
        ]


def test_a_file_that_is_broken_is_told_and_again_when_it_is_broken_again(
    define: MakeDefinitions, webhook: Webhook, instance: dg.DagsterInstance, tmp_path: Path
):
    flow = rate_to_delta("flow", tmp_path / "t")
    alerting = Alerting(define(flow, texts={"bad.json": "{"}), instance)
    failed = dg.AssetCheckEvaluation(asset_key=dg.AssetKey(["broken", "bad"]), check_name=CHECK, passed=False)
    broken = alerting.definitions
    for definitions in (broken, define(flow, texts={"bad.json": json.dumps({**flow, "name": "bad"})}), broken):
        alerting.definitions = definitions
        if definitions is broken:
            instance.report_runless_asset_event(failed)
        alerting.tick()
    assert [posted["alert"]["pipeline"] for posted in webhook.posted] == ["broken/bad", "broken/bad"]


def test_rows_that_a_stream_leaves_out_are_told_once(
    define: MakeDefinitions, webhook: Webhook, instance: dg.DagsterInstance, tmp_path: Path
):
    alerting = Alerting(define(stream_of_rates("flow", tmp_path)), instance)
    for rows in (0, 4, 9):
        observation = dg.AssetObservation(FLOW, metadata={"stream/late_rows": rows})
        instance.report_runless_asset_event(observation)
        alerting.tick()
    assert [posted["text"] for posted in webhook.posted] == [
        "flow: left out: 4 rows came too late for the watermark, since the run began"
    ]


LOCATION = """
import dagster as dg
import pipeline_platform.definitions

@dg.op
def nothing(): ...

@dg.job
def clean_up():
    nothing()

defs = dg.Definitions.merge(pipeline_platform.definitions.defs, dg.Definitions(jobs=[clean_up]))
"""


def test_an_asset_that_is_not_fresh_and_a_run_of_the_location_are_told_by_a_real_daemon(
    webhook: Webhook, instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "pipelines").mkdir()
    stream = {**stream_of_rates("flow", tmp_path), "metadata": {"team": "weather"}}
    (tmp_path / "pipelines" / "flow.json").write_text(json.dumps(stream))
    monkeypatch.setenv("PIPELINES_DIR", str(tmp_path / "pipelines"))
    location = tmp_path / "location.py"
    location.write_text(LOCATION)
    target = PythonFileTarget(str(location), attribute=None, working_directory=None, location_name="shop")
    with create_test_daemon_workspace_context(target, instance) as workspace:

        def round_of_the_daemons(seconds: float) -> None:
            with freeze_time(began + seconds):
                list(FreshnessDaemon().run_iteration(workspace))
                list(execute_sensor_iteration(workspace, logging.getLogger(__name__), None, None))

        began = get_current_datetime().timestamp()
        round_of_the_daemons(0)
        instance.report_runless_asset_event(dg.AssetMaterialization(FLOW))
        # After 30 minutes its freshness is a warning, which nobody is told of.
        for seconds in (60, 3000):
            round_of_the_daemons(seconds)
        assert webhook.posted == []
        repository = load_remote_repo(workspace, "__repository__")
        ours = repository.get_full_job("clean_up").get_remote_origin()
        elsewhere = ours.repository_origin.code_location_origin._replace(location_name="elsewhere")  # pyright: ignore[reportAttributeAccessIssue]
        theirs = ours._replace(repository_origin=ours.repository_origin._replace(code_location_origin=elsewhere))
        for origin, reason in ((ours, "no worker took it"), (theirs, "it is not ours")):
            run = create_run_for_test(instance, "clean_up", remote_job_origin=origin)
            instance.report_run_failed(run, reason)
        for seconds in (3700, 3800):
            round_of_the_daemons(seconds)
    materialized = instance.get_latest_materialization_event(FLOW)
    assert materialized is not None
    updated = datetime.fromtimestamp(materialized.timestamp, UTC)
    failed, told = sorted(webhook.posted, key=lambda posted: posted["text"])
    assert failed["alert"]["pipeline"] == "clean_up"
    assert "no worker took it" in failed["text"]
    assert told["alert"]["owners"] == ["team:weather"]
    assert told["alert"]["assets"] == ["flow/to_delta_lake"]
    assert told["text"].startswith(f"flow: flow/to_delta_lake was not updated since {updated:%Y-%m-%d %H:%M} UTC,")


def test_all_of_it_is_found_in_postgresql_too(
    define: MakeDefinitions, webhook: Webhook, postgres: Postgres, tmp_path: Path
):
    postgres.query("CREATE DATABASE dagster_alerts")
    storage = {
        "hostname": postgres.host,
        "port": postgres.port,
        "db_name": "dagster_alerts",
        "username": postgres.username,
        "password": postgres.password,
        "scheme": "postgresql+psycopg2",
    }
    fails: list[str] = ["blocks"]
    with dg.instance_for_test(
        temp_dir=str(tmp_path), overrides={"storage": {"postgres": {"postgres_db": storage}}}
    ) as instance:
        definitions = dg.Definitions.merge(own_assets(fails), define(rate_to_delta("flow", tmp_path / "t")))
        alerting, job = Alerting(definitions, instance), definitions.resolve_job_def("own")
        for fails[:] in (["blocks"], ["error"]):
            assert alerting.tick() == "nothing to tell" or webhook.posted
            job.execute_in_process(instance=instance, raise_on_error=False)
            alerting.tick()
        alerting.reports()
        instance.report_runless_asset_event(dg.AssetObservation(FLOW, metadata={"stream/future_rows": 3}))
        alerting.tick()
        assert alerting.tick() == "nothing to tell"
    assert kinds(webhook) == ["run_failed", "check_failed", "check_failed", "late_rows"]


def test_two_folders_of_pipelines_have_one_sensor(define: MakeDefinitions, tmp_path: Path):
    one = define(rate_to_delta("flow", tmp_path / "t"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "other.json").write_text(json.dumps(rate_to_delta("other", tmp_path / "u")))
    both = dg.Definitions.merge(one, project_definitions(tmp_path / "other"))
    assert both.get_repository_def().get_sensor_def(SENSOR)
    dg.Definitions.validate_loadable(both)
