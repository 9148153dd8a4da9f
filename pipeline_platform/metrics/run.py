"""What a run did: the record that Dagster's metadata, `run --json` and the exporters are made from."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, computed_field

RunStatus = Literal["RUNNING", "COMPLETED", "FAILED", "CANCELLED"]
StepStatus = Literal["COMPLETED", "FAILED", "SKIPPED"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class ColumnMetrics(_Record):
    """A column of a step's output."""

    name: str
    type: str
    nullable: bool


class RuleMetrics(_Record):
    """What came of one rule of a validation."""

    rule: str
    violations: int
    """Rows that broke it."""
    rows: int | None
    """Rows looked at."""
    passed: bool
    """Whether no more rows broke it than the tolerance allows."""
    detail: str | None = None
    samples: list[dict[str, Any]] = []
    measure: str | None = None
    """For a rule about the whole frame: what it measures, such as the mean of a column, whatever its bounds."""
    value: float | None = None
    """What was measured; None if there was nothing to measure, and for a rule about rows."""

    @property
    def fraction(self) -> float | None:
        """Violations as a share of the rows looked at."""
        return self.violations / self.rows if self.rows else None


class SchemaChangeMetrics(_Record):
    """A difference between the columns of a load and those of its table, and what became of it."""

    column: str
    """The column, or the field of one."""
    change: Literal["added", "ignored", "quarantined", "missing", "widened", "variant"]
    before: str | None
    """Its type in the table; None if the table did not have it."""
    after: str | None
    """Its type in the load; None if the load does not have it."""

    def told(self) -> str:
        """The change in a line."""
        match self.change:
            case "missing":
                return f"the load has no column '{self.column}' ({self.before})"
            case "widened":
                return f"the column '{self.column}' was widened from {self.before} to {self.after}"
            case "variant":
                return f"the column '{self.column}' ({self.before}) came as {self.after}, into a column of its own"
            case "added":
                return f"the new column '{self.column}' ({self.after}) was added; it is NULL in rows from before"
            case _:
                return f"the new column '{self.column}' ({self.after}) was {self.change}"


class StepMetrics(_Record):
    """What one step did."""

    index: int
    name: str
    type: str
    method: str
    status: StepStatus
    rows: int | None = None
    """Rows of the output, or rows written; None where they can't be counted in the pass that does the work."""
    rows_in: int | None = None
    """Rows of all inputs, or rows looked at; None for an extract, and where they are not known."""
    rows_note: str | None = None
    """Why `rows` is None."""
    seconds: float | None = None
    """Time of a step that runs by itself: a validation or a load."""
    started: datetime | None = None
    """When a step began that runs by itself."""
    partitions: int | None = None
    """Partitions that had rows; None where the rows were not counted on their way."""
    uri: str | None = None
    bytes: int | None = None
    files: int | None = None
    version: int | None = None
    """Version of the Delta table."""
    skipped: str | None = None
    """Why a load wrote nothing though nothing is wrong."""
    cursor: str | None = None
    """For a load of what is new in a source: up to which value of `cursorColumn` it is loaded; of files, the newest
    modification time."""
    quarantined: int | None = None
    """Rows taken out by this validation, or malformed records by this extract."""
    quarantine: str | None = None
    """URI of the Delta table where they are."""
    malformed: int | None = None
    """For an extract: records that could not be used, made null or taken out; None where there can be none, or where
    they can't be counted in the pass that does the work."""
    columns: list[ColumnMetrics] = []
    lineage: dict[str, list[tuple[int, str]]] = {}
    """By output column: the (step index, column) pairs it is derived from."""
    expressions: dict[str, str] = {}
    """By output column that is no column of an input: what computes it."""
    rules: list[RuleMetrics] = []
    blocking: bool = True
    """For a validation: whether a broken rule stops the run."""
    detail: dict[str, int] = {}
    schema_changes: list[SchemaChangeMetrics] = []
    """For a load with a `schemaPolicy`: how its columns were different from those of the table."""
    remark: str | None = None
    """For a load: what someone should look at in what it was loaded into."""

    def told(self) -> str:
        """What the step did, in a line."""
        rows = f"{self.rows:,} rows" if self.rows is not None else self.rows_note or "rows not counted"
        seconds = f" in {self.seconds:.1f} s" if self.seconds is not None else ""
        broken = f", {self.violations:,} violations" if self.type == "validate" else ""
        malformed = f", {self.malformed:,} malformed records" if self.malformed else ""
        return f"{self.name} ({self.method}) {self.status.lower()}: {rows}{broken}{malformed}{seconds}"

    def and_then(self, later: StepMetrics) -> StepMetrics:
        """What the step did in two micro-batches of a stream, one after the other.

        Args:
            later: What it did in the second one.
        """
        rules = [
            rule.model_copy(
                update={
                    "violations": before.violations + rule.violations,
                    "rows": _sum(before.rows, rule.rows),
                    "passed": before.passed and rule.passed,
                }
            )
            for before, rule in zip(self.rules, later.rules, strict=True)
        ]
        sums = {name: _sum(getattr(self, name), getattr(later, name)) for name in _ADD_UP}
        changes = [*self.schema_changes, *(new for new in later.schema_changes if new not in self.schema_changes)]
        return later.model_copy(update={**sums, "rules": rules, "schema_changes": changes})

    @property
    def violations(self) -> int:
        """For a validation: rows that broke a rule, a row once for each rule it broke."""
        return sum(rule.violations for rule in self.rules)

    @property
    def passed(self) -> bool:
        """For a validation: whether every rule passed."""
        return all(rule.passed for rule in self.rules)


_ADD_UP = ("rows", "rows_in", "seconds", "bytes", "files", "quarantined", "malformed")


def _sum(one: float | None, other: float | None) -> float | None:
    return one + other if one is not None and other is not None else None


class RunMetrics(_Record):
    """What a run did."""

    pipeline: str
    mode: str
    run_id: str
    status: RunStatus
    partitions: list[str] = []
    """Keys of the partitions that it loads, in order; none of a pipeline without partitions."""
    variables: dict[str, str | int | float | bool] = {}
    """What its variables stand for."""
    started: datetime
    ended: datetime | None
    """None while it runs."""
    attempts: int
    """How often the run was begun; more than 1 after transient failures."""
    retried: list[str] = []
    """What the attempts failed at that were followed by another one."""
    steps: list[StepMetrics]
    hints: list[str] = []
    error: str | None = None

    @computed_field
    @property
    def seconds(self) -> float | None:
        """Duration of the run; None while it runs."""
        return (self.ended - self.started).total_seconds() if self.ended is not None else None

    @computed_field
    @property
    def rows_read(self) -> int | None:
        """Rows of all extracts; None if one of them was not counted, and before they are."""
        return _total([step.rows for step in self.steps if step.type == "extract"] or [None])

    @computed_field
    @property
    def rows_written(self) -> int | None:
        """Rows of all loads that wrote; None if one of them was not counted, and while the run lasts."""
        return _total([step.rows for step in self._loads()]) if self.ended is not None else None

    @computed_field
    @property
    def bytes_written(self) -> int | None:
        """Bytes of all loads that wrote; None if the sink of one does not say, and while the run lasts."""
        return _total([step.bytes for step in self._loads()]) if self.ended is not None else None

    def _loads(self) -> list[StepMetrics]:
        return [step for step in self.steps if step.type == "load" and step.status == "COMPLETED"]


def _total(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None
