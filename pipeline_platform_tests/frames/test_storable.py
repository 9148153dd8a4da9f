"""What a format can't hold is refused before anything is written; Spark itself says so only while it writes."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession

from devtools.pipelines import extract, load, run, transform, wrote_nothing
from pipeline_platform.connectors.delta.sink import ToDeltaLake
from pipeline_platform.connectors.files.formats import FORMATS
from pipeline_platform.exceptions import PipelineException, PipelineExecutionException
from pipeline_platform.frames.storable import require_storable
from pipeline_platform.steps.load import LoadRun

REFUSED = {
    "1 AS `a b`": ("avro", "delta"),
    "1 AS `a``b`": ("avro",),
    "1 AS `1a`": ("avro",),
    "1 AS `a.b`": ("avro",),
    "named_struct('a=b', 1) AS s": ("avro", "delta"),
    "array(named_struct('a-b', 1)) AS s": ("avro",),
    "map('k', named_struct('a b', 1)) AS s": ("avro", "delta"),
    "map(1, 2) AS m": ("avro",),
    "array(map(1, 2)) AS m": ("avro",),
    "array(null) AS v, 1 AS id": ("delta", "orc"),
    "struct() AS s, 1 AS id": ("avro", "delta", "json", "orc", "parquet"),
    "named_struct('a', 1, 'A', 2) AS s": ("avro", "delta", "json", "orc", "parquet"),
    "1 AS `é_1`, named_struct('x', array(1)) AS s, map('k', null) AS m": ("delta", "orc"),
}
TRIED = ("avro", "delta", "json", "orc", "parquet")


@pytest.mark.parametrize("columns", REFUSED)
def test_what_spark_can_not_write_is_refused_and_the_rest_is_not(
    spark: SparkSession, tmp_path: Path, columns: str
) -> None:
    frame = spark.sql(f"SELECT {columns}")
    for file_format in TRIED:
        if file_format not in REFUSED[columns]:
            plan_sink(frame, tmp_path / "sink", file_format)
            continue
        with pytest.raises(PipelineException):
            plan_sink(frame, tmp_path / "sink", file_format)
        # Any exception: each format has its own. Fields that are one to Spark are written, and then can't be read.
        with pytest.raises(Exception, match=r"\w"):
            write_and_read(frame, file_format, str(tmp_path / file_format))


def write_and_read(frame: DataFrame, file_format: str, path: str) -> None:
    """As Spark does it by itself."""
    frame.write.format(file_format).save(path)
    frame.sparkSession.read.format(file_format).load(path).collect()


def plan_sink(frame: DataFrame, path: Path, file_format: str) -> None:
    """As far as it looks at the frame."""
    if file_format == "delta":
        ToDeltaLake.model_validate({"path": str(path)}).prepare(frame, LoadRun("load", "query"))
    else:
        require_storable(frame, FORMATS[file_format])


@pytest.mark.parametrize(
    ("second", "told"),
    [
        ("toAvro", "Avro does not allow the name 'a b', in the column 's'"),
        ("toDeltaLake", "Delta does not allow the column name 'a b'"),
    ],
)
def test_a_nested_name_is_found_before_the_first_sink_is_written(
    spark: SparkSession, tmp_path: Path, second: str, told: str
) -> None:
    steps = [
        extract("fromRate", rowsPerSecond=1),
        transform("enrichData", columns={"s": "array(named_struct('a b', value))"}),
        load("toFiles", path=str(tmp_path / "first"), format="parquet"),
        load(second, path=str(tmp_path / "second")),
    ]
    with pytest.raises(PipelineExecutionException, match=told) as raised:
        run(spark, *steps)
    assert raised.value.location is not None
    assert raised.value.location.step_index == 3
    assert wrote_nothing(tmp_path / "first", tmp_path / "second")
