"""What the errors mean that come of files."""

from __future__ import annotations

from pipeline_platform.connectors.files.exact_text import LOST_TEXT
from pipeline_platform.frames.rules import Rule, raised
from pipeline_platform.steps.malformed import MALFORMED_RECORD

RULES = (
    raised(
        MALFORMED_RECORD, "fix the record or the schema it is read with, or set 'onMalformed' to quarantine or null"
    ),
    raised(LOST_TEXT, "change the key that the error names, or the value first, for example with enrichData"),
    Rule(
        "double each quote within a quoted value, or put 'escape' before it; the file can't be read past it",
        classes=("com.univocity.parsers.common.TextParsingException",),
        says="Unescaped quote character",
    ),
    Rule(
        "give the file the columns of 'schema', in that order; a batch pipeline finds them by name",
        classes=("java.lang.IllegalArgumentException",),
        says=r"^(CSV header does not conform to the schema|Number of column in CSV header is not equal)",
    ),
    Rule(
        "Spark can't read a local file with ':' in its name: rename it, or leave it out with 'pathGlobFilter' in "
        "'options'",
        classes=("java.lang.IllegalArgumentException", "java.net.URISyntaxException"),
        says=r"^(java\.net\.URISyntaxException: )?Relative path in absolute URI",
    ),
    Rule(
        "there are no files in the folder: check the path, or name the columns with 'schema'",
        conditions=("UNABLE_TO_INFER_SCHEMA",),
    ),
    Rule(
        "give 'schema' the types that the file has, or leave it out",
        conditions=("FAILED_READ_FILE.PARQUET_COLUMN_DATA_TYPE_MISMATCH",),
        classes=("org.apache.spark.sql.execution.datasources.SchemaColumnConvertNotSupportedException",),
    ),
    Rule(
        "give 'schema' the types that the file has, or leave it out",
        classes=("java.lang.ClassCastException",),
        says="is not a group",
    ),
    Rule(
        "write the file with microseconds, or set 'spark.sql.legacy.parquet.nanosAsLong' in sparkConf, which "
        "reads nanoseconds as a number",
        conditions=("PARQUET_TYPE_ILLEGAL",),
    ),
)
