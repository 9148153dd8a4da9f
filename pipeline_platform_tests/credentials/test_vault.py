"""Secrets are read from a real Vault, however one logs in, and each way to fail has a name."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import hvac
import pytest
from hvac.exceptions import Forbidden

from devtools.services.built import vault_program
from devtools.services.http import serving
from devtools.services.process import ServerProcess, free_port
from devtools.services.vault import ROLE, VaultServer
from pipeline_platform.connectors.jdbc.credentials import JdbcCredentials
from pipeline_platform.credentials.audit import AuditLog
from pipeline_platform.credentials.request import CredentialRequest
from pipeline_platform.credentials.run_credentials import RunCredentials
from pipeline_platform.credentials.vault import AppRoleLogin, KubernetesLogin, TokenLogin, Vault
from pipeline_platform.exceptions import CredentialException, StepLocation
from pipeline_platform.redaction import redact

PASSWORD = 'sesame/open "&%20'
FIELDS = {"host": "db", "port": "5432", "database": "shop", "username": "ann", "password": PASSWORD}
PLACE = StepLocation("sales", Path("sales.json"), 4, 0, "extract", "fromPostgres", "orders")
NEED = CredentialRequest("postgres", JdbcCredentials, "secret/shop")


@pytest.fixture
def app_role(vault: VaultServer) -> Iterator[Vault]:
    vault.write("shop", FIELDS)
    client = Vault(vault.address, AppRoleLogin(vault.role_id, vault.secret_id))
    yield client
    client.close()


def token_of(vault: VaultServer, *policies: str) -> str:
    return vault.client().auth.token.create(policies=[*policies])["auth"]["client_token"]


def test_a_vault_that_accepts_and_says_nothing_is_given_up_after_its_timeout(monkeypatch: pytest.MonkeyPatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("VAULT_ADDR", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("VAULT_TOKEN", "sesame")
        monkeypatch.setenv("VAULT_CLIENT_TIMEOUT", "200ms")
        client = Vault.from_environment()
        assert client is not None
        with pytest.raises(CredentialException, match="does not answer \\(ReadTimeout\\)") as raised:
            client.read("secret/shop")
    assert raised.value.outcome == "unreachable"


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("30", 30), ("1.5s", 1.5), ("2m", 120), ("", 10), ("soon", None), ("0", None), ("-1", None)],
)
def test_the_timeout_is_a_duration_as_vault_s_own_command_line_takes_it(
    written: str, seconds: float | None, monkeypatch: pytest.MonkeyPatch
):
    for name, value in {"VAULT_ADDR": "http://v", "VAULT_TOKEN": "t", "VAULT_CLIENT_TIMEOUT": written}.items():
        monkeypatch.setenv(name, value)
    if seconds is None:
        with pytest.raises(CredentialException, match="VAULT_CLIENT_TIMEOUT"):
            Vault.from_environment()
        return
    client = Vault.from_environment()
    assert client is not None
    assert client.timeout_seconds == seconds


@pytest.mark.parametrize("path", ["secret/shop", "secret/data/shop", "/secret/shop/"])
def test_both_spellings_of_a_path_give_the_same_secret(app_role: Vault, path: str):
    assert app_role.read(path) == FIELDS


def test_a_secret_of_the_first_version_of_the_engine_is_read(vault: VaultServer, app_role: Vault):
    vault.client().secrets.kv.v1.create_or_update_secret("old/shop", secret=FIELDS, mount_point="kv1")
    assert app_role.read("kv1/old/shop") == FIELDS


def test_a_secret_in_a_folder_of_a_mount_in_a_folder_is_read(vault: VaultServer):
    root = vault.client()
    root.sys.enable_secrets_engine("kv", path="team/a", options={"version": "2"})
    root.secrets.kv.v2.create_or_update_secret("db/shop", secret=FIELDS, mount_point="team/a")
    found = Vault(vault.address, TokenLogin(vault.root_token))
    assert found.read("team/a/db/shop") == found.read("team/a/data/db/shop") == FIELDS


def test_a_token_is_enough_and_is_not_revoked(vault: VaultServer, app_role: Vault):
    token = token_of(vault, ROLE)
    found = Vault(vault.address, TokenLogin(token))
    assert found.read("secret/shop") == FIELDS
    found.close()
    assert vault.client(token).auth.token.lookup_self()["data"]["policies"] == ["default", ROLE]


def test_a_token_that_was_got_by_a_login_is_given_back(vault: VaultServer, app_role: Vault):
    app_role.read("secret/shop")
    held = app_role._client
    assert held is not None
    token = held.token
    app_role.close()
    with pytest.raises(Forbidden):
        vault.client(token).auth.token.lookup_self()


class TokenReviewer(BaseHTTPRequestHandler):
    """Says of every service account token that it is right, as Kubernetes does when asked to review one."""

    def do_POST(self) -> None:
        """Answer a TokenReview."""
        self.rfile.read(int(self.headers["Content-Length"]))
        user = {"username": "system:serviceaccount:data:pipelines", "uid": "u1", "groups": ["system:serviceaccounts"]}
        review = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "status": {"authenticated": True, "user": user},
        }
        body = json.dumps(review).encode()
        self.send_response(201)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def service_account_token() -> str:
    claims = {
        "iss": "kubernetes/serviceaccount",
        "sub": "system:serviceaccount:data:pipelines",
        "kubernetes.io/serviceaccount/namespace": "data",
        "kubernetes.io/serviceaccount/service-account.name": "pipelines",
        "kubernetes.io/serviceaccount/service-account.uid": "u1",
    }
    parts = ({"alg": "RS256", "typ": "JWT"}, claims)
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    return ".".join([*encoded, base64.urlsafe_b64encode(b"signature").rstrip(b"=").decode()])


def test_a_pod_logs_in_with_its_service_account(vault: VaultServer, app_role: Vault, tmp_path: Path):
    token_file = tmp_path / "token"
    token_file.write_text(service_account_token())
    root = vault.client()
    root.sys.enable_auth_method("kubernetes", path="cluster")
    with serving(TokenReviewer) as reviewer:
        root.write(
            "auth/cluster/config",
            kubernetes_host=reviewer,
            token_reviewer_jwt=service_account_token(),
            disable_local_ca_jwt=True,
            disable_iss_validation=True,
        )
        root.write(
            "auth/cluster/role/pipelines",
            bound_service_account_names="pipelines",
            bound_service_account_namespaces="data",
            token_policies=ROLE,
        )
        found = Vault(vault.address, KubernetesLogin("pipelines", token_file, "cluster"))
        assert found.read("secret/shop") == FIELDS
        found.close()
        with pytest.raises(CredentialException) as refused:
            Vault(vault.address, KubernetesLogin("others", token_file, "cluster")).read("secret/shop")
    assert refused.value.outcome == "refused"


def test_a_pod_without_a_service_account_is_told_so(vault: VaultServer, tmp_path: Path):
    with pytest.raises(CredentialException, match="can't be read: No such file"):
        Vault(vault.address, KubernetesLogin("pipelines", tmp_path / "none")).read("secret/shop")


def outcome_of(vault: Vault, path: str = "secret/shop") -> tuple[str, bool]:
    with pytest.raises(CredentialException) as raised:
        vault.read(path, "postgres")
    assert raised.value.hint
    assert raised.value.path == path
    assert raised.value.credential_type == "postgres"
    return raised.value.outcome, raised.value.retryable


def test_a_secret_that_is_not_there_is_not_found(app_role: Vault):
    assert outcome_of(app_role, "secret/nowhere") == ("not found", False)


def test_a_secret_that_was_deleted_is_not_found(vault: VaultServer, app_role: Vault):
    vault.write("gone", FIELDS)
    vault.client().secrets.kv.v2.delete_latest_version_of_secret("gone")
    assert outcome_of(app_role, "secret/gone") == ("not found", False)


def test_a_path_outside_the_policy_is_forbidden(vault: VaultServer, app_role: Vault):
    assert outcome_of(app_role, "team/b/shop") == ("forbidden", False)
    assert outcome_of(Vault(vault.address, TokenLogin(token_of(vault, "default")))) == ("forbidden", False)


def test_a_token_that_is_no_longer_accepted_has_expired(vault: VaultServer, app_role: Vault):
    token = token_of(vault, ROLE)
    found = Vault(vault.address, TokenLogin(token))
    found.read("secret/shop")
    vault.client().auth.token.revoke(token)
    assert outcome_of(found) == ("token expired", False)


def test_a_login_that_has_expired_is_made_again(vault: VaultServer, app_role: Vault):
    app_role.read("secret/shop")
    held = app_role._client
    assert held is not None
    vault.client().auth.token.revoke(held.token)
    assert app_role.read("secret/shop") == FIELDS


def test_a_token_is_renewed_before_it_ends(vault: VaultServer, app_role: Vault):
    app_role.read("secret/shop")
    held = app_role._client
    assert held is not None
    before = held.auth.token.lookup_self()["data"]
    assert "last_renewal_time" not in before
    app_role._renew_at = 0
    app_role.read("secret/shop")
    after = held.auth.token.lookup_self()["data"]
    assert after["last_renewal_time"] >= before["creation_time"]
    assert after["id"] == before["id"]


def test_a_wrong_secret_id_is_refused(vault: VaultServer):
    assert outcome_of(Vault(vault.address, AppRoleLogin(vault.role_id, "wrong-sesame"))) == ("refused", False)


def test_a_sealed_vault_may_be_opened_so_the_run_is_tried_again(vault: VaultServer, app_role: Vault):
    vault.seal()
    try:
        assert outcome_of(app_role) == ("sealed", True)
    finally:
        vault.unseal()
    assert app_role.read("secret/shop") == FIELDS


def test_a_vault_that_can_not_be_reached_is_tried_again():
    assert outcome_of(Vault(f"http://127.0.0.1:{free_port()}", TokenLogin("none"))) == ("unreachable", True)


def test_a_certificate_is_checked_against_the_file_that_is_named(vault: VaultServer, tmp_path: Path):
    port = free_port()
    address = f"https://127.0.0.1:{port}"
    command = [vault_program(), "server", "-dev", "-dev-tls", f"-dev-tls-cert-dir={tmp_path}", "-dev-no-store-token"]
    command += ["-dev-root-token-id=root", f"-dev-listen-address=127.0.0.1:{port}"]
    authority = tmp_path / "vault-ca.pem"

    def answers() -> bool:
        try:
            return not hvac.Client(address, token="root", verify=str(authority)).sys.is_sealed()
        except Exception:  # noqa: BLE001 - not yet
            return False

    server = ServerProcess("vault", command, tmp_path, answers, environment={"HOME": str(tmp_path)})
    server.start()
    try:
        root = hvac.Client(address, token="root", verify=str(authority))
        root.secrets.kv.v2.create_or_update_secret("shop", secret=FIELDS)
        assert Vault(address, TokenLogin("root"), ca_file=authority).read("secret/shop") == FIELDS
        assert outcome_of(Vault(address, TokenLogin("root"))) == ("unreachable", False)
    finally:
        server.stop()


def test_the_namespace_is_sent_with_each_request():
    seen: list[str | None] = []

    class Namespaced(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers["X-Vault-Namespace"])
            self.send_error(404)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with serving(Namespaced) as address:
        assert outcome_of(Vault(address, TokenLogin("none"), namespace="team-a"))[0] == "not found"
    assert seen == ["team-a"]


def test_a_run_asks_for_each_secret_once(vault: VaultServer, app_role: Vault, tmp_path: Path):
    requests = tmp_path / "requests.jsonl"
    root = vault.client()
    root.sys.enable_audit_device("file", path="counting", options={"file_path": str(requests)})
    log = AuditLog(tmp_path / "credentials.jsonl")
    try:
        run = RunCredentials("run-1", app_role, log, "ann")
        for _ in range(3):
            found = run.enter(NEED, PLACE)
            assert isinstance(found, JdbcCredentials)
            assert found.password.get_secret_value() == PASSWORD
    finally:
        root.sys.disable_audit_device("counting")
    reads = [
        entry
        for entry in map(json.loads, requests.read_text().splitlines())
        if entry["type"] == "request" and entry["request"]["path"] == "secret/data/shop"
    ]
    assert len(reads) == 1
    assert [json.loads(line)["source"] for line in log.path.read_text().splitlines()] == ["vault"] * 3


def test_what_vault_gave_is_hidden_from_then_on(vault: VaultServer, app_role: Vault, tmp_path: Path):
    RunCredentials("run-1", app_role, AuditLog(tmp_path / "a.jsonl")).enter(NEED, PLACE)
    assert PASSWORD not in redact(f"could not log in with {PASSWORD}")
    assert vault.secret_id not in redact(f"the secret id {vault.secret_id}")


def test_a_secret_without_a_field_names_the_field_and_the_secret(vault: VaultServer, app_role: Vault, tmp_path: Path):
    vault.write("half", {"host": "db", "username": "ann"})
    log = AuditLog(tmp_path / "a.jsonl")
    with pytest.raises(CredentialException) as raised:
        RunCredentials("run-1", app_role, log).enter(
            CredentialRequest("postgres", JdbcCredentials, "secret/half"), PLACE
        )
    assert raised.value.outcome == "incomplete"
    told = str(raised.value)
    assert "'password' is missing" in told
    assert "secret/half" in told
    assert "step 1 (extract fromPostgres), sales.json:4" in told


@pytest.mark.parametrize(
    ("path", "outcome"), [("secret/nowhere", "not found"), ("team/b/shop", "forbidden"), ("secret/shop", "granted")]
)
def test_each_access_is_in_the_audit_log_granted_or_not(app_role: Vault, tmp_path: Path, path: str, outcome: str):
    log = AuditLog(tmp_path / "a.jsonl")
    run = RunCredentials("run-1", app_role, log, "ann")
    try:
        run.enter(CredentialRequest("postgres", JdbcCredentials, path), PLACE)
    except CredentialException:
        assert outcome != "granted"
    (line,) = (json.loads(text) for text in log.path.read_text().splitlines())
    assert (line["path"], line["outcome"], line["source"], line["user"]) == (path, outcome, "vault", "ann")
    assert PASSWORD not in log.path.read_text()
