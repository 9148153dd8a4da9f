"""The options that Spark has for each format of files, by their use: what an `options` map may hold."""

from __future__ import annotations

import codecs
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel
from pydantic_core import PydanticCustomError

from pipeline_platform.config.config_error import did_you_mean
from pipeline_platform.config.placeholders import has_placeholder
from pipeline_platform.config.values import Setting, Text

Use = Literal["reading", "writing"]

Options = dict[Text, Setting]
"""Options of Spark's reader or writer by name; `require_known_options` checks the names."""


# Spark has these and no others, under these names; by Python's names of them.
ENCODINGS: Mapping[str, str] = {
    "utf-8": "UTF-8",
    "iso8859-1": "ISO-8859-1",
    "ascii": "US-ASCII",
    "utf-16": "UTF-16",
    "utf-16-be": "UTF-16BE",
    "utf-16-le": "UTF-16LE",
    "utf-32": "UTF-32",
}


def _encoding(name: str) -> str:
    if has_placeholder(name):
        return name
    try:
        known = ENCODINGS.get(codecs.lookup(name.strip()).name)
    except (LookupError, ValueError):
        known = None
    if known is None:
        message = "the encoding '{name}' is not one of those that Spark knows: {known}"
        raise PydanticCustomError("encoding", message, {"name": name, "known": ", ".join(ENCODINGS.values())})
    return known


Encoding = Annotated[Text, AfterValidator(_encoding)]
"""The encoding of text files, by any of its usual names, such as `UTF-8` or `latin-1`."""


def _character(value: str) -> str:
    if not has_placeholder(value) and len(value) != 1:
        raise PydanticCustomError("character", "expected one character")
    return value


Character = Annotated[str, AfterValidator(_character)]
"""One character."""


@dataclass(frozen=True)
class FormatOptions:
    """Spark's options for files of one format.

    Args:
        reading: Those of the reader, the options of any source of files included.
        writing: Those of the writer, the options of any sink of files included.
    """

    reading: frozenset[str]
    writing: frozenset[str]

    def allowed_for(self, use: Use) -> frozenset[str]:
        """The options of one use."""
        return self.reading if use == "reading" else self.writing


# `FileSourceOptions` and `PathFilterFactory`.
LISTING = frozenset(
    [
        "basePath",
        "ignoreCorruptFiles",
        "ignoreMissingFiles",
        "modifiedAfter",
        "modifiedBefore",
        "pathGlobFilter",
        "recursiveFileLookup",
    ]
)
"""Options that say which files are read, whatever their format."""

# And `FileStreamOptions`.
_ANY_SOURCE = LISTING | frozenset(
    [
        "cleanSource",
        "discardCachedInputRatio",
        "fileNameOnly",
        "latestFirst",
        "maxBytesPerTrigger",
        "maxCachedFiles",
        "maxFileAge",
        "maxFilesPerTrigger",
        "sourceArchiveDir",
    ]
)
_ANY_SINK = frozenset({"maxRecordsPerFile"})

# `CSVOptions` of Spark 4.1.
_CSV = frozenset(
    [
        "charToEscapeQuoteEscaping",
        "charset",
        "codec",
        "comment",
        "compression",
        "dateFormat",
        "delimiter",
        "emptyValue",
        "encoding",
        "escape",
        "extension",
        "header",
        "ignoreLeadingWhiteSpace",
        "ignoreTrailingWhiteSpace",
        "lineSep",
        "locale",
        "nullValue",
        "quote",
        "sep",
        "timeZone",
        "timestampFormat",
        "timestampNTZFormat",
    ]
)
_CSV_READING = frozenset(
    [
        "columnNameOfCorruptRecord",
        "columnPruning",
        "enableDateTimeParsingFallback",
        "enforceSchema",
        "inferSchema",
        "inputBufferSize",
        "maxCharsPerColumn",
        "maxColumns",
        "mode",
        "multiLine",
        "nanValue",
        "negativeInf",
        "positiveInf",
        "preferDate",
        "samplingRatio",
        "singleVariantColumn",
        "unescapedQuoteHandling",
    ]
)
_CSV_WRITING = frozenset({"escapeQuotes", "quoteAll"})

# `JSONOptions`.
_JSON = frozenset(
    [
        "charset",
        "compression",
        "dateFormat",
        "encoding",
        "lineSep",
        "locale",
        "timeZone",
        "timestampFormat",
        "timestampNTZFormat",
    ]
)
_JSON_READING = frozenset(
    [
        "allowBackslashEscapingAnyCharacter",
        "allowComments",
        "allowNonNumericNumbers",
        "allowNumericLeadingZeros",
        "allowSingleQuotes",
        "allowUnquotedControlChars",
        "allowUnquotedFieldNames",
        "columnNameOfCorruptRecord",
        "dropFieldIfAllNull",
        "enableDateTimeParsingFallback",
        "inferTimestamp",
        "mode",
        "multiLine",
        "prefersDecimal",
        "primitivesAsString",
        "samplingRatio",
        "singleVariantColumn",
        "useUnsafeRow",
    ]
)
_JSON_WRITING = frozenset({"ignoreNullFields", "pretty", "writeNonAsciiCharacterAsCodePoint"})

# `ParquetOptions`, and the settings of `ParquetOutputFormat`, which Spark hands on.
_PARQUET_READING = frozenset({"datetimeRebaseMode", "int96RebaseMode", "mergeSchema"})
_PARQUET_WRITING = frozenset(
    [
        "compression",
        "parquet.block.size",
        "parquet.bloom.filter.adaptive.enabled",
        "parquet.bloom.filter.candidates.number",
        "parquet.bloom.filter.enabled",
        "parquet.bloom.filter.expected.ndv",
        "parquet.bloom.filter.fpp",
        "parquet.bloom.filter.max.bytes",
        "parquet.columnindex.truncate.length",
        "parquet.compression",
        "parquet.compression.codec.zstd.level",
        "parquet.compression.codec.zstd.workers",
        "parquet.dictionary.page.size",
        "parquet.enable.dictionary",
        "parquet.memory.pool.ratio",
        "parquet.page.row.count.limit",
        "parquet.page.size",
        "parquet.page.size.row.check.max",
        "parquet.page.size.row.check.min",
        "parquet.page.write-checksum.enabled",
        "parquet.statistics.truncate.length",
        "parquet.writer.max-padding",
        "parquet.writer.version",
    ]
)

# `OrcOptions`, and the settings of `OrcConf`, which Spark hands on.
_ORC_WRITING = frozenset(
    [
        "compression",
        "orc.block.padding",
        "orc.block.size",
        "orc.bloom.filter.columns",
        "orc.bloom.filter.fpp",
        "orc.column.encoding.direct",
        "orc.compress",
        "orc.compress.size",
        "orc.compression.strategy",
        "orc.create.index",
        "orc.dictionary.key.threshold",
        "orc.encoding.strategy",
        "orc.row.index.stride",
        "orc.stripe.size",
    ]
)

# `AvroOptions`.
_AVRO = frozenset({"avroSchema", "avroSchemaUrl", "positionalFieldMatching"})
_AVRO_READING = frozenset(
    [
        "datetimeRebaseMode",
        "enableStableIdentifiersForUnionType",
        "ignoreExtension",
        "mode",
        "recursiveFieldMaxDepth",
        "stableIdentifierPrefixForUnionType",
    ]
)
_AVRO_WRITING = frozenset({"compression", "recordName", "recordNamespace"})

FORMATS: Mapping[str, FormatOptions] = {
    "csv": FormatOptions(_CSV | _CSV_READING | _ANY_SOURCE, _CSV | _CSV_WRITING | _ANY_SINK),
    "json": FormatOptions(_JSON | _JSON_READING | _ANY_SOURCE, _JSON | _JSON_WRITING | _ANY_SINK),
    "parquet": FormatOptions(_PARQUET_READING | _ANY_SOURCE, _PARQUET_WRITING | _ANY_SINK),
    "orc": FormatOptions(frozenset({"mergeSchema"}) | _ANY_SOURCE, _ORC_WRITING | _ANY_SINK),
    "avro": FormatOptions(_AVRO | _AVRO_READING | _ANY_SOURCE, _AVRO | _AVRO_WRITING | _ANY_SINK),
}
"""The options of each format, by Spark's name of it."""

KEYS: Mapping[str, str] = {
    "avroschema": "avroSchema",
    "charset": "encoding",
    "codec": "compression",
    "columnnameofcorruptrecord": "onMalformed",
    "comment": "comment",
    "compression": "compression",
    "dateformat": "dateFormat",
    "delimiter": "delimiter",
    "encoding": "encoding",
    "escape": "escape",
    "header": "header",
    "inferschema": "inferSchema",
    "linesep": "lineSep",
    "mergeschema": "mergeSchema",
    "mode": "onMalformed",
    "multiline": "multiLine",
    "nullvalue": "nullValue",
    "orc.compress": "compression",
    "parquet.compression": "compression",
    "quote": "quote",
    "sep": "delimiter",
    "timestampformat": "timestampFormat",
}
"""The key of a step that sets an option, by the option's name in lower case, for the methods that have such a key."""


def option_of(options: Mapping[str, str], name: str) -> str | None:
    """The value of an option, in whatever case it is written, as Spark takes it; None if it is not given."""
    return next((value for given, value in options.items() if given.lower() == name.lower()), None)


def require_known_options(options: Collection[str], file_format: str, use: Use, keys: Collection[str]) -> None:
    """Raise unless these are options that Spark has for the format, as far as no key of the step sets them.

    Args:
        options: Names of options, in any case, as Spark takes them.
        file_format: Spark's name of the format.
        use: Whether files are read or written.
        keys: The keys that the step may have: what one of them sets can't be an option too.

    Raises:
        PydanticCustomError: Of the first option that is not right; found at its line.
    """
    known = FORMATS[file_format].allowed_for(use)
    folded = {name.lower() for name in known}
    other: Use = "writing" if use == "reading" else "reading"
    for option in options:
        # Settings of Parquet may be for one column: `parquet.bloom.filter.enabled#id`.
        name = (option.split("#", 1)[0] if file_format == "parquet" else option).lower()
        key = KEYS.get(name)
        if key is not None and key in keys:
            raise _mistake(option, f"the option '{option}' has a key of its own: write '{key}' next to 'options'")
        if name in folded:
            continue
        if name in {known_name.lower() for known_name in FORMATS[file_format].allowed_for(other)}:
            raise _mistake(option, f"'{option}' is an option for {other} {file_format} files, not for {use} them")
        near = did_you_mean(option, known)
        hint = f" ({near})" if near else ""
        raise _mistake(option, f"Spark has no option '{option}' for {use} {file_format} files{hint}")


def require_keys_of_format(
    step: BaseModel, file_format: str, keys_of_formats: Mapping[tuple[str, ...], Sequence[str]]
) -> None:
    """Raise unless the keys that the step has are for files of its format.

    Args:
        step: The config of a step that reads or writes files.
        file_format: Spark's name of its format.
        keys_of_formats: By the formats, the fields that are for these alone.

    Raises:
        PydanticCustomError: Of the first key that is not.
    """
    for formats, fields in keys_of_formats.items():
        for name in fields:
            if name in step.model_fields_set and file_format not in formats:
                key = type(step).model_fields[name].alias or name
                message = "'{key}' is for {formats} files, and format is {format}"
                told = {"key": key, "formats": " and ".join(formats), "format": file_format}
                raise PydanticCustomError("format", message, told)


def _mistake(option: str, message: str) -> PydanticCustomError:
    return PydanticCustomError("file_option", "{message}", {"message": message, "keys": ("options", option)})
