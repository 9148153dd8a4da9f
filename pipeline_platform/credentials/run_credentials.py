"""The credentials of one run: each secret asked for once, each access audited."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline_platform.credentials.audit import Access, AuditLog, Outcome, Source, current_user
from pipeline_platform.credentials.model import CredentialFieldsError, Credentials, credentials_of
from pipeline_platform.credentials.request import CredentialRequest
from pipeline_platform.credentials.vault import Vault
from pipeline_platform.exceptions import CredentialException, StepLocation

VAULT_REQUIRED_VARIABLE = "VAULT_REQUIRED"


@dataclass
class RunCredentials:
    """Gives each step of a run the credentials of its system, and no other's.

    Args:
        run_id: The run, for the audit log.
        vault: Where secrets are; None if no Vault is configured.
        audit: Where each access is noted.
        user: On whose behalf, for the audit log.
        vault_required: Refuse credentials that are written in a config or stand in the environment.
    """

    run_id: str
    vault: Vault | None = None
    audit: AuditLog = field(default_factory=AuditLog.from_environment)
    user: str = field(default_factory=current_user)
    vault_required: bool = False
    _secrets: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    @classmethod
    def from_environment(cls, run_id: str, location: StepLocation) -> RunCredentials:
        """Those of a run that is configured by `VAULT_ADDR`, `VAULT_REQUIRED` and so on.

        Args:
            run_id: The run, for the audit log.
            location: The pipeline, for errors.

        Raises:
            CredentialException: `VAULT_REQUIRED` is neither true nor false, or there is no login for the Vault.
        """
        try:
            return cls(run_id, Vault.from_environment(), vault_required=vault_is_required())
        except CredentialException as error:
            raise error.locate(location) from error.__cause__

    def enter(self, need: CredentialRequest, location: StepLocation) -> Credentials | None:
        """The credentials that a step asks for; None if there are none and the system may be entered without.

        Args:
            need: What it asks for.
            location: The step.

        Raises:
            CredentialException: They are missing, incomplete, refused or can't be reached.
        """
        source: Source = "vault" if need.path is not None else "config"
        try:
            fields, source = self._fields(need)
            credentials = None if not fields and need.optional else credentials_of(need.model, fields)
        except CredentialFieldsError as error:
            self._note(need, location, source, "incomplete")
            where = f"the secret '{need.path}'" if need.path else "the step's config"
            raise CredentialException(
                f"the {need.credential_type} credentials in {where} are incomplete: {error}",
                path=need.path,
                credential_type=need.credential_type,
                location=location,
                hint=_hint(need),
            ) from None
        except CredentialException as error:
            self._note(need, location, source, error.outcome)
            raise error.locate(location) from error.__cause__
        if credentials is not None:
            self._note(need, location, source, "granted")
        return credentials

    def close(self) -> None:
        """Forget the secrets and give up what was taken to read them."""
        self._secrets.clear()
        if self.vault is not None:
            self.vault.close()

    def _fields(self, need: CredentialRequest) -> tuple[Mapping[str, Any], Source]:
        if need.path is not None:
            if self.vault_required and need.has_secrets():
                raise self._refusal(need, "has secrets in addition to its 'credentialPath'")
            return {**need.written, **self._secret(need, need.path)}, "vault"
        variables = {key: os.environ[name] for key, name in need.variables.items() if os.environ.get(name)}
        if not need.written and not variables and need.optional:
            return {}, "environment"
        if self.vault_required:
            raise self._refusal(need, "has no 'credentialPath'")
        source: Source = "config" if need.has_secrets() or not variables else "environment"
        return {**need.defaults, **variables, **need.written}, source

    def _secret(self, need: CredentialRequest, path: str) -> Mapping[str, Any]:
        if self.vault is None:
            raise CredentialException(
                f"the secret '{path}' is in Vault, but no Vault is configured",
                path=path,
                credential_type=need.credential_type,
                hint="set VAULT_ADDR, and VAULT_TOKEN or another login",
                outcome="unreachable",
            )
        if path not in self._secrets:
            self._secrets[path] = self.vault.read(path, need.credential_type)
        return self._secrets[path]

    def _refusal(self, need: CredentialRequest, what: str) -> CredentialException:
        return CredentialException(
            f"VAULT_REQUIRED is set, but the step {what}",
            path=need.path,
            credential_type=need.credential_type,
            hint="keep the credentials in Vault, name them with 'credentialPath' and take them out of the file",
            outcome="refused",
        )

    def _note(self, need: CredentialRequest, location: StepLocation, source: Source, outcome: Outcome) -> None:
        self.audit.note(
            Access(
                pipeline=location.pipeline,
                run=self.run_id,
                step=location.step,
                path=need.path,
                type=need.credential_type,
                source=source,
                user=self.user,
                outcome=outcome,
            )
        )


def vault_is_required() -> bool:
    """Whether `VAULT_REQUIRED` says so.

    Raises:
        CredentialException: It is neither true nor false.
    """
    value = os.environ.get(VAULT_REQUIRED_VARIABLE, "").strip().lower()
    if value in ("true", "1", "yes"):
        return True
    if value in ("", "false", "0", "no"):
        return False
    # To take a misspelled `true` for false would let every other source in.
    raise CredentialException(f"{VAULT_REQUIRED_VARIABLE} is neither true nor false", hint="set it to true or false")


def _hint(need: CredentialRequest) -> str:
    if need.path is not None:
        return f"add what is missing to the secret '{need.path}'"
    variables = ", ".join(need.variables.values())
    return f"set 'credentialPath', or the fields in the config, or the environment variables {variables}"
