"""`validateNulls`: columns that must have a value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from pipeline_platform.config.traits import Traits
from pipeline_platform.config.values import Names
from pipeline_platform.frames.columns import column_of
from pipeline_platform.steps.validate import Rule, Validate

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


class ValidateNulls(Validate):
    """Every row has a value in these columns."""

    method: ClassVar[str] = "validateNulls"
    judges_each_row: ClassVar[bool] = True
    example = {"notNullColumns": ["customer"], "onFailure": "quarantine"}

    not_null_columns: Names
    """Columns in which null breaks the rule; NaN is a value."""

    def traits(self) -> Traits:
        return Traits(looks_at_rows=True)

    def rules(self, frame: DataFrame) -> Sequence[Rule]:
        return [Rule(f"{name} is not null", column_of(frame, name).isNull(), (name,)) for name in self.not_null_columns]
