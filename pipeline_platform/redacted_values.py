"""Values of rows without the secrets in them, also in those that are nested."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from pipeline_platform.redaction import MASK, looks_secret, redact

_PAIR = {"key", "value"}


def redacted_value(value: Any) -> Any:
    """A value with `***` in place of the secrets in it: of known ones, and of what has a name that looks like one.

    Args:
        value: As pyarrow or Spark hands it to Python: a struct is a mapping, a map a mapping or a list of pairs. A
            struct of `key` and `value`, such as a header of Kafka's, is taken for an entry of a map.
    """
    match value:
        case str():
            return redact(value)
        case Mapping():
            found = cast("Mapping[Any, Any]", value)
            if set(found) == _PAIR:
                return {"key": redacted_value(found["key"]), "value": _named(found["key"], found["value"])}
            return {redacted_value(name): _named(name, one) for name, one in found.items()}
        case (name, one) if isinstance(value, tuple) and isinstance(name, str):
            return redacted_value(name), _named(name, one)
        case list() | tuple():
            redacted = [redacted_value(one) for one in cast("Sequence[Any]", value)]
            return redacted if isinstance(value, list) else tuple(redacted)
        case _:
            return value


def holds_secret_name(value: Any) -> bool:
    """Whether a value is nested in another one under a name, or a key of a map, that looks like that of a secret.

    Args:
        value: As `redacted_value`.
    """
    match value:
        case Mapping():
            found = cast("Mapping[Any, Any]", value)
            names = [found["key"]] if set(found) == _PAIR else list(found)
            return any(map(_is_secret, names)) or any(map(holds_secret_name, found.values()))
        case (name, one) if isinstance(value, tuple) and isinstance(name, str):
            return looks_secret(name) or holds_secret_name(one)
        case list() | tuple():
            return any(map(holds_secret_name, cast("Sequence[Any]", value)))
        case _:
            return False


def _named(name: Any, value: Any) -> Any:
    return MASK if value is not None and _is_secret(name) else redacted_value(value)


def _is_secret(name: Any) -> bool:
    return isinstance(name, str) and looks_secret(name)
