"""The instance of a deployment, on a real PostgreSQL."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._utils.tags import TagConcurrencyLimitsCounter

from devtools.services.postgres import Postgres
from pipeline_platform_tests.orchestration.conftest import rate_to_delta

ROOT = Path(__file__).parent.parent.parent
DATABASE = "dagster_instance"


@pytest.fixture
def home(postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A DAGSTER_HOME with the file of the deployment, and an empty database."""
    postgres.query(f"CREATE DATABASE {DATABASE}")
    folder = tmp_path / "home"
    folder.mkdir()
    shutil.copy(ROOT / "docker" / "dagster.yaml", folder)
    for name, value in {
        "HOST": postgres.host,
        "PORT": str(postgres.port),
        "DB": DATABASE,
        "USER": postgres.username,
        "PASSWORD": postgres.password,
    }.items():
        monkeypatch.setenv(f"DAGSTER_POSTGRES_{name}", value)
    monkeypatch.setenv("DAGSTER_HOME", str(folder))
    return folder


def test_a_run_is_kept_in_postgresql_and_pools_have_one_slot(home: Path, postgres: Postgres, tmp_path: Path):
    pipelines = tmp_path / "pipelines"
    pipelines.mkdir()
    (pipelines / "flow.json").write_text(json.dumps(rate_to_delta("flow", tmp_path / "table")))
    execute = ["-m", "dagster", "job", "execute", "-m", "pipeline_platform.definitions", "-j", "flow"]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *execute],
        env={**os.environ, "PIPELINES_DIR": str(pipelines), "PYTHONPATH": str(ROOT), "SPARK_MASTER": "local[2]"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    with postgres.connect(dbname=DATABASE) as connection:
        assert connection.execute("SELECT pipeline_name, status FROM runs").fetchall() == [("flow", "SUCCESS")]
        counted = connection.execute("SELECT count(*) FROM event_logs WHERE asset_key IS NOT NULL").fetchone()
    assert counted is not None
    assert counted[0] >= 2
    assert postgres.password not in "".join(path.read_text() for path in home.rglob("*") if path.is_file())
    with dg.DagsterInstance.from_config(str(home)) as instance:
        storage = instance.event_log_storage
        assert storage.supports_global_concurrency_limits
        assert storage.initialize_concurrency_limit_to_default("stream_flow")
        assert storage.claim_concurrency_slot("stream_flow", "first", "step").is_claimed
        assert not storage.claim_concurrency_slot("stream_flow", "second", "step").is_claimed


def test_it_differs_from_the_instance_of_make_dev_in_its_storage_alone():
    deployed, local = (yaml.safe_load((ROOT / name).read_text()) for name in ("docker/dagster.yaml", "dagster.yaml"))
    assert {key: deployed[key] for key in local} == local
    assert deployed.keys() - local.keys() == {"storage", "retention"}


@pytest.mark.parametrize("folder", [".", "docker/kubernetes", "pipeline_platform/starter"])
@pytest.mark.parametrize(
    "tags",
    [{"pipeline_platform/mode": "batch"}, {"dagster/backfill": "b"}, {"dagster/from_automation_condition": "true"}],
)
def test_no_more_than_two_batches_run_at_once_whatever_has_started_them(folder: str, tags: dict[str, str]):
    runs = yaml.safe_load((ROOT / folder / "dagster.yaml").read_text())["concurrency"]["runs"]
    limits = runs["tag_concurrency_limits"]
    run = dg.DagsterRun("__ASSET_JOB", tags=tags)
    assert not TagConcurrencyLimitsCounter(limits, [run]).is_blocked(run)
    assert TagConcurrencyLimitsCounter(limits, [run, run]).is_blocked(run)
