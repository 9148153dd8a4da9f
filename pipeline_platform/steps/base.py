"""Keys that steps of more than one kind have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from pipeline_platform.config.step import StepConfig
from pipeline_platform.config.values import Flag, FrameName, StorageLevel, Text, legible, one_of
from pipeline_platform.credentials.need import CredentialNeed

CredentialType = Literal["postgres", "postgresql", "mysql", "s3", "aws", "kafka", "deltalake", "delta"]


class KeepsFrame(StepConfig):
    """Keys of the steps whose output is a frame: extracts and transforms."""

    register_as: FrameName | None = None
    """Registers the output under this name, for later steps."""
    cache: Flag = False
    """Persist the output until the pipeline ends."""
    cache_storage_level: StorageLevel = "MEMORY_AND_DISK"
    """Spark storage level of `cache`."""

    def registered_name(self) -> str | None:
        return self.register_as


class Credentialed(StepConfig):
    """Keys of the steps whose system has credentials.

    What a secret in Vault has wins over the same field in the config.
    """

    credential_types: ClassVar[tuple[CredentialType, ...]] = get_args(CredentialType)
    """Types of credentials that the method can use."""

    credential_path: Text | None = None
    """Where in Vault the credentials are."""
    credential_type: Annotated[CredentialType, one_of(*get_args(CredentialType))] | None = None
    """Which fields the secret has; by default what the method needs."""

    @model_validator(mode="after")
    def _credential_type_fits(self) -> Self:
        if self.credential_type is not None and self.credential_type not in self.credential_types:
            raise PydanticCustomError(
                "credential_type",
                "'{method}' takes credentials of type {types}, not {type}",
                {
                    "method": self.method,
                    "types": " or ".join(self.credential_types),
                    "type": self.credential_type,
                    "key": "credentialType",
                },
            )
        return self

    credential_variables: ClassVar[Mapping[str, str]] = {}
    """The environment variable that a credential field may stand in."""

    def inline_credentials(self) -> dict[str, Any]:
        """The credential fields that the config itself has, legible, as they would stand in Vault."""
        return {}

    def default_credentials(self) -> dict[str, Any]:
        """Credential fields that have a default where there is no `credentialPath`."""
        return {}

    def may_enter_without(self) -> bool:
        """Whether the system may let the step in without credentials of the step's own."""
        return False

    def credential_need(self) -> CredentialNeed | None:
        """What the step asks for, None for nothing; of a config whose environment variables are replaced."""
        return CredentialNeed(
            credential_type=self.credential_type or self.credential_types[0],
            path=self.credential_path,
            written=self.inline_credentials(),
            variables=self.credential_variables,
            defaults=self.default_credentials(),
            optional=self.may_enter_without(),
        )

    def written(self, *fields: str) -> dict[str, Any]:
        """Those of the fields that the config has, by key, with their secrets legible."""
        return {
            type(self).model_fields[name].alias or name: legible(getattr(self, name))
            for name in fields
            if name in self.model_fields_set and getattr(self, name) is not None
        }


class WorksOnFrame(StepConfig):
    """Keys of the steps that work on the primary frame, or on a registered one."""

    input: FrameName | None = None
    """A registered frame to work on in place of the primary one."""

    def told_frame(self) -> str:
        """The frame that the step works on, as messages have it."""
        return f"'{self.input}'" if self.input is not None else "the primary frame"

    def reads_primary(self) -> bool:
        return self.input is None

    def referenced_frames(self) -> Sequence[tuple[str, str]]:
        return [("input", self.input)] if self.input is not None else []
