"""`make services` and `make services-down`: everything comes up filled, and goes down without a trace."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import hvac
import psutil
import psycopg
import pytest
from typer.testing import CliRunner

from devtools.services.__main__ import app
from devtools.services.process import ServerUnavailableError
from devtools.services.stack import ENVIRONMENT_FILE, Running, down, recorded, started_at, up

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("stack")
    try:
        up(folder, print)
    except ServerUnavailableError as error:
        if os.environ.get("REQUIRE_SERVICES") == "1":
            raise
        pytest.skip(str(error))
    yield folder
    down(folder)


def sourced(folder: Path) -> dict[str, str]:
    """The variables of a shell that has sourced the environment file."""
    script = f'. "{folder / ENVIRONMENT_FILE}"; env -0'
    told = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
    return dict(line.split("=", 1) for line in told.split("\0") if line)


def test_what_the_environment_file_says_leads_through_vault_to_the_rows(stack: Path):
    variables = sourced(stack)
    assert stat.S_IMODE((stack / ENVIRONMENT_FILE).stat().st_mode) == 0o600
    vault = hvac.Client(variables["VAULT_ADDR"], token="")
    vault.auth.approle.login(variables["VAULT_ROLE_ID"], variables["VAULT_SECRET_ID"])
    secret = vault.secrets.kv.v2.read_secret_version("postgres", raise_on_deleted_version=True)["data"]["data"]
    assert vault.secrets.kv.v1.read_secret("postgres", mount_point="kv1")["data"] == secret
    with psycopg.connect(
        host=variables["PGHOST"],
        port=variables["PGPORT"],
        dbname=variables["PGDATABASE"],
        user=variables["PGUSER"],
        password=secret["password"],
    ) as connection:
        assert connection.execute("SELECT count(*) FROM orders").fetchone() == (20_000,)
    assert not any(secret["password"] in value for value in variables.values())


def test_bringing_up_twice_finds_what_runs(stack: Path):
    before = recorded(stack)
    result = up(stack, print)
    assert result.servers == before
    assert not result.contents


def test_status_fails_when_one_of_the_servers_is_gone_and_up_starts_anew(stack: Path):
    runner = CliRunner()
    assert runner.invoke(app, ["status", "--folder", str(stack)]).exit_code == 0
    s3 = next(server for server in recorded(stack) if server.name == "s3")
    assert s3.pid is not None
    os.kill(s3.pid, signal.SIGKILL)
    os.waitpid(s3.pid, 0)
    assert runner.invoke(app, ["status", "--folder", str(stack)]).exit_code == 1
    up(stack, print)
    assert runner.invoke(app, ["status", "--folder", str(stack)]).exit_code == 0


def test_going_down_leaves_no_process_and_no_file(stack: Path):
    servers = recorded(stack)
    assert len(servers) == 5
    down(stack)
    assert not [server.name for server in servers if server.pid is not None and psutil.pid_exists(server.pid)]
    assert not [server.folder for server in servers if server.folder is not None and Path(server.folder).exists()]
    assert [path.name for path in stack.iterdir()] in ([], ["lock"])
    assert down(stack) == []


def test_a_process_that_only_has_the_id_of_a_server_is_left_alone(tmp_path: Path):
    with subprocess.Popen(["sleep", "100"]) as other:
        started = started_at(other.pid)
        assert started is not None
        assert Running("other", "127.0.0.1:1", other.pid, started).runs()
        assert not Running("other", "127.0.0.1:1", other.pid, started - 1).runs()
        other.kill()
