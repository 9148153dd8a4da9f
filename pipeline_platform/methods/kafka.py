"""Kafka: how a step enters a cluster, and what identifies a topic."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, ConfigDict, SecretStr, model_validator
from pydantic_core import PydanticCustomError

from pipeline_platform.config.environment import variable_names
from pipeline_platform.config.values import Location, Setting, hide_secrets, legible
from pipeline_platform.methods.base import Credentialed, CredentialType
from pipeline_platform.methods.dataset import Dataset, vault_secret

_SPARK_PREFIX = "kafka."
_PROPERTY = re.compile(r"[a-z][a-z0-9_-]*(\.[a-z0-9_-]+)+")
# Nothing works when one of these is misspelled, and Kafka takes a property it does not know without a word.
_VITAL = ("bootstrap.servers", "security.protocol", "sasl.mechanism", "sasl.jaas.config")
_NEAR = 0.85
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")


def _is_topic(name: str) -> str:
    if not _TOPIC.fullmatch(name):
        message = "'{name}' is not a topic: letters, digits, '.', '_' and '-', at most 249"
        raise PydanticCustomError("topic", message, {"name": name})
    return name


Topic = Annotated[Location, AfterValidator(_is_topic)]
"""The name of a topic."""


def _property_name(key: str) -> str:
    near = difflib.get_close_matches(key, _VITAL, n=1, cutoff=_NEAR)
    if not _PROPERTY.fullmatch(key) or (near and key not in _VITAL):
        raise PydanticCustomError("extra_forbidden", "unknown key")
    return key


class EntersKafka(Credentialed):
    """Keys of the methods that enter a Kafka cluster.

    Without a `credentialPath`, Kafka client properties such as `bootstrap.servers`, `security.protocol`, `sasl.*`
    and `ssl.*` stand in the config under their own names.
    """

    credential_types: ClassVar[tuple[CredentialType, ...]] = ("kafka",)
    other_keys: ClassVar[tuple[str, ...]] = _VITAL
    kind: ClassVar[str] = "kafka"
    credential_variables: ClassVar[Mapping[str, str]] = {"bootstrap.servers": "KAFKA_BOOTSTRAP_SERVERS"}
    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="allow",
        json_schema_extra={
            "additionalProperties": False,
            "patternProperties": {f"^{_PROPERTY.pattern}$": {"type": ["string", "number", "boolean"]}},
        },
    )
    __pydantic_extra__: dict[  # pyright: ignore[reportIncompatibleVariableOverride]
        Annotated[str, AfterValidator(_property_name)], Setting | SecretStr
    ]

    @model_validator(mode="before")
    @classmethod
    def _hide_secrets(cls, config: Any) -> Any:
        return hide_secrets(config)

    def inline_credentials(self) -> dict[str, Any]:
        return {key.removeprefix(_SPARK_PREFIX): value for key, value in legible(self.__pydantic_extra__).items()}

    def topic_dataset(self, topics: Sequence[str]) -> Dataset:
        """The dataset of a topic, or of several that are read as one."""
        return Dataset("kafka", f"kafka://{self._cluster()}/{'+'.join(sorted(topics))}")

    def _cluster(self) -> str:
        servers = self.inline_credentials().get("bootstrap.servers")
        if servers is None:
            return vault_secret(self.credential_path) if self.credential_path is not None else "default"
        return ",".join(sorted(server.strip().lower() for server in variable_names(servers).split(",")))
