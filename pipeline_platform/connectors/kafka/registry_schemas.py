"""The schemas that a topic is read with, as a schema registry has them when the read is planned."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from pipeline_platform.config.placeholders import has_placeholder
from pipeline_platform.config.step import FormatModel
from pipeline_platform.config.values import PositiveInteger, Text
from pipeline_platform.connectors.files.avro_resolution import column_mistake, logical_difference
from pipeline_platform.connectors.kafka.registry import NoAvroError, Registry
from pipeline_platform.connectors.kafka.values import NEW_SCHEMA
from pipeline_platform.exceptions import PipelineConfigurationException, PipelineExecutionException
from pipeline_platform.frames.remote import is_remote
from pipeline_platform.redaction import url_secrets

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_NEW_SCHEMA = re.compile(rf"{NEW_SCHEMA}: id (\d+), topic ([A-Za-z0-9._-]+)")
# Ids that no registry has are the beginnings of values that are something else; each costs an attempt.
_MOST_UNKNOWN = 20
# Whether these matter is up to each value.
_OF_VALUES = ("MISSING_ENUM_SYMBOLS", "MISSING_UNION_BRANCH")

_LOG = logging.getLogger(__name__)


def _url(value: str) -> str:
    if has_placeholder(value):
        return value
    if not all(url.strip().startswith(("http://", "https://")) for url in value.split(",")):
        raise PydanticCustomError("url", "expected a URL that begins with http:// or https://")
    if any(True for _ in url_secrets(value)):
        message = "the login is no part of the URL: give 'schema.registry.basic.auth.user.info' in the credentials"
        raise PydanticCustomError("url", message)
    return value


class SchemaRegistryKeys(FormatModel):
    """Which schemas of a schema registry."""

    url: Annotated[Text, AfterValidator(_url)] | None = None
    """Where the registry is, such as `http://localhost:8081`; several, with commas, are tried in turn. By default
    `schema.registry.url` of the credentials."""


def _subjects(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class ReadWithRegistry(SchemaRegistryKeys):
    """The schemas that values were written with."""

    subject: (
        Annotated[
            list[Text],
            BeforeValidator(_subjects),
            Field(min_length=1),
            WithJsonSchema(
                {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}
            ),
        ]
        | None
    ) = None
    """The subject of the values, by default `<topic>-value`. Of several, the first says what the columns are."""
    version: PositiveInteger | None = None
    """The version of the subject that says what the columns are, where 'valueSchema' does not; by default the latest
    when the run begins."""


@dataclass(frozen=True)
class RegistrySchemas:
    """The schemas of one read.

    Args:
        reader: What values are read as.
        writers: What they were written with, by id.
        refused: Why those of other ids can't be read, by id.
        follows: The subject whose latest version the reader is; None if it is given.
        source: Where the reader is from.
    """

    reader: str
    writers: Mapping[int, str]
    refused: Mapping[int, str]
    follows: str | None = None
    source: str = "'valueSchema'"

    def with_id(self, registry: Registry, schema_id: int) -> RegistrySchemas:
        """These and the schema of another id.

        Args:
            registry: Where they are from.
            schema_id: Of a message that was met.

        Raises:
            PipelineExecutionException: There are too many ids that the registry does not have, or it can't be asked.
        """
        try:
            schema = registry.schema(schema_id)
            why = f"written with schema {schema_id}, which the schema registry at {registry.url} does not have"
        except NoAvroError as error:
            schema, why = None, f"written with schema {schema_id}, which can't be used: {error}"
        if schema is not None:
            return replace(self, writers={**self.writers, schema_id: schema})
        refused = {**self.refused, schema_id: why}
        if len(refused) > _MOST_UNKNOWN:
            raise PipelineExecutionException(
                f"more than {_MOST_UNKNOWN} ids of schemas in messages are none of the schema registry at "
                f"{registry.url}: {', '.join(map(str, sorted(refused)))}",
                hint="check that it is the registry of those who write the topic, and that all values are framed Avro",
            )
        return replace(self, refused=refused)


def schemas_of(registry: Registry, subjects: Sequence[str], version: int | None, reader: str | None) -> RegistrySchemas:
    """Ask a registry for all versions of subjects.

    Args:
        registry: The registry.
        subjects: Their names; of the first is the reader's schema.
        version: Its version; None for the latest.
        reader: The reader's schema, if the registry is not to say it.

    Raises:
        PipelineException: The registry can't be asked, or a subject is missing or not Avro.
    """
    first = subjects[0]
    follows = first if reader is None and version is None else None
    # Before the latest is asked for: one that is registered in between is then what values become.
    ids = dict.fromkeys(each for subject in subjects for each in registry.ids(subject))
    known: dict[int, str] = {}
    source = RegistrySchemas.source
    if reader is None:
        found = registry.latest(first) if version is None else registry.version(first, version)
        reader, known = found.schema, {found.id: found.schema}
        source = f"schema {found.id} of {first}, at {registry.url}"
        _LOG.info("values are read with %s", source)
    schemas = RegistrySchemas(reader, known, {}, follows, source)
    for schema_id in ids:
        if schema_id not in schemas.writers:
            schemas = schemas.with_id(registry, schema_id)
    return schemas


def new_id(message: str, topics: Sequence[str] | None) -> int | None:
    """The id of the schema that a read failed at as it was not planned with it; None if it failed at something else.

    Args:
        message: Of the failure.
        topics: Those that are read; None for any.
    """
    found = _NEW_SCHEMA.search(message)
    if found is None or (topics is not None and found[2] not in topics):
        return None
    return int(found[1])


def readable(spark: SparkSession, schemas: RegistrySchemas) -> RegistrySchemas:
    """The schemas without those writers whose values can never become what the reader's schema says.

    Args:
        spark: The session; the Avro library of its JVM is asked, which also reads the values. Over Spark Connect it is
            out of reach, and what it would say of such values is not known: they are malformed one by one.
        schemas: The schemas.

    Raises:
        PipelineConfigurationException: Avro can't use the reader's schema, or Spark has no columns for it.
    """
    schemas = understood(schemas)
    if is_remote(spark):
        return schemas
    # What belongs to the JVM has no types.
    jvm: Any = spark._jvm  # pyright: ignore[reportPrivateUsage]
    avro = jvm.org.apache.avro
    try:
        reader = _parsed(avro, schemas.reader)
    except ValueError as error:
        raise PipelineConfigurationException(
            f"values can't be read with {schemas.source}: Avro says {error}", hint="correct this schema"
        ) from None
    return _without(schemas, lambda writer: _difference(avro, reader, writer))


def understood(schemas: RegistrySchemas) -> RegistrySchemas:
    """The schemas without those writers whose values would be taken for others, which neither Avro nor Spark notices.

    Args:
        schemas: The schemas.

    Raises:
        PipelineConfigurationException: Spark has no columns for the reader's schema.
    """
    mistake = column_mistake(schemas.reader)
    if mistake is not None:
        raise PipelineConfigurationException(
            f"values can't be read with {schemas.source}: {mistake}",
            hint="give a 'valueSchema' that leaves the field out, or has it otherwise",
        )
    return _without(schemas, lambda writer: logical_difference(schemas.reader, writer))


def _without(schemas: RegistrySchemas, difference: Callable[[str], str | None]) -> RegistrySchemas:
    refused = dict(schemas.refused)
    for schema_id, schema in schemas.writers.items():
        why = difference(schema) if schema != schemas.reader else None
        if why is not None:
            refused[schema_id] = f"written with schema {schema_id}, which can't be read as the wanted one: {why}"
    writers = {schema_id: schema for schema_id, schema in schemas.writers.items() if schema_id not in refused}
    return replace(schemas, writers=writers, refused=refused)


def require_same_columns(spark: SparkSession, registry: Registry, schemas: RegistrySchemas, schema_id: int) -> None:
    """Make sure that a version that came after the read was planned can be read as it was planned.

    Args:
        spark: The session.
        registry: Where the schemas are from.
        schemas: The schemas, with it.
        schema_id: Its id.

    Raises:
        PipelineExecutionException: It can't: the columns have to become others, with another run.
    """
    if schemas.follows is None or schema_id not in schemas.writers:
        return
    why = readable(spark, schemas).refused.get(schema_id)
    if why is not None and schema_id in registry.ids(schemas.follows):
        raise PipelineExecutionException(
            f"the subject {schemas.follows} has a new version: messages were {why}",
            hint="run it again: the columns are then those of the latest version",
            retryable=True,
        )
    _LOG.info("schema %d is new; fields that it adds become columns when the run is started again", schema_id)


def _parsed(avro: Any, schema: str) -> Any:
    from py4j.protocol import Py4JJavaError

    try:
        return getattr(avro, "Schema$Parser")().parse(schema)
    except Py4JJavaError as error:
        thrown: Any = error.java_exception
        raise ValueError(str(thrown.getMessage())) from error


def _difference(avro: Any, reader: Any, schema: str) -> str | None:
    """Why no value of a schema becomes one of the reader's; None if values can."""
    try:
        writer = _parsed(avro, schema)
    except ValueError as error:
        return f"Avro says {error}"
    found = avro.SchemaCompatibility.checkReaderWriterCompatibility(reader, writer).getResult().getIncompatibilities()
    told: list[str] = []
    for each in found:
        kind, message = each.getType().toString(), each.getMessage()
        if kind == "NAME_MISMATCH":
            message = f"{each.getWriterFragment().getFullName()} is not {each.getReaderFragment().getFullName()}"
        if kind not in _OF_VALUES:
            told.append(f"{each.getLocation()}: {message}")
    return "; ".join(told) or None
