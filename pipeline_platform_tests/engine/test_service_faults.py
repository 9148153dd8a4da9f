"""What passes by itself is got over, and what two runs do at once is right for both."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from devtools.pipelines import extract, load, pipeline_of, run
from devtools.services.postgres import Postgres
from devtools.services.vault import VaultServer
from pipeline_platform.credentials.audit import AUDIT_LOG_VARIABLE
from pipeline_platform.engine.batch import BatchRun
from pipeline_platform.exceptions import CredentialException
from pipeline_platform.metrics.run import RunMetrics

PATIENT = {"maxAttempts": 30, "delaySeconds": 1}


@pytest.fixture
def audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "credentials.jsonl"
    monkeypatch.setenv(AUDIT_LOG_VARIABLE, str(path))
    return path


@pytest.fixture
def people(postgres: Postgres, vault: VaultServer, monkeypatch: pytest.MonkeyPatch) -> Postgres:
    """A database with a table, whose credentials are in Vault."""
    postgres.query("DROP TABLE IF EXISTS people")
    postgres.query("CREATE TABLE people AS SELECT n AS id FROM generate_series(1, 100) n")
    vault.write("people", postgres.credentials())
    for name, value in vault.environment().items():
        monkeypatch.setenv(name, value)
    return postgres


def outcomes(audit: Path) -> list[str]:
    return [json.loads(line)["outcome"] for line in audit.read_text().splitlines()] if audit.exists() else []


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_run_waits_for_a_sealed_vault_to_be_opened(
    spark: SparkSession, people: Postgres, vault: VaultServer, audit: Path, tmp_path: Path
):
    steps = [
        extract("fromPostgres", table="people", credentialPath="secret/people"),
        load("toDeltaLake", path=str(tmp_path / "out")),
    ]
    vault.seal()
    opened = threading.Thread(target=lambda: (until(lambda: "sealed" in outcomes(audit)), vault.unseal()))
    opened.start()
    try:
        found = run(spark, *steps, retry=PATIENT)
    finally:
        opened.join()
        vault.unseal()
    assert found.attempts > 1
    assert sorted(DeltaTable(tmp_path / "out").to_pyarrow_table()["id"].to_pylist()) == list(range(1, 101))


def test_a_forbidden_secret_is_not_asked_for_again(spark: SparkSession, people: Postgres, audit: Path, tmp_path: Path):
    steps = [
        extract("fromPostgres", table="people", credentialPath="team/nobody"),
        load("toDeltaLake", path=str(tmp_path / "out")),
    ]
    with pytest.raises(CredentialException):
        run(spark, *steps, retry=PATIENT)
    assert outcomes(audit) == ["forbidden"]


def test_two_runs_that_append_to_one_delta_table_at_once_both_succeed(spark: SparkSession, tmp_path: Path):
    steps = [extract("fromRate", rowsPerSecond=10), load("toDeltaLake", path=str(tmp_path / "out"))]
    run(spark, *steps)
    found: list[RunMetrics] = []
    both = threading.Barrier(2)

    def listen(event: str, *_: object) -> None:
        if not begun(event):
            both.wait(60)

    def append() -> None:
        found.append(BatchRun(pipeline_of(steps), spark, listener=listen).run())

    waited = threading.local()

    def begun(event: str) -> bool:
        """Whether this run has been let go on already: both wait for each other before their load."""
        before, waited.done = getattr(waited, "done", False), True
        return before or event != "started"

    runs = [threading.Thread(target=append) for _ in range(2)]
    for one in runs:
        one.start()
    for one in runs:
        one.join()
    assert [one.status for one in found] == ["COMPLETED", "COMPLETED"]
    assert DeltaTable(tmp_path / "out").to_pyarrow_table().num_rows == 3 * 600
