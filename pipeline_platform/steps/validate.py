"""What the engine asks of every validation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, model_validator
from pydantic_core import PydanticCustomError

from pipeline_platform.config.range_frames import OneByOne, RangeFrame
from pipeline_platform.config.step import StepType
from pipeline_platform.config.values import Amount, Location, Names, one_of
from pipeline_platform.redaction import looks_secret
from pipeline_platform.steps.base import FrameInput

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, Row

    from pipeline_platform.config.step_over_range import RangeStep

OnFailure = Literal["fail", "warn", "quarantine"]


@dataclass(frozen=True)
class Rule:
    """A condition that each row keeps or breaks.

    Args:
        name: Unique within the validation.
        violated: True for a row that breaks it; null counts as kept.
        columns: The columns a sample of it should show.
    """

    name: str
    violated: Column
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class RuleResult:
    """What came of a rule.

    Args:
        rule: Its name.
        violations: Rows that broke it; for a rule about the whole frame, 1 if it is broken.
        rows: Rows looked at.
        detail: What was expected and found, for a rule about the whole frame.
        samples: A few of the violating rows.
        measure: What a rule about the whole frame measures; the same whatever its bounds, so that it has a history.
        value: What was measured.
    """

    rule: str
    violations: int
    rows: int | None
    detail: str | None = None
    samples: Sequence[Mapping[str, Any]] = field(default=())
    measure: str | None = None
    value: float | None = None


@dataclass(frozen=True)
class Measure:
    """What rules about the whole frame are judged by, found out in the pass that counts the violations of all others.

    Args:
        values: Of each row; the rows that do not count have null.
        aggregate: Makes one value of them. Neither DISTINCT nor a subquery, which no pass that does other work has.
        judge: The rules' results, by that value, the number of rows looked at and the row of `compared`.
        compared: A frame of one row, which is read by itself: what is known of another frame.
    """

    values: Column
    aggregate: Callable[[Column], Column]
    judge: Callable[[Any, int, Row | None], Sequence[RuleResult]]
    compared: DataFrame | None = None


def _tolerance(value: float) -> float:
    if value >= 1 and value != int(value):
        raise PydanticCustomError("tolerance", "expected a whole number, or a fraction below 1")
    return value


class Validate(FrameInput):
    """Holds rules against a frame and leaves the frame as it is.

    Nulls break no rule, except that of `validateNulls`.
    """

    step_type: ClassVar[StepType] = "validate"
    neutral_keys: ClassVar[frozenset[str]] = frozenset({"sensitive_columns"})

    judges_each_row: ClassVar[bool] = False
    """Whether its rules are about each row by itself, or about the columns alone, so that a range of partitions is
    judged as each of them would be. Of one that says nothing, each partition is a run of its own."""

    on_failure: Annotated[OnFailure, one_of("fail", "warn", "quarantine")] = "fail"
    """`fail` stops the run, and nothing after it is loaded; `warn` only reports; `quarantine` takes the violating rows
    out."""
    tolerance: Annotated[Amount, AfterValidator(_tolerance)] = 0
    """How many violating rows are tolerated: a count, or a fraction below 1. `quarantine` takes them out all the
    same."""
    quarantine_path: Location | None = None
    """Delta table for quarantined rows; by default next to the first sink."""

    sensitive_columns: Names = []
    """Columns whose values samples never show, or fields in them, such as `customer.email`, which hide their column;
    columns and fields with secret-looking names are never shown either."""

    @model_validator(mode="after")
    def _quarantines_rows_only(self) -> Self:
        if self.on_failure == "quarantine" and not self.traits().looks_at_rows:
            raise PydanticCustomError(
                "quarantine",
                "'{method}' looks at the frame as a whole, so there are no rows to quarantine",
                {"method": self.method, "key": "onFailure"},
            )
        return self

    def fills_quarantine(self) -> bool:
        return self.on_failure == "quarantine"

    def quarantine(self) -> str | None:
        return self.quarantine_path

    def over_range(self, step: RangeStep) -> RangeFrame:
        if self.on_failure != "warn":
            if self.uses_partition():
                raise OneByOne("has a rule about the bounds of the partition")
            if self.on_failure == "fail" and self.tolerance > 0:
                raise OneByOne("tolerates some rows of each partition, and not of a range")
            self.require_judges_apart(step)
        return step.frame

    def require_judges_apart(self, step: RangeStep) -> None:
        """Make sure that what it does with a row of a range is what it does with it in its own partition.

        Args:
            step: What it works on.

        Raises:
            OneByOne: It may be something else.
        """
        if not self.judges_each_row:
            raise OneByOne("judges the rows of a partition together")

    def hides(self, column: str) -> bool:
        """Whether no value of a column may be shown.

        Args:
            column: Its name.
        """
        own = column.lower()
        # A sample shows a column as a whole, or not at all.
        return looks_secret(column) or any(f"{name.lower()}.".startswith(f"{own}.") for name in self.sensitive_columns)

    def schema_results(self, frame: DataFrame) -> Sequence[RuleResult]:
        """Results that the schema alone gives; costs no Spark job."""
        return ()

    def annotate(self, frame: DataFrame, eligible: Column, named: Mapping[str, DataFrame]) -> DataFrame:
        """Add the helper columns that the rules need, if they look beyond a single row.

        Must neither add nor drop nor repeat a row.

        Args:
            frame: The frame.
            eligible: True for the rows that earlier validations let through; others must not count.
            named: Registered frames that the step names.
        """
        return frame

    def rules(self, frame: DataFrame) -> Sequence[Rule]:
        """The rules about single rows, for the annotated frame.

        Raises:
            PipelineException: A column is missing.
        """
        return ()

    def measures(self, frame: DataFrame, named: Mapping[str, DataFrame]) -> Sequence[Measure]:
        """What rules about the whole frame are judged by, for the annotated frame.

        Args:
            frame: The frame.
            named: Registered frames that the step names.

        Raises:
            PipelineException: A column is missing, or has a type that can't be measured.
        """
        return ()

    def remarks(self, frame: DataFrame) -> Sequence[str]:
        """What someone should know of a frame that breaks no rule by it.

        Args:
            frame: The frame.
        """
        return ()

    def what_next(self, broken: Sequence[str]) -> str:
        """What to do about broken rules.

        Args:
            broken: Their names.
        """
        if not self.traits().looks_at_rows:
            return "fix the data or the rule, or set 'onFailure' to warn; nothing after it was loaded"
        return "fix the data, or set 'tolerance', or 'onFailure' to quarantine or warn; nothing after it was loaded"

    def history_results(self, rows: int, past: Sequence[int]) -> Sequence[RuleResult]:
        """Results that the number of rows gives beside those of the loads before; asked if `loads_compared`.

        Args:
            rows: The number of rows.
            past: Those of the loads before, the newest first; none if there was no load.
        """
        return ()

    def judges_whole_frame(self) -> bool:
        """Whether it has a rule about the number of rows, or about what they measure all together."""
        own = type(self)
        is_measured = own.count_results is not Validate.count_results or own.measures is not Validate.measures
        return is_measured or bool(self.loads_compared())

    def count_results(self, rows: int) -> Sequence[RuleResult]:
        """Results that the number of rows gives."""
        return ()
