"""`toFiles`: files at a local path or any URI, published only when all are written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from pipeline_platform.config.environment import has_placeholder
from pipeline_platform.config.values import Flag, Location, Names, Text, one_of
from pipeline_platform.methods.bucket import require_bucket
from pipeline_platform.methods.dataset import Dataset, at_path, spark_path
from pipeline_platform.methods.extract.files import FileFormat
from pipeline_platform.methods.load.base import Load, LoadRun, Prepared
from pipeline_platform.methods.load.publication import FilePublication
from pipeline_platform.methods.load.sink import require_columns, require_storable
from pipeline_platform.methods.s3 import EntersS3, place_of

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

SaveMode = Annotated[
    Literal["append", "overwrite", "errorIfExists", "ignore"],
    one_of("append", "overwrite", "errorIfExists", "ignore"),
]


# Spark's own lists, which it consults only while it writes.
CODECS = {
    "parquet": ("none", "uncompressed", "snappy", "gzip", "lzo", "brotli", "lz4", "lz4_raw", "zstd"),
    "orc": ("none", "uncompressed", "snappy", "zlib", "lzo", "zstd", "lz4", "brotli"),
    "csv": ("none", "uncompressed", "bzip2", "deflate", "gzip", "lz4", "snappy", "zstd"),
    "json": ("none", "uncompressed", "bzip2", "deflate", "gzip", "lz4", "snappy", "zstd"),
    "avro": ("uncompressed", "deflate", "snappy", "bzip2", "xz", "zstandard"),
}
_AVRO_SPELLINGS = {"none": "uncompressed", "zstd": "zstandard"}


def _spark_codec(file_format: str, codec: str) -> str:
    name = codec if "." in codec else codec.lower()
    return _AVRO_SPELLINGS.get(name, name) if file_format == "avro" else name


class WritesFiles(Load):
    """Keys of the methods that write files."""

    path: Location
    """Folder of the files."""
    mode: SaveMode = "append"
    """What happens to files that are there already."""
    partition_by: Names = []
    """Columns that become folders."""
    compression: Text | None = None
    """Codec, such as `snappy`, `gzip` or `zstd`; by default Spark's for the format."""

    @model_validator(mode="after")
    def _codec_is_known(self) -> Self:
        codec, known = self.compression, CODECS[self.file_format()]
        # A class name, or a value that is known at run time only, is for Spark to judge.
        if codec is None or "." in codec or has_placeholder(codec) or _spark_codec(self.file_format(), codec) in known:
            return self
        raise PydanticCustomError(
            "compression",
            "{format} files have no compression '{codec}'; there are {known}",
            {"format": self.file_format(), "codec": codec, "known": ", ".join(known), "key": "compression"},
        )

    def uri(self) -> str:
        """The path as Spark is to write it."""
        return spark_path(self.path)

    def file_format(self) -> str:
        """Spark's name of the format."""
        raise NotImplementedError

    def options(self) -> dict[str, str]:
        """Options for Spark's writer."""
        return {"compression": _spark_codec(self.file_format(), self.compression)} if self.compression else {}

    def dataset(self) -> Dataset:
        return at_path(self.uri())

    def folder(self) -> str | None:
        return self.uri()

    def prepare(self, frame: DataFrame, run: LoadRun) -> Prepared:
        require_columns(frame, self.partition_by, "partitionBy")
        require_storable(frame, self.file_format(), self.partition_by)
        place = place_of(self.uri(), run.credentials)
        require_bucket(place)
        writer = frame.write.format(self.file_format()).options(**self.options(), **place.spark_options())
        writer = writer.partitionBy(*self.partition_by)
        folder = place.path()
        publication = FilePublication(
            self.uri(),
            folder,
            run.key,
            self.mode,
            writer,
            run.key_before,
            stream=run.load_id if run.batch is not None else None,
            is_old_folder=folder.exists(),
        )
        publication.check()
        return publication


class ToFiles(WritesFiles, EntersS3):
    """Writes files at a local path or any URI; readers see them when all are there."""

    method: ClassVar[str] = "toFiles"
    kind: ClassVar[str] = "file"

    format: FileFormat
    """Their format."""
    header: Flag = True
    """csv: write the column names as the first line."""
    delimiter: Text = ","
    """csv: what separates the values."""

    def file_format(self) -> str:
        return self.format

    def options(self) -> dict[str, str]:
        csv = {"header": str(self.header).lower(), "sep": self.delimiter} if self.format == "csv" else {}
        return {**super().options(), **csv}
