"""Avro schemas as Spark understands them: read from JSON, turned into Spark types, and made from Spark types."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from pipeline_platform.connectors.files.avro_types import PLAIN_TYPE_OF, PRIMITIVES
from pipeline_platform.connectors.files.formats import is_avro_name

if TYPE_CHECKING:
    from pyspark.sql.types import DataType, StructType

_INSTANTS = ("timestamp-millis", "timestamp-micros")
_LOCAL_TIMES = ("local-timestamp-millis", "local-timestamp-micros")
# Spark notes a type that Avro lacks, such as an interval, beside the primitive it is stored as.
_CATALYST_TYPE = "spark.sql.catalyst.type"
_MOST_DIGITS = 38


class AvroSchemaError(ValueError):
    """A schema is not what Avro, or Spark's use of it, allows."""


@dataclass(frozen=True)
class AvroField:
    """A field of a record.

    Args:
        name: Its name.
        type: Its type.
        aliases: Names it had before.
        has_default: Whether there is a default; it may be null.
        default: The default in Avro's JSON encoding.
    """

    name: str
    type: AvroType
    aliases: tuple[str, ...] = ()
    has_default: bool = False
    default: Any = None


@dataclass(frozen=True)
class AvroType:
    """A type, resolved: a reference to a named type is that type itself.

    Args:
        kind: A primitive's name, `record`, `enum`, `array`, `map`, `fixed` or `union`.
        logical: The logical type, where Spark has a type for it.
        precision: Digits of a decimal.
        scale: Digits of a decimal behind the point.
        catalyst: The Spark type that Spark noted beside a primitive.
        fields: Of a record.
        size: Bytes of a fixed.
        items: Of an array or a map.
        branches: Of a union.
    """

    kind: str
    logical: str | None = None
    precision: int = 0
    scale: int = 0
    catalyst: str | None = None
    fields: tuple[AvroField, ...] = ()
    size: int = 0
    items: AvroType | None = None
    branches: tuple[AvroType, ...] = ()

    def element(self) -> AvroType:
        """The type of an array's items or a map's values."""
        if self.items is None:
            raise AvroSchemaError(f"'{self.kind}' has no items")
        return self.items

    def simplified(self) -> AvroType:
        """A union as Spark takes it: without null, and as the one type its branches come down to."""
        if self.kind != "union":
            return self
        branches = tuple(branch for branch in self.branches if branch.kind != "null")
        if not branches:
            return AvroType("null")
        if len(branches) == 1:
            return branches[0].simplified()
        kinds = {branch.kind for branch in branches}
        for narrow, wide in (("int", "long"), ("float", "double")):
            if len(branches) == 2 and kinds == {narrow, wide}:
                return AvroType(wide)
        return AvroType("union", branches=branches)


def parse_avro_schema(text: str) -> AvroType:
    """Read an Avro schema.

    Args:
        text: The schema in JSON.

    Raises:
        AvroSchemaError: It is not one that Spark can use.
    """
    try:
        value = json.loads(text)
    except ValueError:
        # A type's bare name is a schema too.
        value = text
    return _Reader().read(value, "", frozenset())


def parse_avro_record(text: str) -> AvroType:
    """As `parse_avro_schema`, for a schema that describes rows.

    Raises:
        AvroSchemaError: It is no record, or one without fields.
    """
    schema = parse_avro_schema(text)
    if schema.kind != "record" or not schema.fields:
        raise AvroSchemaError("the schema of a frame has to be a record with at least one field")
    return schema


class _Reader:
    def __init__(self) -> None:
        self.named: dict[str, Mapping[str, Any]] = {}

    def read(self, value: Any, namespace: str, inside: frozenset[str]) -> AvroType:
        """Resolve a schema.

        Args:
            value: The JSON value.
            namespace: The namespace it stands in.
            inside: Full names of the records it is a part of.
        """
        match value:
            case str() if value in PRIMITIVES:
                return AvroType(value)
            case str():
                return self.read_reference(value, namespace, inside)
            case list():
                return self.read_union(cast("list[Any]", value), namespace, inside)
            case dict():
                return self.read_object(cast("dict[str, Any]", value), namespace, inside)
            case _:
                raise AvroSchemaError(f"expected an Avro type, not {json.dumps(value)}")

    def read_reference(self, name: str, namespace: str, inside: frozenset[str]) -> AvroType:
        full = name if "." in name or not namespace else f"{namespace}.{name}"
        found = full if full in self.named else name
        if found not in self.named:
            raise AvroSchemaError(f"unknown type '{name}'")
        if found in inside:
            raise AvroSchemaError(f"the type '{name}' contains itself, which no Spark type can")
        return self.read_object(self.named[found], found.rpartition(".")[0], inside)

    def read_union(self, branches: list[Any], namespace: str, inside: frozenset[str]) -> AvroType:
        if not branches:
            raise AvroSchemaError("a union needs at least one type")
        return AvroType("union", branches=tuple(self.read(branch, namespace, inside) for branch in branches))

    def read_object(self, value: Mapping[str, Any], namespace: str, inside: frozenset[str]) -> AvroType:
        kind = value.get("type")
        match kind:
            case "record" | "error" | "enum" | "fixed":
                return self.read_named(kind, value, namespace, inside)
            case "array" | "map":
                key = "items" if kind == "array" else "values"
                if key not in value:
                    raise AvroSchemaError(f"'{kind}' needs '{key}'")
                return AvroType(kind, items=self.read(value[key], namespace, inside))
            case str() if kind in PRIMITIVES:
                return _with_logical_type(kind, value)
            case str():
                return self.read_reference(kind, namespace, inside)
            case _:
                raise AvroSchemaError(f"the key 'type' is missing, or no name, in {json.dumps(value)}")

    def read_named(self, kind: str, value: Mapping[str, Any], namespace: str, inside: frozenset[str]) -> AvroType:
        name = value.get("name")
        if not isinstance(name, str) or not all(is_avro_name(part) for part in name.split(".")):
            raise AvroSchemaError(f"'{kind}' needs a name of letters, digits and _, not {json.dumps(name)}")
        own_namespace, _, short = name.rpartition(".")
        own_namespace = own_namespace or str(value.get("namespace", namespace))
        full = f"{own_namespace}.{short}" if own_namespace else short
        if self.named.setdefault(full, value) is not value:
            raise AvroSchemaError(f"the type '{full}' is defined twice")
        if kind == "enum":
            if not isinstance(value.get("symbols"), list):
                raise AvroSchemaError(f"the enum '{full}' needs 'symbols'")
            return AvroType("enum")
        if kind == "fixed":
            if not isinstance(value.get("size"), int) or value["size"] < 1:
                raise AvroSchemaError(f"the fixed '{full}' needs a 'size'")
            return _with_logical_type("fixed", value)
        fields = value.get("fields")
        if not isinstance(fields, list):
            raise AvroSchemaError(f"the record '{full}' needs 'fields'")
        read = tuple(
            self.read_field(field, full, own_namespace, inside | {full}) for field in cast("list[Any]", fields)
        )
        names = [field.name for field in read]
        if len(set(names)) < len(names):
            raise AvroSchemaError(f"the record '{full}' has two fields of the same name")
        return AvroType("record", fields=read)

    def read_field(self, value: Any, record: str, namespace: str, inside: frozenset[str]) -> AvroField:
        if not isinstance(value, dict):
            raise AvroSchemaError(f"a field of '{record}' is not an object")
        field = cast("dict[str, Any]", value)
        name = field.get("name")
        if not isinstance(name, str) or not is_avro_name(name):
            raise AvroSchemaError(
                f"a field of '{record}' needs a name of letters, digits and _, not {json.dumps(name)}"
            )
        if "type" not in field:
            raise AvroSchemaError(f"the field '{name}' of '{record}' needs a 'type'")
        aliases = tuple(str(alias) for alias in field.get("aliases", ()))
        type_ = self.read(field["type"], namespace, inside)
        return AvroField(name, type_, aliases, "default" in field, field.get("default"))


def _with_logical_type(kind: str, value: Mapping[str, Any]) -> AvroType:
    logical, catalyst = value.get("logicalType"), value.get(_CATALYST_TYPE)
    size = int(value["size"]) if kind == "fixed" else 0
    if kind in ("bytes", "fixed") and logical == "decimal":
        precision, scale = value.get("precision"), value.get("scale", 0)
        if not isinstance(precision, int) or not isinstance(scale, int) or not 0 <= scale <= precision or precision < 1:
            # Avro ignores a logical type that is not right.
            return AvroType(kind, size=size)
        if kind == "fixed" and precision > len(str(2 ** (8 * size - 1) - 1)) - 1:
            return AvroType(kind, size=size)
        if precision > _MOST_DIGITS:
            raise AvroSchemaError(f"a decimal of {precision} digits is more than the {_MOST_DIGITS} Spark has")
        return AvroType(kind, "decimal", precision, scale, size=size)
    if kind == "int" and logical == "date":
        return AvroType(kind, logical)
    if kind == "long" and logical in (*_INSTANTS, *_LOCAL_TIMES):
        return AvroType(kind, logical)
    if kind in ("int", "long") and catalyst is not None:
        return AvroType(kind, catalyst=str(catalyst))
    return AvroType(kind, size=size)


def spark_type(avro: AvroType) -> DataType:
    """The Spark type of an Avro type, as Spark's own Avro reader has it; everything in it is nullable.

    Raises:
        AvroSchemaError: Spark has none.
    """
    from pyspark.sql import types as T

    avro = avro.simplified()
    match avro.kind:
        case "record":
            return T.StructType([T.StructField(field.name, spark_type(field.type)) for field in avro.fields])
        case "union":
            members = [spark_type(branch) for branch in avro.branches]
            return T.StructType([T.StructField(f"member{place}", member) for place, member in enumerate(members)])
        case "array":
            return T.ArrayType(spark_type(avro.element()))
        case "map":
            return T.MapType(T.StringType(), spark_type(avro.element()))
        case "bytes" | "fixed":
            return T.DecimalType(avro.precision, avro.scale) if avro.logical == "decimal" else T.BinaryType()
        case _ if avro.catalyst is not None:
            return _noted_type(avro.catalyst)
        case "int":
            return T.DateType() if avro.logical == "date" else T.IntegerType()
        case "long" if avro.logical in _INSTANTS:
            return T.TimestampType()
        case "long" if avro.logical in _LOCAL_TIMES:
            return T.TimestampNTZType()
        case _:
            primitives = {
                "null": T.NullType,
                "boolean": T.BooleanType,
                "long": T.LongType,
                "float": T.FloatType,
                "double": T.DoubleType,
                "string": T.StringType,
                "enum": T.StringType,
            }
            return primitives[avro.kind]()


def _noted_type(name: str) -> DataType:
    from pyspark.sql import types as T

    for interval, units in (
        (T.YearMonthIntervalType, ("year", "month")),
        (T.DayTimeIntervalType, ("day", "hour", "minute", "second")),
    ):
        words = name.lower().removeprefix("interval ").split(" to ")
        if name.lower().startswith("interval ") and len(words) in (1, 2) and all(word in units for word in words):
            return interval(units.index(words[0]), units.index(words[-1]))
    raise AvroSchemaError(f"the Spark type '{name}' noted in the schema is not known here")


def avro_schema_of(schema: StructType, name: str, namespace: str) -> str:
    """The Avro schema, in JSON, that Spark's own Avro module writes for a frame.

    It follows `SchemaConverters.toAvroType`, which only the JVM could be asked for.

    Args:
        schema: The schema of the frame.
        name: Name of the record.
        namespace: Its namespace; may be empty.

    Raises:
        AvroSchemaError: Avro has no type for a column, or its name is not allowed.
    """
    written = _avro_type(schema, False, name, namespace, ())
    return json.dumps(written, separators=(",", ":"), ensure_ascii=False)


def _avro_type(data_type: DataType, nullable: bool, name: str, namespace: str, path: Sequence[str]) -> Any:
    from pyspark.sql import types as T

    match data_type:
        case T.NullType():
            return "null"
        case T.StructType():
            written = _avro_record(data_type, name, namespace, path)
        case T.ArrayType():
            items = _avro_type(data_type.elementType, data_type.containsNull, name, namespace, path)
            written = {"type": "array", "items": items}
        case T.MapType() if isinstance(data_type.keyType, T.StringType):
            values = _avro_type(data_type.valueType, data_type.valueContainsNull, name, namespace, path)
            written = {"type": "map", "values": values}
        case T.DecimalType():
            written = {
                "type": "fixed",
                "name": "fixed",
                "namespace": f"{namespace}.{name}" if namespace else name,
                "size": _bytes_for(data_type.precision),
                "logicalType": "decimal",
                "precision": data_type.precision,
                "scale": data_type.scale,
            }
        case T.YearMonthIntervalType():
            written = {"type": "int", _CATALYST_TYPE: data_type.simpleString()}
        case T.DayTimeIntervalType():
            written = {"type": "long", _CATALYST_TYPE: data_type.simpleString()}
        case _:
            written = _avro_primitive(data_type, path)
    return [written, "null"] if nullable else written


def _avro_record(struct: StructType, name: str, namespace: str, path: Sequence[str]) -> dict[str, Any]:
    inner = f"{namespace}.{name}" if namespace else name
    fields: list[dict[str, Any]] = []
    for field in struct.fields:
        here = (*path, field.name)
        if not is_avro_name(field.name):
            raise AvroSchemaError(f"Avro does not allow the name '{'.'.join(here)}': letters, digits and _ only")
        fields.append({"name": field.name, "type": _avro_type(field.dataType, field.nullable, field.name, inner, here)})
    return {"type": "record", "name": name, **({"namespace": namespace} if namespace else {}), "fields": fields}


def _avro_primitive(data_type: DataType, path: Sequence[str]) -> Any:
    written = PLAIN_TYPE_OF.get(data_type.simpleString())
    if written is None:
        raise AvroSchemaError(f"Avro has no type for the column '{'.'.join(path)}', {data_type.simpleString()}")
    return written


def _bytes_for(precision: int) -> int:
    """The smallest number of bytes that hold a signed integer of so many digits."""
    return next(size for size in range(1, 17) if 10**precision <= 2 ** (8 * size - 1))
