"""Kafka: how a step enters a cluster, and what identifies a topic."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import AfterValidator, ConfigDict, SecretStr, model_validator
from pydantic_core import PydanticCustomError

from pipeline_platform.config.placeholders import variable_names
from pipeline_platform.config.redirection import NotRedirected, Redirection
from pipeline_platform.config.values import Location, Setting, hide_secrets, reveal
from pipeline_platform.connectors.kafka.credentials import KafkaCredentials
from pipeline_platform.connectors.kafka.registry import REGISTRY_PREFIX, REGISTRY_URL
from pipeline_platform.credentials.model import Credentials
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.steps.credentialed import Credentialed
from pipeline_platform.steps.dataset import Dataset, vault_secret

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_SPARK_PREFIX = "kafka."
_PROPERTY = re.compile(r"[a-z][a-z0-9_-]*(\.[a-z0-9_-]+)+")
# Nothing works when one of these is misspelled, and Kafka takes a property it does not know without a word.
_VITAL = ("bootstrap.servers", "security.protocol", "sasl.mechanism", "sasl.jaas.config")
_NEAR = 0.85
# Kafka's own are a minute and more, for each of several attempts; a run has attempts of its own.
_PATIENCE = {"request.timeout.ms": "10000", "default.api.timeout.ms": "20000", "max.block.ms": "20000"}
# The last day of the year 9999, in milliseconds.
_NEVER = 253402214400000
_NO_TOPIC = re.compile(r"UnknownTopicOrPartition|does not host this topic-partition")
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")


def _is_topic(name: str) -> str:
    if not _TOPIC.fullmatch(name):
        message = "'{name}' is not a topic name: expected letters, digits, '.', '_' and '-', at most 249"
        raise PydanticCustomError("topic", message, {"name": name})
    return name


Topic = Annotated[Location, AfterValidator(_is_topic)]
"""The name of a topic."""


def redirected_topic(name: str, to: Redirection) -> str:
    """The topic of an environment.

    Args:
        name: That of production.
        to: The environment's.

    Raises:
        NotRedirected: The name would be too long.
    """
    if not _TOPIC.fullmatch(renamed := to.name(name)):
        raise NotRedirected(f"'{renamed}' is not a topic name")
    return renamed


def _property_name(key: str) -> str:
    near = difflib.get_close_matches(key, _VITAL, n=1, cutoff=_NEAR)
    if not _PROPERTY.fullmatch(key) or (near and key not in _VITAL):
        raise PydanticCustomError("extra_forbidden", "unknown key")
    return key


class KafkaOptions(Credentialed):
    """Keys of the methods that enter a Kafka cluster.

    Without a `credentialPath`, Kafka client properties such as `bootstrap.servers`, `security.protocol`, `sasl.*`
    and `ssl.*` stand in the config under their own names.
    """

    credential_types: ClassVar[Mapping[str, type[Credentials]]] = {"kafka": KafkaCredentials}
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
        properties = {key.removeprefix(_SPARK_PREFIX): value for key, value in reveal(self.__pydantic_extra__).items()}
        url = self.registry_url()
        return properties | ({REGISTRY_URL: url} if url is not None else {})

    def registry_url(self) -> str | None:
        """Where a schema registry is, as far as the step itself says."""
        return None

    def spark_options(self, credentials: Credentials | None) -> dict[str, str]:
        """Options of Spark's reader or writer, for this step alone."""
        assert isinstance(credentials, KafkaCredentials)
        properties = {
            name: value.get_secret_value()
            for name, value in credentials.properties.items()
            if not name.startswith(REGISTRY_PREFIX)
        }
        return {f"{_SPARK_PREFIX}{name}": value for name, value in {**_PATIENCE, **properties}.items()}

    def topic_dataset(self, topics: Sequence[str]) -> Dataset:
        """The dataset of a topic, or of several that are read as one."""
        return Dataset("kafka", f"kafka://{self._cluster()}/{'+'.join(sorted(topics))}")

    def require_topics(self, spark: SparkSession, options: Mapping[str, str], subscription: Mapping[str, str]) -> None:
        """Ask the cluster for the topics, so that what is wrong with them or with the way in is told at planning.

        Args:
            spark: The session.
            options: Of `spark_options`.
            subscription: The option that names the topics.

        Raises:
            PipelineExecutionException: A topic is not there.
            Exception: Spark's own: the cluster can't be entered.
        """
        if not self.has_topics(spark, options, subscription):
            raise PipelineExecutionException(
                f"there is no topic {', '.join(subscription.values())} at {options.get('kafka.bootstrap.servers')}",
                hint="check 'topic'; if there is no such topic yet, create it first",
            )

    def has_topics(self, spark: SparkSession, options: Mapping[str, str], subscription: Mapping[str, str]) -> bool:
        """Whether the topics are there.

        Args:
            spark: The session.
            options: Of `spark_options`.
            subscription: The option that names the topics.

        Raises:
            Exception: Spark's own: the cluster can't be entered.
        """
        reader = spark.read.format("kafka").options(**options, **subscription)
        # From the end to the end: offsets are asked for, and nothing is read.
        at_the_end = {"startingTimestamp": str(_NEVER), "startingOffsetsByTimestampStrategy": "latest"}
        try:
            reader.options(**at_the_end, endingOffsets="latest").load().isEmpty()
        except Exception as error:
            if _NO_TOPIC.search(str(error)) is None:
                raise
            return False
        return True

    def _cluster(self) -> str:
        servers = self.inline_credentials().get("bootstrap.servers")
        if servers is None:
            return vault_secret(self.credential_path) if self.credential_path is not None else "default"
        return ",".join(sorted(server.strip().lower() for server in variable_names(servers).split(",")))
