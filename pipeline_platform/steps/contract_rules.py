"""The validation of a data contract, which a load carries out before it writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import reduce
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import PrivateAttr

from pipeline_platform.config.contracts.rules import PromisedRule, Promises, RuleKind
from pipeline_platform.config.contracts.table import TableContract
from pipeline_platform.config.traits import Traits
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.columns import HELPER_PREFIX, field_named, own_column, own_columns, quoted
from pipeline_platform.frames.promised_types import beyond, breaches
from pipeline_platform.steps.validate import Rule, Validate

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import DataType, StructType

# Whoever classifies a column, and not as this, does not want its values in a log.
_SHOWN = "public"
_OCCURRENCES = f"{HELPER_PREFIX}contract_"


def contract_rules(promised: Promises, frame: str | None) -> ContractRules:
    """The validation of a contract.

    Args:
        promised: What it promises.
        frame: The registered frame that is loaded; None for the primary one.
    """
    is_unique = any(rule.kind == "unique" for rule in promised.rules)
    method = UniqueContractRules if is_unique else ContractRules
    hidden = [
        one.column
        for one in promised.contract.table.properties
        if one.classification is not None and one.classification.strip().lower() != _SHOWN
    ]
    config: dict[str, Any] = {"contract": str(promised.contract.file)}
    if hidden:
        config["sensitiveColumns"] = hidden
    if frame is not None:
        config["input"] = frame
    return method.model_validate(config).of(promised)


class ContractRules(Validate):
    """The rows are what a data contract promises: its columns, their types, and its rules about rows."""

    method: ClassVar[str] = "contract"

    contract: str
    """The contract's file."""

    _promised: Promises | None = PrivateAttr(default=None)

    def of(self, promised: Promises) -> ContractRules:
        """Itself, with what the contract promises."""
        self._promised = promised
        return self

    @property
    def promised(self) -> Promises:
        """What the contract promises."""
        if self._promised is None:
            raise ValueError(f"the contract {self.contract} was not read")
        return self._promised

    @property
    def table(self) -> TableContract:
        """What the contract says of the table."""
        return self.promised.contract

    def traits(self) -> Traits:
        return Traits(looks_at_rows=True)

    def remarks(self, frame: DataFrame) -> Sequence[str]:
        if not (unknown := beyond(self.table.table.properties, _own_schema(frame))):
            return ()
        named = ", ".join(f"'{name}'" for name in unknown)
        told = f"the columns {named} are" if len(unknown) > 1 else f"the column {named} is"
        return [f"{told} not in the contract {self.table.file}, and {'are' if len(unknown) > 1 else 'is'} loaded"]

    def what_next(self, broken: Sequence[str]) -> str:
        lines = sorted({self.table.line(rule.place) for rule in self.promised.rules if rule.name in broken})
        where = f"line {lines[0]}" if len(lines) == 1 else f"lines {', '.join(map(str, lines))}"
        return (
            f"see {self.table.file}, {where}; fix the rows, or take them out by a validation before the load, or agree "
            "on another contract; nothing was loaded"
        )

    def rules(self, frame: DataFrame) -> Sequence[Rule]:
        columns = _own_schema(frame)
        self._require_columns(columns)
        rules = [rule for rule in self.promised.rules if not _is_kept(rule, columns)]
        return [
            Rule(rule.name, _violated(number, rule, columns), tuple(path[0] for path in rule.columns))
            for number, rule in enumerate(rules)
        ]

    def _require_columns(self, columns: StructType) -> None:
        table = self.table
        found = breaches(table.table.properties, columns, table.place, self.promised.system)
        if not found:
            return
        told = "; ".join(f"{table.file}:{table.line(breach.place)}: {breach.message}" for breach in found)
        named = f"'{table.contract.id}' {table.contract.version}"
        raise PipelineExecutionException(
            f"the load does not keep the contract {named}: {told}",
            hint="bring the columns to the contract, for example with enrichData or reshapeData, or agree on another "
            "contract; nothing was loaded",
        )


class UniqueContractRules(ContractRules):
    """Those of a contract that has values or keys which no two rows may share."""

    def annotate(self, frame: DataFrame, eligible: Column, named: Mapping[str, DataFrame]) -> DataFrame:
        from pyspark.sql import Window
        from pyspark.sql import functions as F

        columns = _own_schema(frame)
        self._require_columns(columns)
        for number, rule in enumerate(one for one in self.promised.rules if not _is_kept(one, columns)):
            if rule.kind == "unique":
                same = Window.partitionBy(*(_Value.at(columns, path).column for path in rule.columns))
                frame = frame.withColumn(f"{_OCCURRENCES}{number}", F.sum(eligible.cast("bigint")).over(same))
        return frame


@dataclass(frozen=True)
class _Value:
    """A column, or a field within one.

    Args:
        column: Its value.
        kind: Its type.
        outer: Whether what it is in has a value.
    """

    column: Column
    kind: DataType
    outer: Column

    @classmethod
    def at(cls, columns: StructType, path: Sequence[str]) -> _Value:
        from pyspark.sql import functions as F
        from pyspark.sql.types import StructType

        name = own_column(columns.names, path[0])
        value, kind, outer = F.col(quoted(name)), columns[name].dataType, F.lit(True)
        for part in path[1:]:
            field = field_named(kind, part) if isinstance(kind, StructType) else None
            if field is None:
                raise PipelineExecutionException(
                    f"the contract has a rule about '{'.'.join(path)}', and '{name}' has no field '{part}'",
                    hint="add the field to the contract's properties, or take the rule out",
                )
            outer, value, kind = value.isNotNull(), value.getField(field.name), field.dataType
        return cls(value, kind, outer)


def _own_schema(frame: DataFrame) -> StructType:
    from pyspark.sql.types import StructType

    own = set(own_columns(frame))
    return StructType([field for field in frame.schema if field.name in own])


def _is_kept(rule: PromisedRule, columns: StructType) -> bool:
    """Whether the schema alone tells that no row breaks a rule."""
    name, *within = rule.columns[0]
    if rule.kind != "notNull" or within:
        return False
    field = field_named(columns, name)
    return field is not None and not field.nullable


def _violated(number: int, rule: PromisedRule, columns: StructType) -> Column:
    from pyspark.sql import functions as F

    values = [_Value.at(columns, path) for path in rule.columns]
    if rule.kind == "unique":
        complete = reduce(lambda before, one: before & one, [value.column.isNotNull() for value in values])
        return complete & (F.col(f"{_OCCURRENCES}{number}") > 1)
    return _CONDITIONS[rule.kind](values[0], rule.value)


def _bound(value: _Value, limit: Any) -> Column:
    """A limit in the type of a column, so that nothing is rounded."""
    from pyspark.sql import functions as F
    from pyspark.sql.types import DoubleType, FloatType, NumericType, TimestampType

    match value.kind:
        case FloatType() | DoubleType():
            return F.lit(float(limit)).cast(value.kind)
        case NumericType():
            return F.lit(Decimal(str(limit)))
        case TimestampType():
            return F.lit(str(limit)).cast(value.kind)
        case _:
            # Of a bound with a zone, a column without one has the time that stands there.
            plain = limit.replace(tzinfo=None) if isinstance(limit, datetime) else limit
            return F.lit(str(plain)).cast(value.kind)


def _outside(value: _Value, is_outside: Column) -> Column:
    from pyspark.sql import functions as F
    from pyspark.sql.types import DoubleType, FloatType

    # NaN is within no bounds.
    return is_outside | F.isnan(value.column) if isinstance(value.kind, (DoubleType, FloatType)) else is_outside


def _among(value: _Value, allowed: Sequence[Any]) -> Column:
    """Whether a value is one of these, each of them in its type."""
    from pyspark.sql import functions as F
    from pyspark.sql.types import NumericType

    given = [F.lit(str(one) if not isinstance(one, bool) else str(one).lower()) for one in allowed if one is not None]
    as_text = value.column.cast("string")
    numbers = [F.lit(one) for one in allowed if isinstance(one, (int, float)) and not isinstance(one, bool)]
    found = as_text.isin(*given) if given else F.lit(False)
    return found | value.column.isin(*numbers) if numbers and isinstance(value.kind, NumericType) else found


def _missing(value: _Value, unwanted: Sequence[Any]) -> Column:
    from pyspark.sql import functions as F

    is_null = value.column.isNull() if None in unwanted else F.lit(False)
    return is_null | F.coalesce(_among(value, unwanted), F.lit(False))


def _repeats(value: _Value) -> Column:
    from pyspark.sql import functions as F

    return F.size(value.column) > F.size(F.array_distinct(value.column))


def _length(value: _Value) -> Column:
    from pyspark.sql import functions as F

    return F.char_length(value.column.cast("string"))


def _size(value: _Value) -> Column:
    from pyspark.sql import functions as F

    return F.size(value.column)


_CONDITIONS: Mapping[RuleKind, Callable[[_Value, Any], Column]] = {
    "notNull": lambda value, _: value.outer & value.column.isNull(),
    "minimum": lambda value, limit: _outside(value, value.column < _bound(value, limit)),
    "maximum": lambda value, limit: _outside(value, value.column > _bound(value, limit)),
    "above": lambda value, limit: _outside(value, value.column <= _bound(value, limit)),
    "below": lambda value, limit: _outside(value, value.column >= _bound(value, limit)),
    "multipleOf": lambda value, step: value.column % _bound(value, step) != 0,
    "minLength": lambda value, least: _length(value) < least,
    "maxLength": lambda value, most: _length(value) > most,
    "pattern": lambda value, pattern: ~value.column.cast("string").rlike(pattern),
    "oneOf": lambda value, allowed: ~_among(value, allowed),
    "noneOf": _missing,
    "minItems": lambda value, least: value.column.isNotNull() & (_size(value) < least),
    "maxItems": lambda value, most: value.column.isNotNull() & (_size(value) > most),
    "uniqueItems": lambda value, _: value.column.isNotNull() & _repeats(value),
}
