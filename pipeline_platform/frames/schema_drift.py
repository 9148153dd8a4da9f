"""Where the columns of a frame are no longer those of its table, and what a `schemaPolicy` makes of that.

All of it is about types: nothing here needs a running Spark.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from pipeline_platform.config.schema_policy import SchemaPolicy
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.columns import field_named, in_sql, repeated
from pipeline_platform.frames.widening import holds

if TYPE_CHECKING:
    from pyspark.sql.types import DataType, StructField, StructType

RESCUED = "_rescued_data"
"""The column of values that the table has no column for, as Databricks' Auto Loader names it."""
_VARIANT = "__v_"
"""Between the name of a column and of a type, as dlt names its variant columns."""
_SAME_TYPE = "the files of the table are apart by this column, so its type must stay"
_SAME_KEY = "rows are found by this column, so values of another type can't be apart from it"

Widens = Callable[["DataType", "DataType"], bool]
"""Whether a sink gives a column of the first type the second one, in which every value stays what it was."""
ChangeKind = Literal["added", "ignored", "quarantined", "missing", "widened", "variant"]


@dataclass(frozen=True)
class SchemaChange:
    """A difference between the columns of a load and those of its table.

    Args:
        column: The column, or the field of one, such as `address.zip`.
        change: What became of it.
        before: Its type in the table; None if it is new.
        after: Its type in the load; None if it is missing there.
    """

    column: str
    change: ChangeKind
    before: str | None
    after: str | None


@dataclass(frozen=True)
class Cast:
    """A value that is cast to another type."""

    to: DataType


@dataclass(frozen=True)
class Fields:
    """A struct that is made anew of some of its fields."""

    fields: tuple[tuple[str, Shape], ...]


@dataclass(frozen=True)
class Items:
    """An array whose items are made anew."""

    item: Shape


@dataclass(frozen=True)
class Entries:
    """A map whose keys and values are made anew."""

    key: Shape
    value: Shape


Shape = Cast | Fields | Items | Entries | None
"""What is made of a value; None if it stays what it is."""


@dataclass(frozen=True)
class FittedColumn:
    """A column of a frame, as it is written.

    Args:
        name: In the frame.
        target: In the table.
        shape: What is made of its values.
    """

    name: str
    target: str
    shape: Shape


@dataclass(frozen=True)
class Drift:
    """How a frame is different from its table.

    Args:
        columns: Those that are written, in the order of the frame.
        rescued: Names of columns, or of fields within them, whose values are kept as JSON.
        nulls: Columns that are NULL, with their types: of a value that has columns for several types, those that it is
            not in.
        changes: What is different, for people.
    """

    columns: tuple[FittedColumn, ...]
    rescued: tuple[tuple[str, ...], ...]
    nulls: tuple[tuple[str, DataType], ...]
    changes: tuple[SchemaChange, ...]

    @property
    def widens(self) -> bool:
        """Whether columns of the table are to get wider types."""
        return any(change.change == "widened" for change in self.changes)


def schema_drift(
    frame: StructType,
    table: StructType,
    told: str,
    policy: SchemaPolicy,
    widens: Widens,
    *,
    keys: Collection[str] = (),
    fixed: Collection[str] = (),
    has_variants: bool = True,
) -> Drift:
    """How the columns of a frame are brought to those of its table.

    Args:
        frame: The columns that are loaded.
        table: Those of the table.
        told: What has those, for messages, such as `the table at lake/orders`.
        policy: What happens to differences.
        widens: Which types the sink widens.
        keys: Columns that rows are found by: they may get wider, which leaves each value equal to itself.
        fixed: Columns whose type must stay.
        has_variants: Whether columns such as `amount__v_string` are for values of `amount` that have another type.

    Raises:
        PipelineExecutionException: A difference is not allowed.
    """
    found_by, stays = (frozenset(name.lower() for name in names) for names in (keys, fixed))
    comparison = _Comparison(table, told, policy, widens, found_by, stays, has_variants)
    fitted = [column for source in frame if (column := comparison.column(source)) is not None]
    comparison.look_for_missing(frame)
    written = [column.target for column in fitted] + [RESCUED] * bool(comparison.rescued)
    if twice := repeated(written):
        raise PipelineExecutionException(
            f"the frame has a column '{twice[0]}', and 'schemaPolicy' needs one of that name for other values",
            hint="rename the frame's column",
        )
    if twice := repeated(".".join(place) for place in comparison.rescued):
        raise PipelineExecutionException(
            f"both a column and a field are called '{twice[0]}', and 'newColumns' quarantine could keep one alone",
            hint="rename one of them",
        )
    nulls = _beside(table, {name.lower() for name in written}) if has_variants else ()
    return Drift(tuple(fitted), tuple(comparison.rescued), tuple(nulls), tuple(comparison.changes))


@dataclass(frozen=True)
class _Comparison:
    table: StructType
    told: str
    policy: SchemaPolicy
    may_widen: Widens
    keys: Collection[str]
    fixed: Collection[str]
    has_variants: bool
    changes: list[SchemaChange] = field(default_factory=list[SchemaChange])
    rescued: list[tuple[str, ...]] = field(default_factory=list[tuple[str, ...]])

    def column(self, source: StructField) -> FittedColumn | None:
        """What is written of a column; None if it is left out."""
        target = field_named(self.table, source.name)
        if target is None:
            is_taken = self._takes_new((source.name,), source.dataType)
            return FittedColumn(source.name, source.name, None) if is_taken else None
        if self._fit(source.dataType, target.dataType):
            return FittedColumn(source.name, source.name, self._shape((source.name,), source.dataType, target.dataType))
        return self._variant(source, target)

    def look_for_missing(self, frame: StructType) -> None:
        """Find the columns that only the table has, but those that a policy has made."""
        known = {name.lower() for name in self.table.names}
        missing = [
            (name, kind.simpleString())
            for name, kind in _missing(frame, self.table)
            if name.lower() != RESCUED and not (self.has_variants and _origin(name) in known)
        ]
        for name, _ in missing:
            if name.lower() in (*self.keys, *self.fixed):
                raise PipelineExecutionException(
                    f"the frame does not have the column '{name}', by which rows of {self.told} are found",
                    hint="add it, for example with enrichData",
                )
        if missing and self.policy.missing_columns == "fail":
            named = ", ".join(f"'{name}'" for name, _ in missing)
            raise PipelineExecutionException(
                f"{self.told} has {'columns' if len(missing) > 1 else 'the column'} {named}, which the "
                "frame does not have",
                hint="add what is missing, for example with enrichData, or set 'missingColumns' to allow",
            )
        self.changes.extend(SchemaChange(name, "missing", kind, None) for name, kind in missing)

    def _takes_new(self, place: tuple[str, ...], kind: DataType, *, keep: tuple[str, ...] | None = None) -> bool:
        """Whether a column, or a field, that the table does not have is written."""
        name, what = ".".join(place), self.policy.new_columns
        if what == "fail":
            raise PipelineExecutionException(
                f"{self.told} has no column '{name}', {kind.simpleString()}; it has {', '.join(self.table.names)}",
                hint="drop it, or set 'newColumns', such as to add",
            )
        told: dict[str, ChangeKind] = {"add": "added", "ignore": "ignored", "quarantine": "quarantined"}
        self.changes.append(SchemaChange(name, told[what], None, kind.simpleString()))
        kept = keep or place
        if what == "quarantine" and kept not in self.rescued:
            self.rescued.append(kept)
        return what == "add"

    def _shape(
        self, place: tuple[str, ...], source: DataType, target: DataType, keep: tuple[str, ...] | None = None
    ) -> Shape:
        """What is made of a value whose type fits; `keep` is the list or map that it is an item of."""
        from pyspark.sql import types as T

        match source, target:
            case T.StructType(), T.StructType():
                fields = [(inner.name, self._field(place, inner, target, keep)) for inner in source]
                written = tuple((name, shape) for name, (is_written, shape) in fields if is_written)
                if not written:
                    raise self._other_type(place, source, target, "no field of it is one of the table's")
                is_same = len(written) == len(fields) and all(shape is None for _, shape in written)
                return None if is_same else Fields(written)
            case T.ArrayType(), T.ArrayType():
                item = self._shape((*place, "[]"), source.elementType, target.elementType, keep or place)
                return Items(item) if item is not None else None
            case T.MapType(), T.MapType():
                key = self._shape((*place, "{key}"), source.keyType, target.keyType, keep or place)
                value = self._shape((*place, "{value}"), source.valueType, target.valueType, keep or place)
                return Entries(key, value) if key is not None or value is not None else None
            case _:
                return self._leaf(place, source, target)

    def _field(
        self, place: tuple[str, ...], source: StructField, target: StructType, keep: tuple[str, ...] | None
    ) -> tuple[bool, Shape]:
        """Whether a field is written, and what is made of it."""
        path, wanted = (*place, source.name), field_named(target, source.name)
        if wanted is None:
            return self._takes_new(path, source.dataType, keep=keep), None
        return True, self._shape(path, source.dataType, wanted.dataType, keep)

    def _leaf(self, place: tuple[str, ...], source: DataType, target: DataType) -> Shape:
        if _is_same(source, target):
            return None
        if self.policy.type_changes == "fail":
            raise self._other_type(place, source, target, "set 'typeChanges' to widen")
        if _casts(source, target):
            return Cast(target)
        if place[0].lower() in self.fixed:
            raise self._other_type(place, source, target, _SAME_TYPE)
        name = ".".join(place)
        self.changes.append(SchemaChange(name, "widened", target.simpleString(), source.simpleString()))
        return None

    def _variant(self, source: StructField, target: StructField) -> FittedColumn:
        """The column of its own for values that the table's column can't hold."""
        if self.policy.type_changes != "variant":
            cast = f"CAST({in_sql(source.name)} AS {target.dataType.simpleString()})"
            hint = f"cast it with enrichData, {cast}, or set 'typeChanges' to variant"
            raise self._other_type((source.name,), source.dataType, target.dataType, hint)
        if source.name.lower() in (*self.keys, *self.fixed):
            raise self._other_type((source.name,), source.dataType, target.dataType, _SAME_KEY)
        name = f"{source.name}{_VARIANT}{source.dataType.typeName().lower()}"
        told = target.dataType.simpleString(), source.dataType.simpleString()
        self.changes.append(SchemaChange(source.name, "variant", *told))
        own = field_named(self.table, name)
        if own is None:
            return FittedColumn(source.name, name, None)
        if not self._fit(source.dataType, own.dataType):
            hint = "cast it with enrichData: that column has values of another type, too"
            raise self._other_type((name,), source.dataType, own.dataType, hint)
        return FittedColumn(source.name, name, self._shape((source.name,), source.dataType, own.dataType))

    def _fit(self, source: DataType, target: DataType) -> bool:
        """Whether values can be cast to the table's type, or that can be widened to theirs, without loss."""
        from pyspark.sql import types as T

        match source, target:
            case T.StructType(), T.StructType():
                there = [(inner.dataType, field_named(target, inner.name)) for inner in source]
                return all(self._fit(kind, wanted.dataType) for kind, wanted in there if wanted is not None)
            case T.ArrayType(), T.ArrayType():
                return self._fit(source.elementType, target.elementType)
            case T.MapType(), T.MapType():
                return self._fit(source.keyType, target.keyType) and self._fit(source.valueType, target.valueType)
            case _ if _is_same(source, target):
                return True
            case _:
                return _casts(source, target) or self.may_widen(target, source)

    def _other_type(
        self, place: Sequence[str], source: DataType, target: DataType, hint: str
    ) -> PipelineExecutionException:
        return PipelineExecutionException(
            f"the column '{'.'.join(place)}' is {source.simpleString()}, and {self.told} has it as "
            f"{target.simpleString()}",
            hint=hint,
        )


def _is_same(source: DataType, target: DataType) -> bool:
    from pyspark.sql.types import NullType

    return source == target or isinstance(source, NullType)


def _casts(source: DataType, target: DataType) -> bool:
    """Whether every value of one type is the same in the table's.

    As text a value could be kept, too, and as an instant in the zone of the session, but that is for a person to say.
    """
    from pyspark.sql.types import DateType, NumericType, TimestampNTZType

    are_numbers = isinstance(source, NumericType) and isinstance(target, NumericType)
    are_days = isinstance(source, DateType) and isinstance(target, TimestampNTZType)
    return (are_numbers or are_days) and holds(target, source)


def _origin(name: str) -> str | None:
    """Of a column for values of another type: the column that they came for, in lower case."""
    return name.lower().rpartition(_VARIANT)[0] if _VARIANT in name.lower() else None


def _beside(table: StructType, written: Collection[str]) -> Iterator[tuple[str, DataType]]:
    """Columns of the table for the same value as one that is written, which is of another type this time."""
    origins = {_origin(name) or name for name in written}
    for column in table:
        name = column.name.lower()
        if name not in written and (name in origins or _origin(name) in origins):
            yield column.name, column.dataType


def _missing(frame: StructType, table: StructType, prefix: str = "") -> Iterator[tuple[str, DataType]]:
    """Columns, and fields at any depth, that only the table has."""
    for column in table:
        there = field_named(frame, column.name)
        if there is None:
            yield prefix + column.name, column.dataType
        else:
            yield from _missing_within(there.dataType, column.dataType, prefix + column.name)


def _missing_within(frame: DataType, table: DataType, name: str) -> Iterator[tuple[str, DataType]]:
    from pyspark.sql.types import ArrayType, MapType, StructType

    match frame, table:
        case StructType(), StructType():
            yield from _missing(frame, table, f"{name}.")
        case ArrayType(), ArrayType():
            yield from _missing_within(frame.elementType, table.elementType, f"{name}.[]")
        case MapType(), MapType():
            yield from _missing_within(frame.keyType, table.keyType, f"{name}.{{key}}")
            yield from _missing_within(frame.valueType, table.valueType, f"{name}.{{value}}")
        case _:
            return
