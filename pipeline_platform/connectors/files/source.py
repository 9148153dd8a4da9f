"""`fromFiles`: files at a local path or any URI that Spark can read."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from pipeline_platform.config.placeholders import has_placeholder
from pipeline_platform.config.redirection import Redirection
from pipeline_platform.config.step import PipelineMode
from pipeline_platform.config.traits import Traits
from pipeline_platform.config.values import Ddl, Flag, Location, Names, Text, one_of
from pipeline_platform.connectors.files.csv_dialect import CsvDialect
from pipeline_platform.connectors.files.csv_format import CsvFormat
from pipeline_platform.connectors.files.listing import FileListing
from pipeline_platform.connectors.files.options import (
    LISTING,
    Character,
    Encoding,
    Options,
    require_keys_of_format,
    require_known_options,
)
from pipeline_platform.connectors.files.parquet_columns import naming_columns
from pipeline_platform.connectors.files.read_options import ReadOptions
from pipeline_platform.connectors.files.text_values import Formats
from pipeline_platform.connectors.files.time_patterns import ReadingPattern
from pipeline_platform.connectors.files.watching import state_of_files
from pipeline_platform.connectors.storage.bucket import require_bucket
from pipeline_platform.connectors.storage.folders import has_files
from pipeline_platform.connectors.storage.location import S3Options
from pipeline_platform.connectors.storage.paths import at_path, local_bytes, spark_path
from pipeline_platform.steps.dataset import Dataset
from pipeline_platform.steps.extract import SourceState
from pipeline_platform.steps.malformed import MalformedRecords
from pipeline_platform.steps.new_files import ReadsNewFiles
from pipeline_platform.steps.watched import Watched

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming.query import StreamingQuery
    from pyspark.sql.types import StructType

    from pipeline_platform.credentials.model import Credentials
    from pipeline_platform.steps.known_files import FoundFile

FileFormat = Annotated[
    Literal["parquet", "json", "csv", "avro", "orc"],
    one_of("parquet", "json", "csv", "avro", "orc"),
]

_KEYS_OF_FORMATS: Mapping[tuple[str, ...], Sequence[str]] = {
    ("csv",): ("quote", "escape", "null_value", "comment"),
    ("csv", "json"): ("date_format", "timestamp_format", "encoding", "on_malformed", "quarantine_path"),
    ("csv", "parquet", "orc"): ("merge_schema",),
}
# What finds out records that can't be used; and what stands in keys under another name.
_NOT_OPTIONS = ("columnPruning", "enforceSchema", "unescapedQuoteHandling", "emptyValue", "singleVariantColumn")
# What Spark's own conversion goes by, where the platform converts texts so that no value is changed.
_NO_EFFECT: Mapping[str, tuple[str, ...]] = {
    "csv": (
        "enableDateTimeParsingFallback",
        "locale",
        "nanValue",
        "negativeInf",
        "positiveInf",
        "preferDate",
        "samplingRatio",
        "timeZone",
        "timestampNTZFormat",
    ),
    "json": ("enableDateTimeParsingFallback",),
}
_BACKSLASHED = {"\\t": "\t", "\\0": "\0", "\\\\": "\\"}


class ReadsFiles(ReadsNewFiles, Watched, MalformedRecords, S3Options):
    """Keys of the methods that read files."""

    record_place: ClassVar[tuple[str, ...]] = ("file",)

    path: Location
    """Where the files are: a file, a folder, or a pattern.

    A folder may hold files, or folders named `name=value`; one that holds both is refused. Set `recursiveFileLookup` in
    `options` to read the files of all folders below it, whose names are not columns then.

    Values in folder names, `name=value`, are columns too: of the type that `schema` gives them; otherwise numbers or
    dates if each is written as that type writes it (`7`, not `07`), and text if not.
    """
    format: FileFormat
    """Their format. A file that starts like one of another format is refused."""
    header: Flag = True
    """csv: the first line holds the column names, and columns are matched by name in each file."""
    infer_schema: Flag = True
    """csv: infer the types from the data, at the cost of one more pass; not with `schema`.

    A column is a number only if each value is written as that number is: `01067`, `1D`, `+49` and `2e5` are text, and
    so are numbers with more digits than the type holds. Dates and timestamps are those of ISO 8601, booleans `true` and
    `false`.
    """
    delimiter: Text = ","
    """csv: what separates the values."""
    quote: Character = '"'
    """csv: the character around a value that holds a delimiter, a quote or a line break."""
    escape: Character | None = None
    """csv: the character before a quote within a value; by default the quote itself, as in RFC 4180."""
    null_value: Names | None = None
    """csv: the text that stands for null, or a list of them, in addition to nothing between two delimiters.

    Two quotes are an empty text, or null for any other type.
    """
    comment: Character | None = None
    """csv: lines that begin with this are skipped."""
    date_format: ReadingPattern | None = None
    """csv and json: pattern of dates, in Spark's pattern letters; by default only `2013-01-31`."""
    timestamp_format: ReadingPattern | None = None
    """csv and json: pattern of timestamps; by default ISO 8601, in UTC if there is no offset."""
    encoding: Encoding | None = None
    """csv and json: encoding of the files; by default UTF-8. A file in another encoding is refused.

    Where that only shows after the first 64 kB, the record is malformed.
    """
    multi_line: Flag | None = None
    """json: a file is one record or an array of records, over any number of lines; one task reads it into memory as a
    whole.

    csv: by default quoted values may hold line breaks, and one task reads a file. Files are read in parts only if one
    of them is uncompressed and larger than 128 MB; a quote that is not closed on its line is an error then, whatever
    `onMalformed` says. `true` and `false` decide this for all files; the files of a stream, and more than 1,000 of
    them, are never read in parts. A file that mixes the line endings CR LF and LF is refused, unless each line is a
    record. A stream of csv files turns the line break CR LF within quotes into a line feed.
    """
    merge_schema: Flag = False
    """csv with a header, parquet and orc: the files may have different columns; a column that a file lacks is null.

    Otherwise files with different columns are refused; for parquet and orc, up to 200 files are compared. A stream of
    parquet, orc or avro files without a `schema` stops before it loads a file with other columns than it started with;
    with this key it loads a file that lacks columns, and picks up a new column when it is started again.
    """
    schema_: Annotated[Ddl | None, Field(alias="schema")] = None
    """A Spark DDL string such as `id BIGINT, name STRING`.

    A csv column is found by its name in the header, regardless of case; columns that the schema does not name are left
    out. If the schema has the same number of columns under other names, the columns are renamed. A value of csv or json
    that does not fit its type, or is missing where the schema says NOT NULL, makes its record malformed. In csv,
    numbers are decimal digits, with at most as many after the point as the DECIMAL has, and dates and timestamps are
    those of ISO 8601; for json see `valueSchema` of `fromKafka`. For orc, a type that can't hold all values of the type
    in the files is refused, as are TINYINT and SMALLINT for larger numbers in parquet; any other fails the run.

    Without a schema, json numbers are BIGINT, or DOUBLE if one in the column has a fraction or an exponent; an integer
    with digits that this can't hold makes its record malformed. A field that is `{}` in all records becomes no column.
    """
    options: Options = Field(default_factory=dict)
    """Options of Spark's reader for the format that have no key of their own, such as `pathGlobFilter`."""

    @model_validator(mode="after")
    def _keys_fit_format(self) -> Self:
        require_keys_of_format(self, self.format, _KEYS_OF_FORMATS)
        return self

    @model_validator(mode="after")
    def _marks_differ(self) -> Self:
        marks = {"delimiter": self.delimiter, "quote": self.quote, "comment": self.comment}
        for (key, mark), (other_key, other) in itertools.combinations(marks.items(), 2):
            if mark is not None and mark == other and not has_placeholder(mark):
                message = "'{other_key}' and '{key}' are the same"
                raise PydanticCustomError("marks", message, {"key": other_key, "other_key": key})
        if self.escape is not None and self.escape == self.delimiter:
            raise PydanticCustomError("marks", "'escape' and 'delimiter' are the same", {"key": "escape"})
        return self

    @model_validator(mode="after")
    def _options_are_known(self) -> Self:
        keys = [field.alias or name for name, field in type(self).model_fields.items()]
        require_known_options(self.options, self.format, "reading", keys)
        for option in self.options:
            why = _why_not(option.lower(), self.format)
            if why is not None:
                told = {"option": option, "why": why, "keys": ("options", option)}
                raise PydanticCustomError("file_option", "the option '{option}' {why}", told)
        return self

    @model_validator(mode="after")
    def _no_new_file_is_left_out(self) -> Self:
        for option in self.options if self.incremental is not None else ():
            if option.lower() in ("ignorecorruptfiles", "ignoremissingfiles"):
                message = "with 'incremental', a file that '{option}' leaves out would count as loaded"
                raise PydanticCustomError("incremental", message, {"option": option, "keys": ("options", option)})
        return self

    def mode_errors(self, mode: PipelineMode) -> Sequence[tuple[str | None, str]]:
        if mode == "streaming" and self.format in ("csv", "json") and self.schema_ is None:
            return [("format", f"a stream of {self.format} files needs a 'schema'")]
        if self.watch and "{" in self.uri():
            return [("watch", "a pattern with braces can't be watched; use '*', '?' and '[…]', or the folder")]
        return super().mode_errors(mode)

    def traits(self) -> Traits:
        return Traits(
            is_stream=True,
            is_repeatable=True,
            pushes_down_filters=self.format in ("parquet", "orc"),
            checks_micro_batches=self.format not in ("csv", "json")
            and (self.schema_ is None or self.may_change_values()),
        )

    def source_state(self, credentials: Credentials | None) -> SourceState | None:
        return state_of_files(self.place(credentials).path())

    def check_micro_batch(self, query: StreamingQuery, credentials: Credentials | None) -> None:
        from pipeline_platform.connectors.files.stream_columns import require_columns_of_stream

        require_columns_of_stream(query, self.place(credentials))

    def may_change_values(self) -> bool:
        """Whether Spark may make other values of those in the files, to have them of the types in `schema`.

        It does so for orc; and of parquet's INT32, which is also what smaller numbers are written as, it takes the
        last bits.
        """
        is_small = re.search(r"(?i)\b(tinyint|smallint|byte|short)\b", self.schema_ or "") is not None
        return self.schema_ is not None and (self.format == "orc" or (self.format == "parquet" and is_small))

    def may_be_malformed(self) -> bool:
        return self.format in ("csv", "json")

    def reads_as_written(self) -> bool:
        return self.format in ("parquet", "orc")

    def reads_by_place(self) -> bool:
        return self.format == "csv" and not self.header

    def uri(self) -> str:
        """The path as Spark is to read it."""
        return spark_path(self.path)

    def read(self, spark: SparkSession, credentials: Credentials | None) -> DataFrame:
        from pipeline_platform.connectors.files.reading import read_files

        with naming_columns(self.place(credentials)):
            return read_files(spark, self._listing(credentials), self._read_options())

    def names_columns(self) -> bool:
        return self.schema_ is not None

    def found_files(self, spark: SparkSession, credentials: Credentials | None) -> Sequence[FoundFile]:
        from pipeline_platform.connectors.files.new_files import found_files

        return found_files(spark, self._listing(credentials))

    def read_files(
        self, spark: SparkSession, credentials: Credentials | None, paths: Sequence[str], known: StructType | None
    ) -> DataFrame:
        from pipeline_platform.connectors.files.reading import read_files

        with naming_columns(self.place(credentials)):
            listing = replace(self._listing(credentials), files=tuple(paths), known=known)
            return read_files(spark, listing, self._read_options())

    def read_stream(self, spark: SparkSession, credentials: Credentials | None) -> DataFrame:
        from pipeline_platform.connectors.files.reading import stream_files

        return stream_files(spark, self._listing(credentials), self._read_options())

    def _listing(self, credentials: Credentials | None) -> FileListing:
        """The files; their bucket is there."""
        place = self.place(credentials)
        require_bucket(place)
        names = {name.lower() for name in LISTING}
        return FileListing(place, {name: value for name, value in self.options.items() if name.lower() in names})

    def _read_options(self) -> ReadOptions:
        return ReadOptions(
            format=self.format,
            schema=self.schema_,
            may_change_values=self.may_change_values(),
            merge_schema=self.merge_schema,
            infer_schema=self.infer_schema,
            multi_line=self.multi_line,
            encoding=self.encoding,
            formats=self._formats(),
            csv=self._csv_format(),
            options=self.options,
        )

    def _formats(self) -> Formats:
        return Formats(self.date_format, self.timestamp_format)

    def _csv_format(self) -> CsvFormat:
        delimiter = _BACKSLASHED.get(self.delimiter, self.delimiter)
        return CsvFormat(
            CsvDialect(delimiter, self.quote, self.escape or self.quote, self.comment),
            has_header=self.header,
            encoding=self.encoding or "UTF-8",
            null_values=tuple(self.null_value or ()),
            formats=self._formats(),
            is_split=False,
            options=self.options,
        )

    def known_bytes(self) -> int | None:
        return local_bytes(self.path)

    def read_from(self, to: Redirection) -> Self:
        return self.model_copy(update=self.keys_in(to))

    def keys_in(self, to: Redirection) -> dict[str, str]:
        """The keys that say where the files of an environment are.

        Args:
            to: The environment's.

        Raises:
            NotRedirected: There is no such place.
        """
        return {"path": to.path(self.path)}

    def is_there(self, spark: SparkSession, credentials: Credentials | None) -> bool:
        return has_files(self.place(credentials).path())

    def dataset(self) -> Dataset:
        return at_path(self.uri())


def _why_not(option: str, file_format: str) -> str | None:
    """Why an option of Spark's reader can't be set; its name is in lower case."""
    if option in {name.lower() for name in _NO_EFFECT.get(file_format, ())}:
        return "would have no effect: read the column as STRING, and convert it later"
    if option in {name.lower() for name in _NOT_OPTIONS}:
        return "can't be set: it is used to find malformed records"
    if file_format == "json" and option == "samplingratio":
        return (
            "can't be set: keys of the records that it skips would be lost; set 'schema' to avoid the pass that "
            "infers types"
        )
    return None


class FromFiles(ReadsFiles):
    """Reads files at a local path or any URI that Spark can read."""

    method: ClassVar[str] = "fromFiles"
    kind: ClassVar[str] = "file"
    example = {"path": "data/orders.csv", "format": "csv"}
