"""The options of each format of files, held against Spark's own list."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic_core import PydanticCustomError
from pyspark.sql import SparkSession

from pipeline_platform.connectors.files.options import FORMATS, KEYS, require_known_options

CATALYST = "org.apache.spark.sql.catalyst"
DATA_SOURCES = "org.apache.spark.sql.execution.datasources"
SPARKS_OWN = {
    "csv": f"{CATALYST}.csv.CSVOptions",
    "json": f"{CATALYST}.json.JSONOptions",
    "parquet": f"{DATA_SOURCES}.parquet.ParquetOptions",
    "orc": f"{DATA_SOURCES}.orc.OrcOptions",
    "avro": "org.apache.spark.sql.avro.AvroOptions",
}


def test_every_option_that_spark_has_is_known_for_reading_or_writing(spark: SparkSession) -> None:
    jvm: Any = spark._jvm
    for file_format, name in SPARKS_OWN.items():
        options = jvm.java.lang.Class.forName(f"{name}$", True, jvm.Thread.currentThread().getContextClassLoader())
        there = options.getField("MODULE$").get(None).getAllOptions().mkString(",").split(",")
        known = FORMATS[file_format].reading | FORMATS[file_format].writing
        assert set(there) - known == set(), file_format


def test_a_key_that_sets_an_option_is_of_an_option_that_spark_has() -> None:
    known = {name.casefold() for options in FORMATS.values() for name in options.reading | options.writing}
    assert set(KEYS) - known == set()


@pytest.mark.parametrize(
    ("option", "file_format", "use", "message"),
    [
        ("quoteAl", "csv", "writing", "Spark has no option 'quoteAl' for writing csv files (did you mean 'quoteAll'?)"),
        ("quoteAll", "csv", "reading", "'quoteAll' is an option for writing csv files, not for reading them"),
        ("multiLine", "csv", "writing", "'multiLine' is an option for reading csv files, not for writing them"),
        ("SEP", "csv", "writing", "the option 'SEP' has a key of its own: write 'delimiter' next to 'options'"),
        (
            "fs.s3a.access.key",
            "parquet",
            "reading",
            "Spark has no option 'fs.s3a.access.key' for reading parquet files",
        ),
        ("path", "json", "reading", "Spark has no option 'path' for reading json files"),
    ],
)
def test_an_option_that_spark_does_not_have_is_told(option: str, file_format: str, use: Any, message: str) -> None:
    with pytest.raises(PydanticCustomError) as told:
        require_known_options([option], file_format, use, {"delimiter", "header"})
    assert told.value.message().startswith(message)
    assert (told.value.context or {})["keys"] == ("options", option)


@pytest.mark.parametrize(
    ("option", "file_format", "use"),
    [
        ("quoteAll", "csv", "writing"),
        ("QUOTEALL", "csv", "writing"),
        ("sep", "csv", "reading"),
        ("pathGlobFilter", "orc", "reading"),
        ("parquet.bloom.filter.enabled#id", "parquet", "writing"),
    ],
)
def test_an_option_that_spark_has_is_accepted_in_any_case(option: str, file_format: str, use: Any) -> None:
    require_known_options([option], file_format, use, {"header"})
