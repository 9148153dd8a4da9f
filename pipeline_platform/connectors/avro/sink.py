"""`toAvro`: Avro files, published only when all are written."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from pipeline_platform.config.schema_policy import FileSchemaPolicy
from pipeline_platform.config.values import AvroSchema
from pipeline_platform.connectors.files.fitted_load import FileLayout
from pipeline_platform.connectors.files.sink import WritesFiles
from pipeline_platform.connectors.storage.location import S3Options


class ToAvro(WritesFiles, S3Options):
    """Writes Avro files; readers see them once all are there."""

    method: ClassVar[str] = "toAvro"
    kind: ClassVar[str] = "avro"
    example = {"path": "out/orders_avro", "mode": "overwrite"}

    avro_schema: AvroSchema | None = None
    """The schema to write with; by default made from the frame."""

    def file_format(self) -> str:
        return "avro"

    def policy_mistake(self, policy: FileSchemaPolicy) -> str | None:
        if self.avro_schema is not None and policy.new_columns == "ignore":
            return "'avroSchema' says which columns are written: 'newColumns' can't be ignore"
        if self.avro_schema is not None and policy.type_changes != "fail":
            return "'avroSchema' says the types that are written: leave out 'typeChanges'"
        return super().policy_mistake(policy)

    def layout(self) -> FileLayout:
        return replace(super().layout(), avro_schema=self.avro_schema)

    def writer_options(self) -> dict[str, str]:
        return {**super().writer_options(), **({"avroSchema": self.avro_schema} if self.avro_schema else {})}
