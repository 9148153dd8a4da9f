"""Keys of the steps whose system has credentials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import GetJsonSchemaHandler, field_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from pipeline_platform.config.placeholders import reserve_variables
from pipeline_platform.config.step import StepConfig
from pipeline_platform.config.values import PLACEHOLDER_SCHEMA, Text, Word, in_any_case, reveal
from pipeline_platform.credentials.model import Credentials
from pipeline_platform.credentials.request import CredentialRequest
from pipeline_platform.credentials.vault import VAULT_EXTRA
from pipeline_platform.extras import Extra
from pipeline_platform.redaction import looks_secret


class Credentialed(StepConfig):
    """Keys of the steps whose system has credentials.

    What a secret in Vault has wins over the same field in the config.
    """

    credential_types: ClassVar[Mapping[str, type[Credentials]]]
    """What the credentials of each `credentialType` that the method takes are made of; the first is the default."""
    credential_variables: ClassVar[Mapping[str, str]] = {}
    """The environment variable that a credential field may stand in."""

    credential_path: Text | None = None
    """Where in Vault the credentials are."""
    credential_type: Word | None = None
    """Which fields the secret has; by default those that the method needs."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        reserve_variables(name for field, name in cls.credential_variables.items() if looks_secret(field))

    @field_validator("credential_type")
    @classmethod
    def _credential_type_fits(cls, value: str | None) -> str | None:
        known = {name.lower(): name for name in cls.credential_types}
        if value is not None and value.strip().lower() not in known:
            raise PydanticCustomError(
                "credential_type",
                "'{method}' takes credentials of type {types}, not {type}",
                {
                    "method": cls.method,
                    "types": " or ".join(cls.credential_types),
                    "type": value,
                },
            )
        return known[value.strip().lower()] if value is not None else None

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler(core_schema)
        properties = handler.resolve_ref_schema(schema)["properties"]
        names = {"enum": [*cls.credential_types], "type": "string"}
        types = {"anyOf": [names, in_any_case(*cls.credential_types), PLACEHOLDER_SCHEMA, {"type": "null"}]}
        properties["credentialType"] = {**properties["credentialType"], **types}
        return schema

    def required_extras(self) -> Sequence[Extra]:
        return (*super().required_extras(), *([VAULT_EXTRA] if self.credential_path is not None else []))

    def inline_credentials(self) -> dict[str, Any]:
        """The credential fields that the config itself has, legible, as they would stand in Vault."""
        return {}

    def default_credentials(self) -> dict[str, Any]:
        """Credential fields that have a default where there is no `credentialPath`."""
        return {}

    def may_enter_without(self) -> bool:
        """Whether the system may let the step in without credentials of the step's own."""
        return False

    def credential_request(self) -> CredentialRequest | None:
        """What the step asks for, None for nothing; of a config whose environment variables are replaced."""
        credential_type = self.credential_type or next(iter(self.credential_types))
        return CredentialRequest(
            credential_type=credential_type,
            model=self.credential_types[credential_type],
            path=self.credential_path,
            written=self.inline_credentials(),
            variables=self.credential_variables,
            defaults=self.default_credentials(),
            optional=self.may_enter_without(),
        )

    def written(self, *fields: str) -> dict[str, Any]:
        """Those of the fields that the config has, by key, with their secrets legible."""
        return {
            type(self).model_fields[name].alias or name: reveal(getattr(self, name))
            for name in fields
            if name in self.model_fields_set and getattr(self, name) is not None
        }
