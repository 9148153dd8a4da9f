"""Credentials of Kafka."""

from __future__ import annotations

from typing import Any

from pydantic import SecretStr, model_validator

from pipeline_platform.credentials.model import Credentials


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
