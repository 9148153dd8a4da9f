"""Reads secrets from Vault's key-value engines, with a login by token, AppRole or Kubernetes."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from pipeline_platform.exceptions import CredentialException
from pipeline_platform.extras import Extra
from pipeline_platform.redaction import remember_secret

# The methods of hvac.Client come without types.
Client = Any

TIMEOUT_SECONDS = 10.0
"""For each request, unless `VAULT_CLIENT_TIMEOUT` says otherwise."""
RENEWED_AT = 2 / 3
"""The part of its life after which a token is renewed: what Vault's own agent does."""
SERVICE_ACCOUNT_TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
"""Where Kubernetes puts the token of a pod's service account."""
VAULT_EXTRA = Extra("vault", "a credential in Vault", ("hvac",))
_FOREVER = float("inf")


@dataclass(frozen=True)
class TokenLogin:
    """A token that somebody else got.

    Args:
        token: The token.
    """

    token: str = field(repr=False)


@dataclass(frozen=True)
class AppRoleLogin:
    """A role of Vault's AppRole method.

    Args:
        role_id: Which role.
        secret_id: What proves it; None if the role asks for none.
        mount: Where the method is mounted.
    """

    role_id: str
    secret_id: str | None = field(default=None, repr=False)
    mount: str = "approle"


@dataclass(frozen=True)
class KubernetesLogin:
    """The service account of the pod that this process runs in.

    Args:
        role: Which role of Vault's Kubernetes method.
        token_file: The service account's token; read at each login, as Kubernetes replaces it.
        mount: Where the method is mounted.
    """

    role: str
    token_file: Path = SERVICE_ACCOUNT_TOKEN
    mount: str = "kubernetes"


Login = TokenLogin | AppRoleLogin | KubernetesLogin


@dataclass
class Vault:
    """One client of a Vault server; it logs in when the first secret is asked for.

    Args:
        address: URL of the server.
        login: How to log in.
        namespace: Of Vault Enterprise.
        ca_file: Certificates to trust, in PEM; by default those of the system.
        timeout_seconds: How long the server may take to connect, and to answer a request.
    """

    address: str
    login: Login
    namespace: str | None = None
    ca_file: Path | None = None
    timeout_seconds: float = TIMEOUT_SECONDS
    _client: Client | None = field(default=None, repr=False)
    _renew_at: float = _FOREVER

    @classmethod
    def from_environment(cls) -> Vault | None:
        """The server that `VAULT_ADDR` names, None if it is not set.

        The login is `VAULT_TOKEN`, or `VAULT_ROLE_ID` with `VAULT_SECRET_ID` (mounted at `VAULT_APPROLE_MOUNT`), or
        `VAULT_KUBERNETES_ROLE` (mounted at `VAULT_KUBERNETES_MOUNT`, token in `VAULT_KUBERNETES_TOKEN_FILE`).
        `VAULT_NAMESPACE`, `VAULT_CACERT` and `VAULT_CLIENT_TIMEOUT` are those of Vault's own command line.

        Raises:
            CredentialException: There is an address and no login, or a timeout that is no duration.
        """
        given = os.environ.get
        address = given("VAULT_ADDR")
        if not address:
            return None
        ca_file = given("VAULT_CACERT")
        return cls(
            address,
            _login_of(os.environ),
            given("VAULT_NAMESPACE") or None,
            Path(ca_file) if ca_file else None,
            _seconds(given("VAULT_CLIENT_TIMEOUT")),
        )

    def read(self, path: str, credential_type: str | None = None) -> Mapping[str, Any]:
        """The fields of a secret.

        Args:
            path: The logical path, such as `secret/postgres`, or that of the API, `secret/data/postgres`.
            credential_type: For the error.

        Raises:
            CredentialException: Its outcome says why: `sealed` and `unreachable` may pass, `forbidden`, `not found`
                and `token expired` do not.
        """
        path = path.strip("/")
        try:
            try:
                return self._read(path)
            except CredentialException as error:
                if error.outcome != "token expired" or isinstance(self.login, TokenLogin):
                    raise
                return self._read(path)
        except CredentialException as error:
            error.path, error.credential_type = path, credential_type
            raise

    def close(self) -> None:
        """Give back a token that this client got for itself."""
        client, self._client, self._renew_at = self._client, None, _FOREVER
        if client is None:
            return
        from hvac.exceptions import VaultError
        from requests import RequestException

        if not isinstance(self.login, TokenLogin):
            # It ends by itself too, and a run is no failure for it.
            with suppress(VaultError, RequestException):
                client.auth.token.revoke_self()
        client.adapter.close()

    def _read(self, path: str) -> Mapping[str, Any]:
        client = self._logged_in(path)
        ask_mount = partial(client.adapter.get, f"/v1/sys/internal/ui/mounts/{path}")
        mount = self._asked(path, ask_mount)["data"]
        if mount["type"] != "kv":
            raise CredentialException(
                f"the secret '{path}' is in an engine of type {mount['type']}; only key-value secrets are read",
                hint="put the credentials into a key-value engine",
                outcome="refused",
            )
        point = mount["path"].strip("/")
        name = path.removeprefix(point).strip("/")
        options: Mapping[str, Any] = mount.get("options") or {}
        if options.get("version") == "2":
            name = name.removeprefix("data/")
            read = partial(client.secrets.kv.v2.read_secret_version, raise_on_deleted_version=True)
            return self._asked(path, partial(read, name, mount_point=point))["data"]["data"]
        return self._asked(path, partial(client.secrets.kv.v1.read_secret, name, mount_point=point))["data"]

    def _logged_in(self, path: str) -> Client:
        if self._client is not None and time.monotonic() >= self._renew_at:
            self._renew(self._client)
        if self._client is None:
            self._client = self._new_client(path)
        return self._client

    def _new_client(self, path: str) -> Client:
        VAULT_EXTRA.require()
        import hvac

        client: Client = hvac.Client(
            url=self.address,
            namespace=self.namespace,
            verify=str(self.ca_file) if self.ca_file else True,
            # requests, which it is handed on to, takes parts of a second.
            timeout=self.timeout_seconds,  # pyright: ignore[reportArgumentType]
            # Else hvac takes whatever token lies in the environment or the user's home.
            token="",
        )
        match self.login:
            case TokenLogin(token):
                client.token = token
                remember_secret(token)
                life = self._asked(path, client.auth.token.lookup_self)["data"]
                self._plan_renewal(life["ttl"])
            case AppRoleLogin(role_id, secret_id, mount):
                remember_secret(secret_id or "")
                log_in = partial(client.auth.approle.login, role_id, secret_id, mount_point=mount)
                self._take(client, self._asked(path, log_in))
            case KubernetesLogin(role, token_file, mount):
                token = _service_account_token(token_file)
                log_in = partial(client.auth.kubernetes.login, role, token, mount_point=mount)
                self._take(client, self._asked(path, log_in))
        return client

    def _take(self, client: Client, answer: Mapping[str, Any]) -> None:
        client.token = answer["auth"]["client_token"]
        remember_secret(client.token)
        self._plan_renewal(answer["auth"]["lease_duration"])

    def _plan_renewal(self, seconds: float) -> None:
        # A root token has no end, and says 0.
        self._renew_at = time.monotonic() + seconds * RENEWED_AT if seconds else _FOREVER

    def _renew(self, client: Client) -> None:
        """Prolong the token; one that can't be is dropped, so that a new login gets another."""
        from hvac.exceptions import VaultError

        try:
            self._plan_renewal(client.auth.token.renew_self()["auth"]["lease_duration"])
        except VaultError:
            if isinstance(self.login, TokenLogin):
                self._renew_at = _FOREVER
            else:
                self._client = None

    def _asked(self, path: str, ask: Callable[[], Any]) -> Any:
        from hvac import exceptions as refused
        from requests import exceptions as lost

        try:
            return ask()
        except refused.VaultDown:
            raise CredentialException(
                f"Vault at {self.address} is sealed or on standby, so '{path}' can't be read",
                hint="unseal it, then run again",
                outcome="sealed",
            ) from None
        except refused.InvalidPath:
            raise CredentialException(
                f"Vault has no secret '{path}'",
                hint="check 'credentialPath'; it begins with the mount, as in secret/postgres",
                outcome="not found",
            ) from None
        except (refused.Forbidden, refused.Unauthorized):
            raise self._forbidden(path) from None
        except refused.InvalidRequest as error:
            raise CredentialException(
                f"Vault at {self.address} refused the request for '{path}': {'; '.join(map(str, error.errors or ()))}",
                hint="check the login: the role, its secret, and the mount of its auth method",
                outcome="refused",
            ) from None
        except lost.SSLError:
            raise CredentialException(
                f"the certificate of Vault at {self.address} is not trusted",
                hint="set VAULT_CACERT to the file of its certificate authority",
                outcome="unreachable",
                retryable=False,
            ) from None
        except (lost.RequestException, refused.VaultError) as error:
            raise CredentialException(
                f"Vault at {self.address} does not answer ({type(error).__name__}), so '{path}' can't be read",
                hint="check VAULT_ADDR, and that the server is up and can be reached",
                outcome="unreachable",
            ) from None

    def _forbidden(self, path: str) -> CredentialException:
        """Whether it is the token that is not accepted, or its policy that does not allow the path."""
        from hvac.exceptions import VaultError

        if self._client is not None or isinstance(self.login, TokenLogin):
            try:
                if self._client is not None:
                    self._client.auth.token.lookup_self()
                    return CredentialException(
                        f"Vault does not allow this login to read '{path}'",
                        hint="give its policy the capability 'read' on the path, or check 'credentialPath'",
                        outcome="forbidden",
                    )
            except VaultError:
                self._client = None
            return CredentialException(
                f"Vault no longer accepts the token, so '{path}' can't be read: it has expired or was revoked",
                hint="set VAULT_TOKEN to a new one, or let the platform log in by AppRole or Kubernetes",
                outcome="token expired",
            )
        return CredentialException(
            f"Vault at {self.address} does not accept the login",
            hint="check the role, its secret, and the mount of its auth method",
            outcome="forbidden",
        )


def _login_of(environment: Mapping[str, str]) -> Login:
    given = environment.get
    token, role_id, role = given("VAULT_TOKEN"), given("VAULT_ROLE_ID"), given("VAULT_KUBERNETES_ROLE")
    if token:
        return TokenLogin(token)
    if role_id:
        return AppRoleLogin(role_id, given("VAULT_SECRET_ID") or None, given("VAULT_APPROLE_MOUNT") or "approle")
    if role:
        token_file = Path(given("VAULT_KUBERNETES_TOKEN_FILE") or SERVICE_ACCOUNT_TOKEN)
        return KubernetesLogin(role, token_file, given("VAULT_KUBERNETES_MOUNT") or "kubernetes")
    raise CredentialException(
        "VAULT_ADDR is set, but there is no login for it",
        hint="set VAULT_TOKEN, or VAULT_ROLE_ID and VAULT_SECRET_ID, or VAULT_KUBERNETES_ROLE",
        outcome="refused",
    )


def _seconds(duration: str | None) -> float:
    """A duration as Vault's own command line takes it: seconds, or a number with its unit."""
    if not duration:
        return TIMEOUT_SECONDS
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h)?", duration.strip(), re.ASCII)
    seconds = float(found[1]) * {"ms": 0.001, "m": 60, "h": 3600}.get(found[2], 1) if found else 0
    if not 0 < seconds < _FOREVER:
        raise CredentialException(
            f"VAULT_CLIENT_TIMEOUT is '{duration}', but should be a time above 0, such as 30 or 30s",
            hint="correct the variable, or unset it for the default of 10 seconds",
            outcome="refused",
        )
    return seconds


def _service_account_token(file: Path) -> str:
    try:
        token = file.read_text().strip()
    except OSError as error:
        raise CredentialException(
            f"the token of the service account, {file}, can't be read: {error.strerror}",
            hint="run in a pod with a service account, or name the file with VAULT_KUBERNETES_TOKEN_FILE",
            outcome="refused",
        ) from None
    remember_secret(token)
    return token
