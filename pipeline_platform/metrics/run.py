"""What a run did: the record that Dagster's metadata, `run --json` and the exporters are made from."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

RunStatus = Literal["COMPLETED", "FAILED", "CANCELLED"]
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

    @property
    def fraction(self) -> float | None:
        """Violations as a share of the rows looked at."""
        return self.violations / self.rows if self.rows else None


class StepMetrics(_Record):
    """What one step did."""

    index: int
    name: str
    type: str
    method: str
    status: StepStatus
    rows: int | None = None
    """Rows of the output, or rows written; None where they can't be counted in the pass that does the work."""
    rows_note: str | None = None
    """Why `rows` is None."""
    seconds: float | None = None
    """Time of a step that runs by itself: a validation or a load."""
    uri: str | None = None
    bytes: int | None = None
    files: int | None = None
    version: int | None = None
    """Version of the Delta table."""
    skipped: str | None = None
    """Why a load wrote nothing though nothing is wrong."""
    quarantined: int | None = None
    """Rows taken out by this validation."""
    columns: list[ColumnMetrics] = []
    lineage: dict[str, list[tuple[int, str]]] = {}
    """By output column: the (step index, column) pairs it is derived from."""
    rules: list[RuleMetrics] = []
    blocking: bool = True
    """For a validation: whether a broken rule stops the run."""
    detail: dict[str, int] = {}

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
        return later.model_copy(update={**sums, "rules": rules})

    @property
    def passed(self) -> bool:
        """For a validation: whether every rule passed."""
        return all(rule.passed for rule in self.rules)


_ADD_UP = ("rows", "seconds", "bytes", "files", "quarantined")


def _sum(one: float | None, other: float | None) -> float | None:
    return one + other if one is not None and other is not None else None


class RunMetrics(_Record):
    """What a run did."""

    pipeline: str
    mode: str
    run_id: str
    status: RunStatus
    started: datetime
    ended: datetime
    attempts: int
    """How often the run was begun; more than 1 after transient failures."""
    steps: list[StepMetrics]
    hints: list[str] = []
    error: str | None = None

    @property
    def seconds(self) -> float:
        """Duration of the run."""
        return (self.ended - self.started).total_seconds()
