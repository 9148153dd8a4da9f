"""`toFiles`: files at a local path or any URI, published only when all are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from pipeline_platform.config.placeholders import has_placeholder
from pipeline_platform.config.redirection import Redirection
from pipeline_platform.config.replacement import PRESENT_PARTITIONS, Replacement
from pipeline_platform.config.schema_policy import FileSchemaPolicy
from pipeline_platform.config.step import StepConfig
from pipeline_platform.config.traits import Traits
from pipeline_platform.config.values import Flag, Location, Names, Text, one_of
from pipeline_platform.connectors.files.columns_there import TextLayout
from pipeline_platform.connectors.files.committer import FileCommitter, is_begun, left_behind
from pipeline_platform.connectors.files.csv_dialect import CsvDialect
from pipeline_platform.connectors.files.erasing.avro_rows import AvroRows
from pipeline_platform.connectors.files.erasing.folder import FolderErasure, columns_noted
from pipeline_platform.connectors.files.erasing.text_rows import CsvRows, JsonRows
from pipeline_platform.connectors.files.exact_text import CsvText, exact_csv, exact_partitions
from pipeline_platform.connectors.files.fitted_load import FileLayout, FittedLoad, fitted_to_files
from pipeline_platform.connectors.files.formats import FORMATS
from pipeline_platform.connectors.files.newest_file import PlannedColumns, newest_file
from pipeline_platform.connectors.files.options import (
    Character,
    Encoding,
    Options,
    require_keys_of_format,
    require_known_options,
)
from pipeline_platform.connectors.files.source import FileFormat
from pipeline_platform.connectors.files.time_patterns import WritingPattern
from pipeline_platform.connectors.storage.bucket import require_bucket
from pipeline_platform.connectors.storage.location import S3Options
from pipeline_platform.connectors.storage.paths import at_path, spark_path
from pipeline_platform.frames.storable import (
    PartitionOverwrite,
    require_columns,
    require_partition_overwrite,
    require_storable,
)
from pipeline_platform.steps.dataset import Dataset
from pipeline_platform.steps.load import Load, LoadRun

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from pipeline_platform.credentials.model import Credentials
    from pipeline_platform.steps.erasing import Erasable

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


# Microseconds, which Spark has by default three digits of, and offsets to the second, as zones had before 1900.
_TIMESTAMP = "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXXXX"
_TIMESTAMP_NTZ = "yyyy-MM-dd'T'HH:mm:ss.SSSSSS"
_DYNAMIC = "spark.sql.sources.partitionOverwriteMode"


class WritesFiles(Load, S3Options):
    """Keys of the methods that write files."""

    path: Location
    """Folder of the files."""
    mode: SaveMode = "append"
    """What happens to existing files."""
    partition_by: Names = []
    """Columns that become folders."""
    partition_overwrite: PartitionOverwrite | None = None
    """With mode `overwrite` and `partitionBy`: replace everything (`static`), or only the folders that the frame has
    rows for (`dynamic`); by default the value of `spark.sql.sources.partitionOverwriteMode`, which is `static`."""
    schema_policy: FileSchemaPolicy | None = None
    """With mode `append`, or `overwrite` of partitions, into a folder that has files: what happens where the columns of
    the frame are not those of the newest of them. Without it, other columns are an error."""
    compression: Text | None = None
    """Codec, such as `snappy`, `gzip` or `zstd`; by default Spark's for the format."""
    options: Options = Field(default_factory=dict)
    """Options of Spark's writer for the format that have no key of their own, such as `maxRecordsPerFile`."""

    @model_validator(mode="after")
    def _codec_is_known(self) -> Self:
        codec, known = self.compression, CODECS[self.file_format()]
        # A class name, or a value that is known at run time only, is for Spark to judge.
        if codec is None or "." in codec or has_placeholder(codec) or _spark_codec(self.file_format(), codec) in known:
            return self
        raise PydanticCustomError(
            "compression",
            "{format} files can't be compressed with '{codec}'; valid: {known}",
            {"format": self.file_format(), "codec": codec, "known": ", ".join(known), "key": "compression"},
        )

    @model_validator(mode="after")
    def _options_are_known(self) -> Self:
        require_known_options(self.options, self.file_format(), "writing", keys_of(type(self)))
        return self

    @model_validator(mode="after")
    def _partitions_can_be_overwritten(self) -> Self:
        require_partition_overwrite(self.partition_overwrite, self.mode, self.partition_by)
        return self

    @model_validator(mode="after")
    def _policy_fits(self) -> Self:
        message = self.policy_mistake(self.schema_policy) if self.schema_policy is not None else None
        if message is not None:
            raise PydanticCustomError("schema", "{message}", {"message": message, "key": "schemaPolicy"})
        return self

    def replaces(self) -> Replacement | None:
        return PRESENT_PARTITIONS if self.partition_overwrite == "dynamic" else super().replaces()

    def policy_mistake(self, policy: FileSchemaPolicy) -> str | None:
        """Why a policy does not go with the other keys; None if it does.

        Args:
            policy: What happens to other columns.
        """
        if self.mode not in ("append", "overwrite"):
            return "'schemaPolicy' needs mode append, or overwrite with 'partitionBy'"
        if self.mode == "overwrite" and not self.partition_by:
            return "mode overwrite without 'partitionBy' replaces all files, so there are none to compare columns with"
        if self.file_format() in ("csv", "json") and policy.type_changes != "fail":
            return f"{self.file_format()} files say no types: leave out 'typeChanges'"
        return None

    def traits(self) -> Traits:
        return Traits(reports_rows=False, fails_whole=True, replaces_partitions=True, loads_once=True)

    def partition_columns(self) -> tuple[str, ...]:
        return tuple(self.partition_by)

    def partition_errors(self, column: str) -> Sequence[tuple[str | None, str]]:
        errors = super().partition_errors(column)
        is_folder = column.lower() in (name.lower() for name in self.partition_by)
        if errors or is_folder or self.names_partition_in_place():
            return errors
        return [
            (
                "partitionBy" if self.partition_by else None,
                f"files are replaced by the folder: name the column '{column}' of the partitions in 'partitionBy', or "
                "write '${partition:key}' into the path",
            )
        ]

    def uri(self) -> str:
        """The path as Spark is to write it."""
        return spark_path(self.path)

    def file_format(self) -> str:
        """Spark's name of the format."""
        raise NotImplementedError

    def writer_options(self) -> dict[str, str]:
        """Options for Spark's writer."""
        compression = {"compression": _spark_codec(self.file_format(), self.compression)} if self.compression else {}
        return {**compression, **self.options}

    def exact(self, frame: DataFrame) -> DataFrame:
        """The frame, made to fail while it is read at a value that a reader would take for another one."""
        return exact_partitions(frame, self.partition_by)

    def redirected(self, to: Redirection) -> Self:
        return self.with_place(to, **self.keys_in(to))

    def keys_in(self, to: Redirection) -> dict[str, str]:
        """The keys that say where the files of an environment are.

        Args:
            to: The environment's.

        Raises:
            NotRedirected: There is no such place.
        """
        return {"path": to.path(self.path)}

    def dataset(self) -> Dataset:
        return at_path(self.uri())

    def folder(self) -> str | None:
        return self.uri()

    def erasure(self, credentials: Credentials | None) -> Erasable | str:
        if self.file_format() in ("parquet", "avro"):
            rows = AvroRows() if self.file_format() == "avro" else None
            return FolderErasure(self.place(credentials), self.file_format(), rows)
        return f"{self.file_format()} files can't be written again with all other rows as they are"

    def prepare(self, frame: DataFrame, run: LoadRun) -> FittedLoad:
        require_columns(frame, self.partition_by, "partitionBy")
        require_storable(frame, FORMATS[self.file_format()], self.partition_by)
        place = self.place(run.credentials)
        require_bucket(place)
        folder = place.path()
        only_own = self._only_own_partitions(frame.sparkSession)
        publication = FileCommitter(
            self.uri(),
            folder,
            run.key,
            self.mode,
            frame.write,
            run.key_before,
            stream=run.load_id if run.batch is not None else None,
            is_old_folder=folder.exists(),
            only_own_partitions=only_own,
            rows=run.rows,
        )
        publication.check()
        compares = self.mode == "append" or (self.mode == "overwrite" and (only_own or run.rows is not None))
        # What is being published is looked at when this load is: it may replace what is there now.
        looks = compares and not is_begun(folder, run.key) and not left_behind(folder)
        newest = newest_file(folder, self.file_format()) if looks else None
        fitted = fitted_to_files(frame, self.layout(), place, newest)
        noted = newest.name if newest is not None and newest.written is not None else None
        writer = self.exact(fitted.frame).write.format(self.file_format())
        writer = writer.options(**self.writer_options(), **place.spark_options()).partitionBy(*self.partition_by)
        planned = PlannedColumns(fitted.columns, noted, compares)
        return FittedLoad(replace(publication, writer=writer, columns=planned), fitted.frame, fitted.changes)

    def layout(self) -> FileLayout:
        """How the files are written, as far as others lie beside them."""
        text = TextLayout(CsvDialect(",", '"', '"', None), has_header=True, encoding="UTF-8", line_sep=None)
        return FileLayout(self.file_format(), text, self.partition_by, self.schema_policy or FileSchemaPolicy())

    def _only_own_partitions(self, spark: SparkSession) -> bool:
        overwrite = self.partition_overwrite or str(spark.conf.get(_DYNAMIC, "static")).lower()
        return bool(self.partition_by) and overwrite == "dynamic"


class ToFiles(WritesFiles):
    """Writes files to a local path or any URI; readers see them once all are there."""

    method: ClassVar[str] = "toFiles"
    kind: ClassVar[str] = "file"
    example = {"path": "out/orders", "format": "parquet", "mode": "overwrite"}

    format: FileFormat
    """Their format."""
    header: Flag = True
    """csv: write the column names as the first line."""
    delimiter: Text = ","
    """csv: what separates the values."""
    quote: Character = '"'
    """csv: the character around a text that needs it."""
    escape: Character | None = None
    """csv: the character before a quote in a text; by default the quote itself, as in RFC 4180."""
    null_value: Text | None = None
    """csv: the text for NULL, which no text of the frame may then be; by default nothing between two delimiters, \
while an empty text is two quotes."""
    date_format: WritingPattern | None = None
    """csv and json: pattern of dates; by default `yyyy-MM-dd`."""
    timestamp_format: WritingPattern | None = None
    """csv and json: pattern of timestamps; by default ISO 8601 with microseconds and offset. That of timestamps \
without a zone is the option `timestampNTZFormat`."""
    encoding: Encoding | None = None
    """csv and json: encoding of the files; by default UTF-8."""
    line_sep: Text | None = None
    """csv and json: what ends a line; by default a line feed."""

    @model_validator(mode="after")
    def _keys_fit_format(self) -> Self:
        require_keys_of_format(self, self.format, _KEYS_OF_FORMATS)
        return self

    def file_format(self) -> str:
        return self.format

    def writer_options(self) -> dict[str, str]:
        options: dict[str, str] = {}
        if self.format in ("csv", "json"):
            options |= {"timestampFormat": self.timestamp_format or _TIMESTAMP, "timestampNTZFormat": _TIMESTAMP_NTZ}
            optional = {"dateFormat": self.date_format, "encoding": self.encoding, "lineSep": self.line_sep}
            options |= {name: value for name, value in optional.items() if value is not None}
        if self.format == "json" and self.encoding in _NARROW_ENCODINGS:
            # Spark would write a question mark for what the encoding lacks.
            options["writeNonAsciiCharacterAsCodePoint"] = "true"
        if self.format == "csv":
            options |= {
                "header": str(self.header).lower(),
                "sep": self.delimiter,
                "quote": self.quote,
                "escape": self.escape or self.quote,
                "emptyValue": self.quote * 2,
                "nullValue": self.null_value or "",
                "ignoreLeadingWhiteSpace": "false",
                "ignoreTrailingWhiteSpace": "false",
            }
        return _without_regard_to_case(options, super().writer_options())

    def policy_mistake(self, policy: FileSchemaPolicy) -> str | None:
        if self.format == "csv" and not self.header and policy.new_columns == "add":
            return "csv files without a header have the same number of columns: 'newColumns' can't be add"
        return super().policy_mistake(policy)

    def layout(self) -> FileLayout:
        dialect = CsvDialect(self.delimiter, self.quote, self.escape or self.quote, None)
        text = TextLayout(dialect, self.header, self.encoding or "UTF-8", self.line_sep)
        return replace(super().layout(), text=text)

    def erasure(self, credentials: Credentials | None) -> Erasable | str:
        if self.format not in ("csv", "json"):
            return super().erasure(credentials)
        options = {name.lower(): value for name, value in self.writer_options().items()}
        encoding, line_sep = options.get("encoding", "UTF-8"), options.get("linesep", "\n")
        place = self.place(credentials)
        if self.format == "json":
            return FolderErasure(place, "json", JsonRows(encoding, line_sep))
        dialect = CsvDialect(options["sep"], options["quote"], options["escape"], None)
        if len(dialect.delimiter) != 1:
            return "csv files with a 'delimiter' of several characters can't be taken apart"
        names = columns_noted(place) if not self.header else None
        return FolderErasure(
            place, "csv", CsvRows(dialect, self.header, names, encoding, line_sep, options["nullvalue"])
        )

    def exact(self, frame: DataFrame) -> DataFrame:
        frame = super().exact(frame)
        if self.format != "csv":
            return frame
        options = {name.lower(): value for name, value in self.writer_options().items()}
        text = CsvText(
            null_value=options["nullvalue"],
            quotes_all=options.get("quoteall", "").lower() == "true",
            encoding=self.encoding if self.encoding in _NARROW_ENCODINGS else None,
            line_sep=self.line_sep,
        )
        return exact_csv(frame, text, self.partition_by)


# Encodings that lack most characters.
_NARROW_ENCODINGS = ("ISO-8859-1", "US-ASCII")
_KEYS_OF_FORMATS: Mapping[tuple[str, ...], Sequence[str]] = {
    ("csv",): ("quote", "escape", "null_value"),
    ("csv", "json"): ("date_format", "timestamp_format", "encoding", "line_sep"),
}


def keys_of(method: type[StepConfig]) -> list[str]:
    """The keys of a method."""
    return [field.alias or name for name, field in method.model_fields.items()]


def _without_regard_to_case(defaults: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """Both, where what is given wins; Spark would take one of two spellings, whichever it comes across last."""
    names = {name.lower() for name in given}
    return {**{name: value for name, value in defaults.items() if name.lower() not in names}, **given}
