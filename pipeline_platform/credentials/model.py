"""Typed credentials: the fields that a secret in Vault, or a step's own config, has to have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from pipeline_platform.redaction import looks_secret, remember_secret


class CredentialFieldsError(ValueError):
    """A secret lacks fields, or has them of the wrong form; says which, never their values."""


class Credentials(BaseModel):
    """What a system is entered with; its fields are those of the secret in Vault, others there are left alone."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        alias_generator=to_camel,
        extra="ignore",
        frozen=True,
        populate_by_name=True,
        coerce_numbers_to_str=True,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
    )


class JdbcCredentials(Credentials):
    """A database and the user that enters it."""

    host: Annotated[str, Field(min_length=1)]
    """Name or address of the server."""
    port: Annotated[int, Field(gt=0, lt=65536)]
    """Its port, as a number or a numeric string."""
    database: Annotated[str, Field(min_length=1)]
    """The database on it."""
    username: Annotated[str, Field(min_length=1)]
    """The user."""
    password: SecretStr
    """The user's password."""
    properties: dict[str, SecretStr] = {}
    """More properties of the JDBC driver."""


class S3Credentials(Credentials):
    """An access key of S3, or of a store that speaks its protocol."""

    access_key_id: Annotated[SecretStr, Field(min_length=1)]
    """Identifier of the access key."""
    secret_access_key: Annotated[SecretStr, Field(min_length=1)]
    """The secret that goes with it."""
    session_token: SecretStr | None = None
    """Token of a temporary access key."""
    region: str = "us-east-1"
    """The region of the bucket."""
    endpoint: str | None = None
    """URL of a store other than AWS."""
    path_style_access: bool | None = None
    """Put the bucket into the path instead of the host name; many other stores need it."""


class KafkaCredentials(Credentials):
    """Kafka client properties, such as `bootstrap.servers`, `security.protocol`, `sasl.*` and `ssl.*`."""

    properties: dict[str, SecretStr]
    """By name; they are handed on as they are."""

    @model_validator(mode="before")
    @classmethod
    def _from_map(cls, fields: Any) -> Any:
        return {"properties": fields}

    @model_validator(mode="after")
    def _names_servers(self) -> KafkaCredentials:
        if not self.properties.get("bootstrap.servers", SecretStr("")).get_secret_value():
            raise ValueError("the field 'bootstrap.servers' is missing")
        return self


DeltaCredentials = S3Credentials
"""Delta tables that need credentials are on S3."""

CREDENTIALS: Mapping[str, type[Credentials]] = {
    "postgres": JdbcCredentials,
    "postgresql": JdbcCredentials,
    "mysql": JdbcCredentials,
    "s3": S3Credentials,
    "aws": S3Credentials,
    "kafka": KafkaCredentials,
    "deltalake": DeltaCredentials,
    "delta": DeltaCredentials,
}
"""The model of each `credentialType`."""


def credentials_of(credential_type: str, fields: Mapping[str, Any]) -> Credentials:
    """Make typed credentials of a secret's fields; from now on its secret values are redacted.

    Args:
        credential_type: A `credentialType` of the format.
        fields: The fields, as in Vault.

    Raises:
        CredentialFieldsError: A field is missing or has the wrong form.
    """
    for key, value in fields.items():
        if looks_secret(key) and isinstance(value, (str, int)):
            remember_secret(str(value))
    try:
        return CREDENTIALS[credential_type].model_validate(dict(fields))
    except ValidationError as error:
        raise CredentialFieldsError("; ".join(_wrong_fields(error))) from None


def _wrong_fields(error: ValidationError) -> list[str]:
    wrong: list[str] = []
    for detail in error.errors(include_url=False, include_input=False, include_context=False):
        name = ".".join(map(str, detail["loc"]))
        if detail["type"] == "missing":
            wrong.append(f"the field '{name}' is missing")
        else:
            reason = detail["msg"].removeprefix("Value error, ")
            wrong.append(f"the field '{name}': {reason[0].lower()}{reason[1:]}" if name else reason)
    return wrong
