"""Records of files that can't be used, from the file to the sink, the quarantine and the metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from devtools.pipelines import extract, load, pipeline_of, transform
from pipeline_platform.engine.batch import BatchRun
from pipeline_platform.engine.streaming.stream import StreamRun
from pipeline_platform.metrics.run import StepMetrics

Row = tuple[Any, Any, Any]


class Bad(NamedTuple):
    """A record that can't be used: why, what is left of it, and its place."""

    record: str
    reason: str
    left: Row
    file: str = "a"


SCHEMA = "id INT, note STRING, n DECIMAL(6,2)"
GOOD: Mapping[str, Sequence[tuple[str, Row]]] = {
    "csv": [("1,a,5.25", (1, "a", "5.25")), ('2,"x, y",', (2, "x, y", None))],
    "json": [
        ('{"id": 1, "note": "a", "n": 5.25}', (1, "a", "5.25")),
        ('{"note": "x, y", "id": 2}', (2, "x, y", None)),
    ],
}
BAD: Mapping[str, Sequence[Bad]] = {
    "csv": [
        Bad("3,b", "it has 2 fields, and its file 3 columns", (3, "b", None)),
        Bad("4,c,1,8", "it has 4 fields, and its file 3 columns", (4, "c", "1.00")),
        Bad("5,d,NA", "the value of 'n' is not a valid DECIMAL(6,2)", (5, "d", None), "b"),
        Bad("x,e,1.999", "the value of 'id' is not a valid INT", (None, "e", None), "b"),
    ],
    "json": [
        Bad('{"id": 3, "note": "b"', "not JSON", (None, None, None)),
        Bad('{"id": 4, "note": "c", "n": 1.999}', "'n' does not fit DECIMAL(6,2)", (4, "c", None)),
        Bad('{"id": "x", "note": "d", "n": 1}', "'id' is not INT", (None, "d", "1.00"), "b"),
        Bad("[5]", "not a JSON object", (None, None, None), "b"),
    ],
}


@pytest.mark.parametrize(
    ("file_format", "mode", "policy"),
    [
        ("json", "batch", "null"),
        ("json", "batch", "quarantine"),
        ("json", "streaming", "null"),
        ("csv", "streaming", "quarantine"),
    ],
)
def test_a_record_that_can_not_be_used_is_where_its_policy_says_and_counted(
    spark: SparkSession, tmp_path: Path, file_format: str, mode: str, policy: str
) -> None:
    good, bad = GOOD[file_format], BAD[file_format]
    (tmp_path / "in").mkdir()
    for file in ("a", "b"):
        lines = [*(record for record, _ in good), *(each.record for each in bad if each.file == file)]
        header = ["id,note,n"] if file_format == "csv" else []
        (tmp_path / f"in/{file}.{file_format}").write_text("\n".join([*header, *lines]) + "\n")
    source = extract("fromFiles", path=f"{tmp_path}/in", format=file_format, schema=SCHEMA, onMalformed=policy)
    # Not all are looked at by what follows, and a stream goes on behind it.
    narrowed = transform("filterRows", condition="n IS NULL OR n < 100")
    steps = [source, narrowed, load("toDeltaLake", path=f"{tmp_path}/out")]
    done = ran(spark, steps, mode, tmp_path)
    expected = [row for _, row in good] * 2 + [each.left for each in bad if policy == "null"]
    assert sorted(rows_of(tmp_path / "out"), key=str) == sorted(expected, key=str)
    assert done["from_files"].malformed == len(bad)
    if policy == "null":
        assert not (tmp_path / "out_quarantine").exists()
        return
    assert done["from_files"].quarantined == len(bad)
    kept = DeltaTable(tmp_path / "out_quarantine").to_pyarrow_table().to_pylist()
    assert sorted((row["record"], row["reason"], row["file"]) for row in kept) == sorted(
        (each.record, each.reason, f"file://{tmp_path}/in/{each.file}.{file_format}") for each in bad
    )


def ran(spark: SparkSession, steps: Sequence[dict[str, Any]], mode: str, tmp_path: Path) -> dict[str, StepMetrics]:
    """What each step did, by its name; a stream is run until it has read what is there."""
    if mode == "batch":
        return {step.name: step for step in BatchRun(pipeline_of(steps), spark).run().steps}
    steps[-1]["config"]["trigger"] = "availableNow"
    options = {"checkpointRoot": str(tmp_path / "checkpoints")}
    found = StreamRun(pipeline_of(steps, mode="streaming", streaming=options), spark).run()
    return {step.name: step for step in found.steps}


def rows_of(table: Path) -> list[Row]:
    found = DeltaTable(table).to_pyarrow_table().to_pylist()
    return [(row["id"], row["note"], None if row["n"] is None else str(row["n"])) for row in found]
