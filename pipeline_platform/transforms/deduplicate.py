"""`deduplicate`: one row of those that are equal in some columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError
from sqlglot import exp

from pipeline_platform.config.placeholders import has_placeholder
from pipeline_platform.config.range_frames import OneByOne, RangeFrame
from pipeline_platform.config.sql import parse_expression
from pipeline_platform.config.sql_limits import expression_mistake
from pipeline_platform.config.step import PipelineMode
from pipeline_platform.config.traits import Traits
from pipeline_platform.config.values import SQL, Names, Text, put_in
from pipeline_platform.frames.columns import HELPER_PREFIX, own_column, quoted
from pipeline_platform.steps.transform import Frames, Transform
from pipeline_platform.transforms.event_time import Watermark

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from pipeline_platform.config.step_over_range import RangeStep

_PLACE = f"{HELPER_PREFIX}place"


def _ranking(groups: str, order: str) -> str:
    return f"row_number() OVER (PARTITION BY {groups} ORDER BY {order})"


def _order(value: str, info: ValidationInfo) -> str:
    mistake = put_in(value, info) or expression_mistake(_ranking("1", value))
    if isinstance(mistake, str):
        raise PydanticCustomError("order", "{mistake}", {"mistake": mistake})
    if mistake is not None or not (has_placeholder(value) or _is_order(value)):
        raise PydanticCustomError("order", "'{value}' is not a sort order; write 'updated_at DESC'", {"value": value})
    return value


def _is_order(value: str) -> bool:
    return isinstance(parse_expression(_ranking("1", value)), exp.Window)


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Order = Annotated[
    list[Annotated[Text, AfterValidator(_order), SQL]],
    BeforeValidator(_as_list),
    Field(min_length=1),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}),
]


class Deduplicate(Transform):
    """Keeps one of the rows that are equal in some columns; nulls are equal to each other."""

    method: ClassVar[str] = "deduplicate"
    example = {"columns": ["id"], "orderBy": ["ordered_at DESC"]}

    columns: Names
    """The columns that tell rows apart."""
    order_by: Order | None = None
    """batch: of equal rows the first in this order is kept, such as `updated_at DESC`; by default any of them."""
    watermark: Watermark | None = None
    """How far apart in event time equal rows of a stream may be; required in a stream, without effect in batch."""

    def traits(self) -> Traits:
        return Traits(is_stateful=True, is_join=False, has_limit=False, sets_watermark=self.watermark is not None)

    def mode_errors(self, mode: PipelineMode) -> Sequence[tuple[str | None, str]]:
        found: list[tuple[str | None, str]] = []
        if mode == "streaming" and self.order_by is not None:
            message = (
                "'orderBy' has no meaning in a stream: the row that arrives first is passed on before the others arrive"
            )
            found.append(("orderBy", message))
        if mode == "streaming" and self.watermark is None:
            message = "deduplicating a stream needs a 'watermark' {column, delay}, or its state grows without bound"
            found.append((None, message))
        return found

    def over_range(self, step: RangeStep) -> RangeFrame:
        if step.is_divided() and not step.tells(self.columns):
            raise OneByOne(f"keeps one row of those equal in {', '.join(self.columns)}, which may be of two partitions")
        return step.sql.row(step.frame, *(self.order_by or ()))

    def apply(self, frames: Frames) -> DataFrame:
        frame = frames.frame
        columns = [own_column(frame.columns, name) for name in self.columns]
        if frame.isStreaming:
            return self._in_stream(frame, columns)
        if self.watermark is not None:
            self.watermark.apply(frame)
        if self.order_by is None:
            return frame.dropDuplicates(columns)
        return self._first_in_order(frame, columns, ", ".join(self.order_by))

    def _first_in_order(self, frame: DataFrame, columns: list[str], order: str) -> DataFrame:
        from pyspark.sql import functions as F

        groups = ", ".join(map(quoted, columns))
        place = F.expr(_ranking(groups, order))
        return frame.withColumn(_PLACE, place).filter(F.col(_PLACE) == 1).drop(_PLACE)

    def _in_stream(self, frame: DataFrame, columns: list[str]) -> DataFrame:
        assert self.watermark is not None
        return self.watermark.apply(frame).dropDuplicatesWithinWatermark(columns)
