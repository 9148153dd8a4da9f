"""`toAvro`: Avro files, published only when all are written."""

from __future__ import annotations

from typing import ClassVar

from pipeline_platform.config.values import AvroSchema
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

    def writer_options(self) -> dict[str, str]:
        return {**super().writer_options(), **({"avroSchema": self.avro_schema} if self.avro_schema else {})}
