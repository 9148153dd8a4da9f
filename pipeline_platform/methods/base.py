"""Keys that steps of more than one kind have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from pipeline_platform.config.step import StepConfig
from pipeline_platform.config.values import Flag, FrameName, StorageLevel, Text, legible, one_of

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

    def inline_credentials(self) -> dict[str, Any]:
        """The credential fields that the config itself has, legible, as they would stand in Vault."""
        return {}

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

    def reads_primary(self) -> bool:
        return self.input is None

    def referenced_frames(self) -> Sequence[tuple[str, str]]:
        return [("input", self.input)] if self.input is not None else []
