"""`validateSchema`: columns and their types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from pipeline_platform.config.config_error import did_you_mean
from pipeline_platform.config.step import FormatModel
from pipeline_platform.config.traits import Traits
from pipeline_platform.config.values import Flag, Text
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.steps.validate import RuleResult, Validate

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.types import DataType


class ExpectedColumn(FormatModel):
    """A column that must be there."""

    name: Text
    """Its name, regardless of case."""
    type: Text
    """Its Spark type, such as `bigint` or `decimal(10,2)`; `long` means `bigint`."""
    nullable: Flag | None = None
    """Whether the schema may allow nulls; not checked by default."""


class ValidateSchema(Validate):
    """The frame has these columns with these types; costs no Spark job."""

    method: ClassVar[str] = "validateSchema"
    judges_each_row: ClassVar[bool] = True
    example = {"expectedColumns": [{"name": "id", "type": "int"}, {"name": "customer", "type": "string"}]}

    expected_columns: Annotated[list[ExpectedColumn], Field(min_length=1)]
    """The columns that must be there."""
    strict: Flag = False
    """Allow no other columns."""

    def traits(self) -> Traits:
        return Traits(looks_at_rows=False)

    def schema_results(self, frame: DataFrame) -> Sequence[RuleResult]:
        actual = {field.name.lower(): field for field in frame.schema}
        results: list[RuleResult] = []
        for column in self.expected_columns:
            rule = f"{column.name} {column.type}"
            expected = _parsed(column.type)
            field = actual.get(column.name.lower())
            if field is None:
                near = did_you_mean(column.name, frame.columns)
                detail = f"there is no column '{column.name}'" + (f" ({near})" if near else "")
            elif _plain(field.dataType) != _plain(expected):
                detail = f"'{column.name}' is {field.dataType.simpleString()}, expected {expected.simpleString()}"
            elif column.nullable is False and field.nullable:
                detail = f"'{column.name}' may be null, expected that it may not"
            else:
                detail = None
            results.append(RuleResult(rule, int(detail is not None), None, detail))
        if self.strict:
            expected_names = {column.name.lower() for column in self.expected_columns}
            extra = [name for name in frame.columns if name.lower() not in expected_names]
            detail = f"unexpected columns: {', '.join(extra)}" if extra else None
            results.append(RuleResult("no other columns", int(bool(extra)), None, detail))
        return results


def _parsed(name: str) -> DataType:
    from pyspark.errors import PySparkException
    from pyspark.sql.types import DataType

    try:
        return DataType.fromDDL(name)
    except PySparkException as error:
        raise PipelineExecutionException(f"'{name}' is not a Spark type") from error


def _plain(data_type: DataType) -> str:
    # simpleString leaves out whether nested fields may be null, which no one writes down.
    return data_type.simpleString().lower()
