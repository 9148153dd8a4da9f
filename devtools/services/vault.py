"""Vault, in memory."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import hvac
from hvac.exceptions import VaultError
from requests import RequestException

from devtools.services.built import vault_program
from devtools.services.names import DOCKER, names
from devtools.services.process import ServerProcess, free_port, new_folder

ROLE = "pipelines"
_UNSEAL_KEY = re.compile(r"Unseal Key: (\S+)")


@dataclass
class VaultServer:
    """A running Vault with KV v2 at `secret/`, KV v1 at `kv1/` and an AppRole that may read what pipelines need.

    Args:
        address: Its URL.
        root_token: May do everything.
        unseal_key: Opens it again after `seal`.
        role_id: Of the AppRole.
        secret_id: Proves it.
        server: The process.
    """

    address: str
    root_token: str
    unseal_key: str
    role_id: str
    secret_id: str
    server: ServerProcess

    def client(self, token: str | None = None) -> Any:
        """An `hvac.Client`, whose methods come without types; by default with the root token."""
        return hvac.Client(self.address, token=token or self.root_token)

    def write(self, path: str, fields: Mapping[str, Any]) -> None:
        """Write a secret of the KV v2 engine at `secret/`, such as `postgres`."""
        self.client().secrets.kv.v2.create_or_update_secret(path, secret=dict(fields))

    def environment(self) -> dict[str, str]:
        """The variables that let a pipeline in by AppRole."""
        return {"VAULT_ADDR": self.address, "VAULT_ROLE_ID": self.role_id, "VAULT_SECRET_ID": self.secret_id}

    def seal(self) -> None:
        """Seal it: nothing can be read."""
        self.client().sys.seal()

    def unseal(self) -> None:
        """Open it again."""
        self.client().sys.submit_unseal_key(self.unseal_key)

    def stop(self) -> None:
        """End it; what it held is gone."""
        self.server.stop()
        shutil.rmtree(self.server.folder, ignore_errors=True)


def start_vault(outlives: bool = False) -> VaultServer:
    """Start a server of its own.

    Args:
        outlives: Go on when this process ends.

    Raises:
        ServerUnavailableError: There is none, and it can't be built.
    """
    folder, port, token = new_folder("vault"), free_port(), names()["VAULT_DEV_ROOT_TOKEN_ID"]
    address = f"http://127.0.0.1:{port}"
    command = [vault_program(), "server", "-dev", "-dev-no-store-token", f"-dev-root-token-id={token}"]
    command.append(f"-dev-listen-address=127.0.0.1:{port}")

    def answers() -> bool:
        try:
            client: Any = hvac.Client(address, token=token)
            opened = not client.sys.is_sealed()
        except (RequestException, VaultError):
            return False
        # It prints the key a moment after it answers.
        return opened and _UNSEAL_KEY.search(server.log.read_text()) is not None

    server = ServerProcess("vault", command, folder, answers, environment={"HOME": str(folder)}, outlives=outlives)
    server.start()
    unseal_key = _UNSEAL_KEY.findall(server.log.read_text())[-1]
    role_id, secret_id = let_pipelines_in(hvac.Client(address, token=token))
    return VaultServer(address, token, unseal_key, role_id, secret_id, server)


def let_pipelines_in(client: Any) -> tuple[str, str]:
    """Make the KV v1 engine, the policy and the AppRole, where they are not there yet.

    Args:
        client: An `hvac.Client` of a Vault in development mode, with its root token.

    Returns:
        Identifier and secret of the role.
    """
    if "kv1/" not in client.sys.list_mounted_secrets_engines()["data"]:
        client.sys.enable_secrets_engine("kv", path="kv1", options={"version": "1"})
    if "approle/" not in client.sys.list_auth_methods()["data"]:
        client.sys.enable_auth_method("approle")
    client.sys.create_or_update_policy(ROLE, (DOCKER / "seed" / "vault" / "policy.hcl").read_text())
    client.auth.approle.create_or_update_approle(ROLE, token_policies=[ROLE])
    role_id = client.auth.approle.read_role_id(ROLE)["data"]["role_id"]
    return role_id, client.auth.approle.generate_secret_id(ROLE)["data"]["secret_id"]
