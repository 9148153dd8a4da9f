"""`toAvroSchema`: the Avro schema of the frame, as a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from pipeline_platform.config.step import PipelineMode
from pipeline_platform.config.traits import Traits
from pipeline_platform.connectors.files.avro_schema import AvroSchemaError, avro_schema_of
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.steps.transform import ColumnLineage, Frames, Transform

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

COLUMN = "avro_schema"


class ToAvroSchema(Transform):
    """Replaces the frame by one row whose column `avro_schema` is the frame's Avro schema in JSON.

    It is the schema that Spark writes into an Avro file. The rows of the frame are not read.
    """

    method: ClassVar[str] = "toAvroSchema"
    example = {"namespace": "com.shop", "name": "Order"}

    namespace: Annotated[str, Field(pattern=r"^([A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*)?$")] = "com.pipeline"
    """Namespace of the record; may be empty."""
    name: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] = "Record"
    """Name of the record."""

    def traits(self) -> Traits:
        return Traits(is_stateful=True, is_join=False, has_limit=False)

    def mode_errors(self, mode: PipelineMode) -> Sequence[tuple[str | None, str]]:
        message = "the schema of a stream is one row, not a stream; use toAvroSchema in a batch pipeline"
        return [(None, message)] if mode == "streaming" else []

    def apply(self, frames: Frames) -> DataFrame:
        from pyspark.sql import functions as F

        try:
            schema = avro_schema_of(frames.frame.schema, self.name, self.namespace)
        except AvroSchemaError as error:
            raise PipelineExecutionException(str(error), hint="rename or cast it with enrichData first") from error
        return frames.spark.range(1).select(F.lit(schema).alias(COLUMN))

    def lineage(self, columns: Mapping[str | None, Sequence[str]], output: Sequence[str]) -> ColumnLineage:
        return {name: [] for name in output}
