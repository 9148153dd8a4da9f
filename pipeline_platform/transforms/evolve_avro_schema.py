"""`evolveAvroSchema`: the frame in the shape of an Avro schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from pipeline_platform.config.placeholders import has_placeholder
from pipeline_platform.config.range_frames import RangeFrame
from pipeline_platform.config.traits import Traits
from pipeline_platform.config.values import AvroSchema
from pipeline_platform.connectors.avro.evolution import AvroEvolutionError, evolve, source_of
from pipeline_platform.connectors.files.avro_schema import AvroSchemaError, parse_avro_record
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.columns import quoted
from pipeline_platform.steps.transform import ColumnLineage, ColumnSource, Frames, Transform

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

    from pipeline_platform.config.step_over_range import RangeStep


class EvolveAvroSchema(Transform):
    """Gives the frame the columns of an Avro schema, in its order and with its types.

    Columns the schema lacks are dropped. Fields the frame lacks, under their name and their aliases, are added with
    their default, or null. Types are promoted where Avro allows it; otherwise it is an error. Nulls stay null, even
    where the schema has no union with null.
    """

    method: ClassVar[str] = "evolveAvroSchema"
    example = {
        "targetSchema": {
            "type": "record",
            "name": "Order",
            "fields": [
                {"name": "id", "type": "long"},
                {"name": "customer", "type": ["null", "string"]},
                {"name": "channel", "type": "string", "default": "shop"},
            ],
        }
    }

    target_schema: AvroSchema
    """An Avro record schema."""

    @model_validator(mode="after")
    def _is_a_record(self) -> Self:
        if has_placeholder(self.target_schema):
            return self
        try:
            parse_avro_record(self.target_schema)
        except (AvroSchemaError, RecursionError) as error:
            raise PydanticCustomError("avro", "{reason}", {"reason": str(error), "key": "targetSchema"}) from error
        return self

    def traits(self) -> Traits:
        return Traits(is_stateful=False, is_join=False, has_limit=False)

    def over_range(self, step: RangeStep) -> RangeFrame:
        if has_placeholder(self.target_schema):
            return super().over_range(step)
        names = [field.name for field in parse_avro_record(self.target_schema).fields]
        return step.frame.only({name.lower(): step.frame.value(name) for name in names})

    def apply(self, frames: Frames) -> DataFrame:
        from pyspark.sql import functions as F

        def column(name: str) -> Column:
            return F.col(quoted(name))

        frame = frames.frame
        target = parse_avro_record(self.target_schema)
        try:
            return frame.select(evolve(target.fields, frame.schema, column))
        except AvroEvolutionError as error:
            raise PipelineExecutionException(str(error), hint="cast it with enrichData first") from error

    def lineage(self, columns: Mapping[str | None, Sequence[str]], output: Sequence[str]) -> ColumnLineage:
        frame, names = next(iter(columns.items()))
        fields = {field.name: field for field in parse_avro_record(self.target_schema).fields}
        found = {name: source_of(fields[name], names) if name in fields else None for name in output}
        return {name: [ColumnSource(frame, source)] if source is not None else [] for name, source in found.items()}
