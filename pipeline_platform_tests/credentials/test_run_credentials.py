"""Where a step's credentials come from when they are not in Vault, and what is noted of it."""

from __future__ import annotations

import json
import multiprocessing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline_platform import rotated_file
from pipeline_platform.config.loader import parse_pipeline
from pipeline_platform.connectors.jdbc.credentials import JdbcCredentials
from pipeline_platform.connectors.kafka.credentials import KafkaCredentials
from pipeline_platform.connectors.storage.credentials import S3Credentials
from pipeline_platform.credentials.audit import Access, AuditLog
from pipeline_platform.credentials.run_credentials import RunCredentials
from pipeline_platform.exceptions import CredentialException, StepLocation
from pipeline_platform.registry import method_registry
from pipeline_platform.steps.credentialed import Credentialed

PASSWORD = "sesame-open"
ACCESS = Access("sales", "run-1", "orders", "secret/postgres", "postgres", "vault", "ann", "granted")
PLACE = StepLocation("sales", Path("sales.json"), 4, 0, "extract", "fromPostgres", "orders")


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    return AuditLog(tmp_path / "audit" / "credentials.jsonl")


def lines(log: AuditLog) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.path.read_text().splitlines()] if log.path.exists() else []


def entered(log: AuditLog, method: str, vault_required: bool = False, **config: Any) -> Any:
    """The credentials of a pipeline's one step."""
    text = json.dumps(
        {"name": "sales", "mode": "batch", "steps": [{"type": "extract", "method": method, "config": config}]}
    )
    step = parse_pipeline(text, method_registry()).steps[0]
    resolved = step.config.resolved()
    assert isinstance(resolved, Credentialed)
    need = resolved.credential_request()
    run = RunCredentials("run-1", None, log, "ann", vault_required)
    return run.enter(need, PLACE) if need is not None else None


def test_a_database_is_entered_with_what_the_config_says(log: AuditLog):
    found = entered(log, "fromPostgres", table="t", database="shop", username="ann", password=PASSWORD)
    assert isinstance(found, JdbcCredentials)
    assert (found.host, found.port, found.database) == ("localhost", 5432, "shop")
    assert found.password.get_secret_value() == PASSWORD


def test_what_the_config_leaves_out_stands_in_the_environment(log: AuditLog, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PGHOST", "db.example")
    monkeypatch.setenv("PGPORT", "6543")
    monkeypatch.setenv("PGUSER", "env-user")
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    found = entered(log, "fromPostgres", table="t", database="shop", username="ann")
    assert (found.host, found.port, found.username) == ("db.example", 6543, "ann")
    assert lines(log)[0]["source"] == "environment"


def test_a_topic_is_read_with_the_properties_in_the_config(log: AuditLog):
    found = entered(log, "fromKafka", False, topic="t", **{"bootstrap.servers": "b:9092", "security.protocol": "SSL"})
    assert isinstance(found, KafkaCredentials)
    assert {name: value.get_secret_value() for name, value in found.properties.items()} == {
        "bootstrap.servers": "b:9092",
        "security.protocol": "SSL",
    }


def test_a_local_path_asks_for_no_credentials(log: AuditLog, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA-sesame")
    assert entered(log, "fromFiles", path="in", format="csv", vault_required=True) is None
    assert lines(log) == []


def test_a_bucket_may_be_entered_by_the_machine_s_own_role(log: AuditLog, monkeypatch: pytest.MonkeyPatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    assert entered(log, "fromS3", bucket="lake", path="in", format="csv") is None


def test_a_bucket_is_entered_with_the_environment_s_key(log: AuditLog, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA-sesame")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", PASSWORD)
    found = entered(log, "fromDeltaLake", path="s3a://lake/t")
    assert isinstance(found, S3Credentials)
    assert found.secret_access_key.get_secret_value() == PASSWORD


INLINE: dict[str, Any] = {"table": "t", "database": "shop", "username": "ann", "password": PASSWORD}
REFUSED = [
    ("fromPostgres", INLINE, "has no 'credentialPath'"),
    ("fromMySQL", INLINE, "has no 'credentialPath'"),
    ("fromKafka", {"topic": "t", "bootstrap.servers": "b:9092"}, "has no 'credentialPath'"),
    ("fromPostgres", {**INLINE, "credentialPath": "secret/db"}, "has secrets in addition to its 'credentialPath'"),
    (
        "fromS3",
        {"bucket": "b", "path": "p", "format": "csv", "accessKeyId": "AKIA-sesame", "secretAccessKey": PASSWORD},
        "has no 'credentialPath'",
    ),
]


@pytest.mark.parametrize(("method", "config", "message"), REFUSED, ids=lambda value: str(value)[:20])
def test_vault_required_refuses_every_other_source(log: AuditLog, method: str, config: dict[str, Any], message: str):
    with pytest.raises(CredentialException, match=message) as raised:
        entered(log, method, vault_required=True, **config)
    assert raised.value.outcome == "refused"
    assert not raised.value.retryable
    assert PASSWORD not in str(raised.value)
    assert [line["outcome"] for line in lines(log)] == ["refused"]


def test_vault_required_refuses_a_password_in_the_environment(log: AuditLog, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    with pytest.raises(CredentialException, match="VAULT_REQUIRED"):
        entered(log, "fromPostgres", vault_required=True, table="t", database="shop", username="ann")


@pytest.mark.parametrize(
    ("value", "required"), [("true", True), ("TRUE", True), ("1", True), ("false", False), ("", False)]
)
def test_vault_required_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch, value: str, required: bool):
    monkeypatch.setenv("VAULT_REQUIRED", value)
    monkeypatch.delenv("VAULT_ADDR", raising=False)
    assert RunCredentials.from_environment("run-1", PLACE).vault_required is required


def test_a_misspelled_vault_required_is_an_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("VAULT_REQUIRED", "ture")
    with pytest.raises(CredentialException, match="neither true nor false"):
        RunCredentials.from_environment("run-1", PLACE)


def test_a_secret_without_a_vault_says_what_to_set(log: AuditLog):
    with pytest.raises(CredentialException, match="no Vault is configured") as raised:
        entered(log, "fromPostgres", table="t", credentialPath="secret/postgres")
    assert "VAULT_ADDR" in str(raised.value)
    assert "pipeline 'sales', step 1 (extract fromPostgres), sales.json:4" in str(raised.value)


def test_a_vault_without_a_login_says_what_to_set(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("VAULT_ADDR", "http://127.0.0.1:1")
    for name in ("VAULT_TOKEN", "VAULT_ROLE_ID", "VAULT_KUBERNETES_ROLE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(CredentialException, match="no login for it"):
        RunCredentials.from_environment("run-1", PLACE)


def test_incomplete_credentials_name_every_missing_field(log: AuditLog, monkeypatch: pytest.MonkeyPatch):
    for name in ("PGDATABASE", "PGUSER", "PGPASSWORD"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(CredentialException) as raised:
        entered(log, "fromPostgres", table="t", username="ann")
    assert "'database' is missing" in str(raised.value)
    assert "'password' is missing" in str(raised.value)
    assert "PGPASSWORD" in str(raised.value)
    assert [line["outcome"] for line in lines(log)] == ["incomplete"]


def test_an_access_is_one_line_with_all_that_an_auditor_asks_and_no_value(log: AuditLog):
    entered(log, "fromPostgres", **INLINE)
    (line,) = lines(log)
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "pipeline": "sales",
        "run": "run-1",
        "step": "orders",
        "path": None,
        "type": "postgres",
        "source": "config",
        "user": "ann",
        "outcome": "granted",
    }
    assert PASSWORD not in log.path.read_text()


def test_the_audit_log_is_for_its_owner_alone(log: AuditLog):
    log.note(ACCESS)
    assert log.path.stat().st_mode & 0o777 == 0o600


def note_many(path: Path, writer: str, count: int) -> None:
    for number in range(count):
        AuditLog(path).note(replace(ACCESS, run=f"{writer}-{number}"))


def test_several_processes_write_to_one_log_through_its_rotation_and_no_line_is_lost(
    log: AuditLog, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(rotated_file, "MAX_BYTES", 20_000)
    fork = multiprocessing.get_context("fork")
    writers = [fork.Process(target=note_many, args=(log.path, f"w{n}", 200)) for n in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    files = [file for file in log.path.parent.iterdir() if file.name.startswith(log.path.name)]
    assert len(files) > 1
    runs = [json.loads(line)["run"] for file in files for line in file.read_text().splitlines()]
    assert sorted(runs) == sorted(f"w{writer}-{number}" for writer in range(3) for number in range(200))


def test_what_can_not_be_audited_is_not_handed_out(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CredentialException, match="can't record the access"):
        entered(AuditLog(tmp_path / "file" / "credentials.jsonl"), "fromPostgres", **INLINE)
