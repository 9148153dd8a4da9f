"""Whether columns are what a data contract promises.

All of it is about types: nothing here needs a running Spark.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline_platform.config.config_error import nearest
from pipeline_platform.config.contracts.odcs import Item, Property
from pipeline_platform.config.contracts.physical_type import Kind, PhysicalType, physical_type
from pipeline_platform.config.documents.document import SourcePosition
from pipeline_platform.frames.columns import field_named
from pipeline_platform.frames.number_types import number_type
from pipeline_platform.frames.widening import holds

if TYPE_CHECKING:
    from pyspark.sql.types import DataType, StructType


@dataclass(frozen=True)
class Breach:
    """A column that is not what is promised.

    Args:
        place: Where the contract promises it.
        message: What is promised, and what there is.
    """

    place: SourcePosition
    message: str


def breaches(properties: Sequence[Property], columns: StructType, place: SourcePosition, system: str) -> list[Breach]:
    """The columns that are not what is promised.

    Args:
        properties: What is promised.
        columns: The columns there are.
        place: Of the object that the properties belong to, in the contract.
        system: By whose SQL physical types are read.
    """
    return list(_Comparison(system).fields(properties, columns, place, ""))


def beyond(properties: Sequence[Property], columns: StructType) -> list[str]:
    """The columns that are not in a contract.

    Args:
        properties: What is promised.
        columns: The columns there are.
    """
    promised = {one.column.lower() for one in properties}
    return [name for name in columns.names if name.lower() not in promised]


@dataclass(frozen=True)
class _Comparison:
    system: str

    def fields(
        self, properties: Sequence[Property], columns: StructType, place: SourcePosition, prefix: str
    ) -> Iterator[Breach]:
        what = "field" if prefix else "column"
        for index, one in enumerate(properties):
            at, name = place / "properties" / index, f"{prefix}{one.column}"
            if one.semantic_type == "measure":
                continue
            found = field_named(columns, one.column)
            if found is None:
                near = nearest(one.column, columns.names)
                told = f"; it brings {', '.join(columns.names)}" if near is None else f"; {near}"
                yield Breach(
                    at, f"the {what} '{name}' is promised as {_told(one)}, and the load does not bring it{told}"
                )
            else:
                yield from self._item(one, found.dataType, at, name)

    def _item(self, one: Item, found: DataType, place: SourcePosition, name: str) -> Iterator[Breach]:
        """What is wrong with one value, and with what is in it."""
        from pyspark.sql import types as T

        physical = physical_type(one.physical_type, self.system) if one.physical_type is not None else None
        if isinstance(found, T.NullType):
            return
        if not _is_logical(one, found) or (physical is not None and not self._is_physical(physical, found)):
            told = f"'{name}' is promised as {_told(one)}, and the load brings {found.simpleString()}"
            yield Breach(place, told)
            return
        match found:
            case T.StructType():
                yield from self.fields(one.properties, found, place, f"{name}.")
            case T.ArrayType() if one.items is not None:
                yield from self._item(one.items, found.elementType, place / "items", f"{name}.[]")
            case T.MapType() if one.map is not None:
                at = place / "map"
                if one.map.key is not None:
                    yield from self._item(one.map.key, found.keyType, at / "key", f"{name}.{{key}}")
                if one.map.value is not None:
                    yield from self._item(one.map.value, found.valueType, at / "value", f"{name}.{{value}}")
            case _:
                return

    def _is_physical(self, promised: PhysicalType, found: DataType) -> bool:
        """Whether every value of a type is one of the promised type."""
        from pyspark.sql import types as T

        # MySQL has booleans as tinyint(1).
        if promised.kind == "tinyint" and self.system == "mysql" and isinstance(found, T.BooleanType):
            return True
        match promised.kind, found:
            case "array", T.ArrayType():
                return self._are_physical(promised, [found.elementType])
            case "map", T.MapType():
                return self._are_physical(promised, [found.keyType, found.valueType])
            case "struct", T.StructType():
                by_name = {field.name.lower(): field.dataType for field in found}
                names = [name.lower() for name, _ in promised.inner]
                is_known = not names or sorted(names) == sorted(by_name)
                return is_known and self._are_physical(promised, [by_name[name] for name in names])
            case _:
                return _is_plain(promised, found)

    def _are_physical(self, promised: PhysicalType, found: Sequence[DataType]) -> bool:
        """Whether this holds of what is within, as far as it is promised and known."""
        from pyspark.sql import types as T

        return all(
            one is None or isinstance(kind, T.NullType) or self._is_physical(one, kind)
            for (_, one), kind in zip(promised.inner, found, strict=False)
        )


def _told(one: Item) -> str:
    names = [name for name in (one.logical_type, one.physical_type) if name is not None]
    return " ".join(names[:1] + [f"({name})" for name in names[1:]]) or "a column of any type"


def _is_logical(one: Item, found: DataType) -> bool:
    from pyspark.sql import types as T

    match one.logical_type:
        case "string":
            return isinstance(found, (T.StringType, T.CharType, T.VarcharType))
        case "integer":
            return isinstance(found, T.IntegralType) or (isinstance(found, T.DecimalType) and found.scale == 0)
        case "number":
            return isinstance(found, T.NumericType)
        case "boolean":
            return isinstance(found, T.BooleanType)
        case "date":
            return isinstance(found, T.DateType)
        case "timestamp":
            return isinstance(found, (T.TimestampType, T.TimestampNTZType))
        case "time":
            # Spark has it as text where the system it is read from has a type for it.
            return isinstance(found, (T.TimeType, T.StringType))
        case "object":
            return isinstance(found, T.StructType)
        case "array":
            return isinstance(found, T.ArrayType)
        case "vector":
            return isinstance(found, T.ArrayType) and isinstance(found.elementType, T.FractionalType)
        case "map":
            return isinstance(found, T.MapType)
        case None:
            return True


def _is_plain(promised: PhysicalType, found: DataType) -> bool:
    """Whether every value of a type is one of the promised type, which has no others in it."""
    from pyspark.sql import types as T

    kinds: Mapping[Kind, tuple[type[DataType], ...]] = {
        "json": (T.StringType, T.StructType, T.ArrayType, T.MapType, T.VariantType),
        "string": (T.StringType, T.CharType, T.VarcharType),
        "binary": (T.BinaryType,),
        "boolean": (T.BooleanType,),
        "date": (T.DateType,),
        "time": (T.TimeType, T.StringType),
    }
    match promised.kind:
        case "decimal" if promised.precision is None:
            return isinstance(found, (T.DecimalType, T.IntegralType))
        case "timestamp":
            return isinstance(found, T.TimestampNTZType if promised.has_zone is False else T.TimestampType) or (
                promised.has_zone is None and isinstance(found, T.TimestampNTZType)
            )
        case "tinyint" | "smallint" | "int" | "bigint" | "float" | "double" | "decimal":
            return isinstance(found, T.NumericType) and holds(_number(promised), found)
        case _:
            return isinstance(found, kinds.get(promised.kind, ()))


def _number(promised: PhysicalType) -> DataType:
    from pyspark.sql.types import DecimalType

    return number_type(promised.kind) or DecimalType(promised.precision or 0, promised.scale)
