"""Finds what of secrets stands in a pipeline file: those that are kept in neither Vault nor the environment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from pydantic import BaseModel, SecretStr
from pydantic.alias_generators import to_camel

from pipeline_platform.config.config_error import ConfigError
from pipeline_platform.config.documents.document import SourcePosition
from pipeline_platform.config.placeholders import has_placeholder, is_placeholder, strings_in, variable_limit
from pipeline_platform.config.variables import names_in
from pipeline_platform.redaction import remember_secret, url_secrets

_ADVICE = "keep it in Vault and name its 'credentialPath', or write ${env:NAME}"
_WAY_OUT = (
    "keep it in Vault and name its 'credentialPath', or write it as ${env:NAME} into the step's keys for credentials"
)


def inline_secrets(config: BaseModel, places: Mapping[str, SourcePosition]) -> Iterator[ConfigError]:
    """A warning for each secret in the config that is no environment variable; from now on it is redacted.

    Args:
        config: What was read.
        places: Where each of its keys was written.
    """
    for place, keys, text, is_secret in _written(config, places):
        if is_secret and text and not is_placeholder(text):
            if not has_placeholder(text):
                remember_secret(text)
            yield place.problem(f"the secret '{keys[-1]}' is written in the file", hint=_ADVICE)


def exposed_secrets(config: BaseModel, places: Mapping[str, SourcePosition]) -> Iterator[ConfigError]:
    """An error for each string that would show a secret: a password in a URL, or a credential of the platform's own.

    Args:
        config: What was read.
        places: Where each of its keys was written.
    """
    for place, keys, text, is_secret in _written(config, places):
        if (limit := variable_limit(text, in_secret=is_secret)) is not None:
            yield place.problem(limit)
        if is_secret and any(names_in(written) for written in strings_in(place.value)):
            yield place.problem(f"'{keys[-1]}' is a secret, and variables are shown in Dagster", hint=_ADVICE)
        # A variable that is left in a string is replaced when the string is used, and is redacted from then on.
        passwords = [] if is_secret else [found for found in url_secrets(text) if not has_placeholder(found)]
        for password in passwords:
            remember_secret(password)
        if passwords:
            message = f"the URL in '{keys[-1]}' holds a password, which would be shown with it"
            yield place.problem(message, hint=_WAY_OUT)


def _written(
    config: BaseModel, places: Mapping[str, SourcePosition]
) -> Iterator[tuple[SourcePosition, tuple[str | int, ...], str, bool]]:
    """The strings that a file has for the config, with their places and keys, and whether they are secrets."""
    # A key may also be written with underscores.
    by_key = {**{to_camel(key): place for key, place in places.items()}, **places}
    for keys, text, is_secret in _strings(config):
        if (place := by_key.get(str(keys[0]))) is not None:
            for part in keys[1:]:
                place /= part
            yield place, keys, text, is_secret


def _strings(value: Any, keys: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str, bool]]:
    """The strings in a config, with the keys that lead to them, and whether they are secrets."""
    if isinstance(value, (str, SecretStr)):
        is_secret = isinstance(value, SecretStr)
        yield keys, value.get_secret_value() if is_secret else value, is_secret
    elif isinstance(value, BaseModel):
        for name in value.model_fields_set:
            field = type(value).model_fields.get(name)
            yield from _strings(getattr(value, name), (*keys, (field.alias if field else None) or name))
    elif isinstance(value, Mapping):
        for key, item in cast("Mapping[str, Any]", value).items():
            yield from _strings(item, (*keys, key))
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(cast("list[Any]", value)):
            yield from _strings(item, (*keys, index))
