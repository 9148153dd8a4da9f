"""What a step needs to enter its system."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline_platform.credentials.model import Credentials
from pipeline_platform.redaction import looks_secret


@dataclass(frozen=True)
class CredentialRequest:
    """Which credentials a step asks for, and what it says of them itself.

    Args:
        credential_type: A `credentialType` of the format.
        model: What such credentials are made of.
        path: Where they are in Vault; None if the step names no secret.
        written: Fields that the step's config has.
        variables: The environment variable of each field that may stand in one, for a step without a secret.
        defaults: Fields that have a default, for a step without a secret.
        optional: Whether the system can be entered by means of its own, such as the role of the machine.
    """

    credential_type: str
    model: type[Credentials]
    path: str | None = None
    written: Mapping[str, Any] = field(default_factory=dict[str, Any])
    variables: Mapping[str, str] = field(default_factory=dict[str, str])
    defaults: Mapping[str, Any] = field(default_factory=dict[str, Any])
    optional: bool = False

    def has_secrets(self) -> bool:
        """Whether the config itself has a secret."""
        return any(looks_secret(key) for key in self.written)
