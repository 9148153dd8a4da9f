"""Finds secrets that are written in a pipeline file instead of being kept in Vault or the environment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from pydantic import BaseModel, SecretStr

from pipeline_platform.config.document import Place
from pipeline_platform.config.environment import has_placeholder, is_placeholder
from pipeline_platform.config.problem import Problem
from pipeline_platform.redaction import redact_urls, remember_secret

_ADVICE = "keep it in Vault and name its 'credentialPath', or write ${env:NAME}"


def inline_secrets(config: BaseModel, places: Mapping[str, Place]) -> Iterator[Problem]:
    """A warning for each secret in the config that is no environment variable; from now on it is redacted.

    Args:
        config: What was read.
        places: Where each of its keys was written.
    """
    for keys, text in _secrets(config):
        if text and not is_placeholder(text) and keys[0] in places:
            if not has_placeholder(text):
                remember_secret(text)
            place = places[keys[0]]
            for part in keys[1:]:
                place /= part
            yield place.problem(f"the secret '{keys[-1]}' is written in the file", hint=_ADVICE)
    for key, place in places.items():
        if isinstance(place.value, str) and redact_urls(place.value) != place.value:
            yield place.problem(f"there is a password in the URL of '{key}'", hint=_ADVICE)


def _secrets(value: Any, keys: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(value, SecretStr):
        yield cast("tuple[str, ...]", keys), value.get_secret_value()
    elif isinstance(value, BaseModel):
        for name, item in value:
            field = type(value).model_fields.get(name)
            yield from _secrets(item, (*keys, (field.alias if field else None) or name))
    elif isinstance(value, Mapping):
        for key, item in cast("Mapping[str, Any]", value).items():
            yield from _secrets(item, (*keys, key))
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(cast("list[Any]", value)):
            yield from _secrets(item, (*keys, index))
