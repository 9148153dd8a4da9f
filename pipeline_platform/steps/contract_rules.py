"""The validation of a data contract, which a load carries out before it writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import PrivateAttr

from pipeline_platform.config.contracts.promises import PromisedRule, Promises
from pipeline_platform.config.contracts.table import TableContract
from pipeline_platform.config.contracts.values import WrongValue
from pipeline_platform.config.traits import Traits
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.columns import HELPER_PREFIX, field_named, own_columns
from pipeline_platform.frames.java_patterns import java_pattern_mistake
from pipeline_platform.frames.promised_conditions import PromisedValue, breaks
from pipeline_platform.frames.promised_types import beyond, breaches
from pipeline_platform.frames.promised_values import is_comparable
from pipeline_platform.steps.validate import Rule, Validate

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import StructType

    from pipeline_platform.config.pipeline import PipelineConfig
    from pipeline_platform.config.step import Step

_OCCURRENCES = f"{HELPER_PREFIX}contract_"


def contract_rules(promised: Promises, frame: str | None) -> ContractRules:
    """The validation of a contract.

    Args:
        promised: What it promises.
        frame: The registered frame that is loaded; None for the primary one.
    """
    is_unique = any(rule.kind == "unique" for rule in promised.rules)
    method = UniqueContractRules if is_unique else ContractRules
    config: dict[str, Any] = {"contract": str(promised.contract.file)}
    if hidden := promised.contract.sensitive_columns:
        config["sensitiveColumns"] = hidden
    if frame is not None:
        config["input"] = frame
    return method.model_validate(config).of(promised)


def contract_of(pipeline: PipelineConfig, step: Step) -> TableContract | None:
    """What the data contract that a load keeps says of its table; None if it keeps none.

    Args:
        pipeline: The pipeline.
        step: One of its steps.
    """
    guards = (one.config for one in pipeline.steps if one.guards is not None and one.guards == step.index)
    return next((config.table for config in guards if isinstance(config, ContractRules)), None)


class ContractRules(Validate):
    """The rows are what a data contract promises: its columns, their types, and its rules about rows."""

    method: ClassVar[str] = "contract"
    # What has to be unique is so in each partition if it is in the range; otherwise nothing is loaded.
    judges_each_row: ClassVar[bool] = True

    neutral_keys: ClassVar[frozenset[str]] = frozenset({"contract"})

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

    def read_beside(self) -> Any:
        rules = [(rule.name, rule.kind, rule.columns, rule.value) for rule in self.promised.rules]
        return [repr(rules), repr(self.table.place.value)]

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
        self._require_checkable(frame, columns)
        rules = [rule for rule in self.promised.rules if not _is_kept(rule, columns)]
        return [
            Rule(rule.name, self._violated(number, rule, columns), tuple(path[0] for path in rule.columns))
            for number, rule in enumerate(rules)
        ]

    def _violated(self, number: int, rule: PromisedRule, columns: StructType) -> Column:
        from pyspark.sql import functions as F

        values = [PromisedValue.at(columns, path) for path in rule.columns]
        if rule.kind == "unique":
            complete = reduce(lambda before, one: before & one, [value.column.isNotNull() for value in values])
            return complete & (F.col(f"{_OCCURRENCES}{number}") > 1)
        try:
            return breaks(rule.kind, values[0], rule.value)
        except WrongValue as error:
            raise self._refused(rule, error.message, error.hint) from error

    def _require_checkable(self, frame: DataFrame, columns: StructType) -> None:
        """Raise for a rule that Spark would refuse, and not at a place in the contract."""
        for rule in self.promised.rules:
            if rule.kind in ("unique", "uniqueItems"):
                for kind in (PromisedValue.at(columns, path).kind for path in rule.columns):
                    if not is_comparable(kind):
                        told = f"Spark does not tell two values of the type {kind.simpleString()} apart"
                        raise self._refused(rule, told, "take the rule out of the contract")
            if rule.kind == "pattern" and (wrong := java_pattern_mistake(frame.sparkSession, rule.value)) is not None:
                raise self._refused(rule, f"no regular expression of Java: {wrong}", None)

    def _refused(self, rule: PromisedRule, why: str, hint: str | None) -> PipelineExecutionException:
        line, column = rule.place.document.position(rule.place.pointer)
        told = f"{self.table.file}:{line}:{column}: '{rule.name}' can't be checked: {why}"
        return PipelineExecutionException(told, hint=f"{hint or 'mend the contract'}; nothing was loaded")

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
        self._require_checkable(frame, columns)
        for number, rule in enumerate(one for one in self.promised.rules if not _is_kept(one, columns)):
            if rule.kind == "unique":
                same = Window.partitionBy(*(PromisedValue.at(columns, path).column for path in rule.columns))
                frame = frame.withColumn(f"{_OCCURRENCES}{number}", F.sum(eligible.cast("bigint")).over(same))
        return frame


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
