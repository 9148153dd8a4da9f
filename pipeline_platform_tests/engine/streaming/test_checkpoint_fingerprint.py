"""What is noted beside a checkpoint: the last version's notes are read, and the environment does not change them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from devtools.pipelines import extract, load, pipeline_of, transform
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.connectors.storage.location import StorageLocation
from pipeline_platform.engine.streaming.checkpoint_fingerprint import note_made_with, require_fit
from pipeline_platform.exceptions import PipelineConfigurationException

WATERMARK = {"column": "timestamp", "delay": "1 minute"}
LOAD_IDS = {"file:///lake/counted#0": ""}
# As 0.2.0 has written it.
WRITTEN: dict[str, Any] = {
    "pipeline": "orders",
    "steps": [
        {"method": "fromKafka", "topic": ["orders"]},
        {"method": "fromKafka", "topic": ["payments"]},
        {
            "inputDataFrames": ["some", "payments"],
            "joinConditions": ["some.key = payments.key"],
            "joinType": ["semi"],
            "method": "joinDataFrames",
        },
        {
            "groupBy": ["timestamp"],
            "aggregations": {"n": "count(key) FILTER (WHERE offset > ${env:EUR})"},
            "method": "aggregateData",
        },
        {"method": "toDeltaLake", "outputMode": "append"},
    ],
    "sources": {"0:orders": "id"},
    "load_ids": LOAD_IDS,
}


@pytest.fixture
def place(tmp_path: Path) -> StorageLocation:
    """A checkpoint that has begun a micro-batch."""
    (tmp_path / "stream" / "offsets").mkdir(parents=True)
    (tmp_path / "stream" / "offsets" / "0").write_text("")
    (tmp_path / "stream" / "metadata").write_text('{"id": "one"}')
    return StorageLocation(str(tmp_path / "stream"))


def orders(group: str = "timestamp") -> PipelineConfig:
    return pipeline_of(
        [
            extract("fromKafka", topic="orders", registerAs="orders"),
            extract("fromKafka", topic="payments", registerAs="payments"),
            transform("filterRows", input="orders", condition="offset > ${env:EUR}", registerAs="some"),
            transform(
                "joinDataFrames",
                inputDataFrames=["some", "payments"],
                joinConditions=["some.key = payments.key"],
                watermarks={"some": WATERMARK, "payments": WATERMARK},
                joinType="semi",
            ),
            transform(
                "aggregateData",
                groupBy=[group],
                aggregations={"n": "count(key) FILTER (WHERE offset > ${env:EUR})"},
                watermark=WATERMARK,
            ),
            load("toDeltaLake", path="/lake/counted", outputMode="append" if group == "timestamp" else "update"),
        ],
        name="orders",
        mode="streaming",
    )


@pytest.mark.parametrize("euros", ["3", "4"])
def test_the_note_of_the_last_version_still_fits_and_is_written_again(
    place: StorageLocation, monkeypatch: pytest.MonkeyPatch, euros: str
):
    monkeypatch.setenv("EUR", euros)
    note = Path(f"{place.uri}.made_with.json")
    note.write_text(json.dumps(WRITTEN))
    pipeline = orders().resolve()
    found = require_fit(pipeline, place)
    assert found is not None
    assert (found.sources, found.load_ids) == ({"0:orders": "id"}, LOAD_IDS)
    note_made_with(pipeline, place, found.sources, found.load_ids)
    assert json.loads(note.read_text()) == WRITTEN


def test_other_state_than_the_note_has_is_refused(place: StorageLocation, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("EUR", "3")
    Path(f"{place.uri}.made_with.json").write_text(json.dumps(WRITTEN))
    with pytest.raises(PipelineConfigurationException, match=r"aggregateData had 'groupBy' \[\"timestamp\"\], and now"):
        require_fit(orders("key").resolve(), place)
