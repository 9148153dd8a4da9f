"""What `toKafka` writes in Avro: the schema of a frame's columns, its id in a schema registry, framed values."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from pipeline_platform.config.values import Flag, Text
from pipeline_platform.connectors.files.avro_resolution import logical_difference
from pipeline_platform.connectors.files.avro_types import PLAIN_TYPE_OF, PRIMITIVES
from pipeline_platform.connectors.kafka.registry import REGISTRY_URL, Registry
from pipeline_platform.connectors.kafka.registry_schemas import SchemaRegistryKeys
from pipeline_platform.connectors.kafka.values import header_of
from pipeline_platform.exceptions import PipelineConfigurationException, PipelineExecutionException

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import DataType, StructType

# Java takes other letters, too; readers in other languages don't.
_NAME = re.compile("[A-Za-z_][A-Za-z0-9_]*")
# What a registry has under an id stays so, and a stream goes on with it while the registry is away.
_ids: dict[tuple[str, str, str], int] = {}


class WriteWithRegistry(SchemaRegistryKeys):
    """The schema that values are written with."""

    subject: Text | None = None
    """The subject of the values, by default `<topic>-value`."""
    auto_register: Flag = True
    """Register the schema of the columns, which the registry refuses if it is not compatible; otherwise it has to be
    a version of the subject already."""


@dataclass(frozen=True)
class RegisteredSchema:
    """The schema of a frame's columns, in a registry.

    Args:
        properties: The registry is entered with; those of Kafka's credentials, secrets legible.
        subject: The subject.
        registers: Whether the schema becomes a version of it; otherwise it has to be one.
        schema: In Avro's JSON.
    """

    properties: Mapping[str, str]
    subject: str
    registers: bool
    schema: str

    def require_accepted(self) -> None:
        """Make sure that the registry has the schema, or would take it; nothing is registered.

        Raises:
            PipelineException: It does not, or it can't be asked.
        """
        if self._key in _ids:
            return
        registry = Registry.enter(self.properties)
        if registry.registered(self.subject, self.schema) is not None:
            return
        if not self.registers:
            raise PipelineExecutionException(
                f"the subject {self.subject} of the schema registry at {registry.url} has no version with the schema "
                f"of these columns: {self.schema}",
                hint="register this schema, or let 'autoRegister' do it",
            )
        self._require_same_logical_types(registry)
        if not registry.accepts(self.subject, self.schema):
            try:
                # Refused once more, with the reason.
                registry.register(self.subject, self.schema)
            except PipelineExecutionException as error:
                columns = _columns_in(error.message, self.schema, registry.latest_or_none(self.subject) or "{}")
                message = f"{error.message} ({', '.join(columns)})" if columns else error.message
                raise PipelineExecutionException(message, hint=error.hint, retryable=error.retryable) from None

    def id(self) -> int:
        """The id of the schema, which is registered if it is to be.

        Raises:
            PipelineException: As `require_accepted`.
        """
        if self._key not in _ids:
            registry = Registry.enter(self.properties)
            found = registry.registered(self.subject, self.schema)
            if found is None and not self.registers:
                self.require_accepted()
            if found is None:
                self._require_same_logical_types(registry)
            _ids[self._key] = registry.register(self.subject, self.schema) if found is None else found
        return _ids[self._key]

    def _require_same_logical_types(self, registry: Registry) -> None:
        """Raise if readers would take values for others, which a registry does not notice."""
        latest = registry.latest_or_none(self.subject)
        why = logical_difference(self.schema, latest) if latest is not None else None
        if why is not None:
            raise PipelineExecutionException(
                f"the schema of these columns has other logical types than the latest version of the subject "
                f"{self.subject} of the schema registry at {registry.url}, which readers would take for each other: "
                f"{why}",
                hint="cast the columns with enrichData, name another 'subject', or register the schema yourself",
            )

    @property
    def _key(self) -> tuple[str, str, str]:
        return self.properties.get(REGISTRY_URL, ""), self.subject, self.schema


def schema_in_registry(
    frame: DataFrame, keys: WriteWithRegistry, properties: Mapping[str, str], topic: str
) -> RegisteredSchema:
    """The schema of a frame's columns; its record has the name that the latest version of the subject gives it.

    Args:
        frame: The frame.
        keys: Of the step.
        properties: As in `RegisteredSchema`.
        topic: The topic.

    Raises:
        PipelineException: Avro has no type for a column, or the registry can't be asked.
    """
    subject = keys.subject or f"{topic}-value"
    known = [schema for url, other, schema in _ids if (url, other) == (properties.get(REGISTRY_URL, ""), subject)]
    latest = known[-1] if known else Registry.enter(properties).latest_or_none(subject)
    name, namespace = _name_in(latest) if latest is not None else (re.sub(r"\W", "_", topic, flags=re.ASCII), "")
    is_free = latest is not None or (_NAME.fullmatch(name) is not None and name not in PRIMITIVES)
    schema = _record(frame.schema, name if is_free else f"_{name}", namespace, ())
    return RegisteredSchema(properties, subject, keys.auto_register, json.dumps(schema))


def framed_avro(registered: RegisteredSchema) -> Column:
    """All columns of a frame as one value, whose schema is registered now if it is to be.

    Args:
        registered: The schema of the value.

    Raises:
        PipelineException: The registry does not take it, or can't be asked.
    """
    from pyspark.sql import functions as F
    from pyspark.sql.avro.functions import to_avro

    return F.concat(F.lit(header_of(registered.id())), to_avro(F.struct("*"), registered.schema))


def _columns_in(message: str, schema: str, latest: str) -> list[str]:
    """The columns that a registry means by their places, as in `/fields/2/type`, whichever of both schemas it means."""
    names, others = ([str(field["name"]) for field in json.loads(text).get("fields", ())] for text in (schema, latest))
    places = sorted({int(place) for place in re.findall(r"/fields/(\d+)", message)})
    both = {place: name for place, (name, other) in enumerate(zip(names, others, strict=False)) if name == other}
    return [f"/fields/{place} is '{both[place]}'" for place in places if place in both]


def _name_in(schema: str) -> tuple[str, str]:
    """Name and namespace of a record."""
    read: Any = json.loads(schema)
    record = cast("dict[str, Any]", read) if isinstance(read, dict) else {}
    if not isinstance(record.get("name"), str):
        raise PipelineConfigurationException(
            "the latest version of the subject is no record, which is what columns become",
            hint="name another one with 'subject' in 'schemaRegistry'",
        )
    namespace, _, name = str(record["name"]).rpartition(".")
    return name, namespace or str(record.get("namespace", ""))


def _record(struct: StructType, name: str, namespace: str, path: Sequence[str]) -> dict[str, Any]:
    inner = f"{namespace}.{name}" if namespace else name
    fields: list[dict[str, Any]] = []
    for field in struct.fields:
        here = (*path, field.name)
        if _NAME.fullmatch(field.name) is None:
            raise PipelineConfigurationException(
                f"Avro does not allow the name of the column '{'.'.join(here)}': only the letters A to Z and a to z, "
                "digits and _, and no digit in front",
                hint="rename it with renameColumns",
            )
        # Whether Spark knows that there are no nulls differs from plan to plan.
        of_field = ["null", _type(field.dataType, field.name, inner, here)]
        fields.append({"name": field.name, "type": of_field, "default": None})
    return {"type": "record", "name": name, **({"namespace": namespace} if namespace else {}), "fields": fields}


def _type(data_type: DataType, name: str, namespace: str, path: Sequence[str]) -> Any:
    from pyspark.sql import types as T

    match data_type:
        case T.StructType():
            return _record(data_type, name, namespace, path)
        case T.ArrayType():
            return {"type": "array", "items": ["null", _type(data_type.elementType, name, namespace, path)]}
        case T.MapType() if isinstance(data_type.keyType, T.StringType):
            return {"type": "map", "values": ["null", _type(data_type.valueType, name, namespace, path)]}
        case T.DecimalType():
            digits = {"precision": data_type.precision, "scale": data_type.scale}
            return {"type": "bytes", "logicalType": "decimal", **digits}
        case _ if data_type.simpleString() in PLAIN_TYPE_OF:
            return PLAIN_TYPE_OF[data_type.simpleString()]
        case _:
            raise PipelineConfigurationException(
                f"Avro has no type for the column '{'.'.join(path)}', {data_type.simpleString()}",
                hint="cast it with enrichData, or leave it out with selectColumns",
            )
