"""Typed credentials: the fields that a secret in Vault, or a step's own config, has to have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

from pydantic import BaseModel, ConfigDict, ValidationError
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
        hide_input_in_errors=True,
    )


def credentials_of(model: type[Credentials], fields: Mapping[str, Any]) -> Credentials:
    """Make typed credentials of a secret's fields; from now on its secret values are redacted.

    Args:
        model: What they are made of.
        fields: The fields, as in Vault.

    Raises:
        CredentialFieldsError: A field is missing or has the wrong form.
    """
    _remember_secrets(fields)
    try:
        return model.model_validate(dict(fields))
    except ValidationError as error:
        raise CredentialFieldsError("; ".join(_wrong_fields(error))) from None


def _remember_secrets(fields: Mapping[str, Any]) -> None:
    for key, value in fields.items():
        if isinstance(value, Mapping):
            _remember_secrets(cast("Mapping[str, Any]", value))
        elif looks_secret(key) and isinstance(value, (str, int)):
            remember_secret(str(value))


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
