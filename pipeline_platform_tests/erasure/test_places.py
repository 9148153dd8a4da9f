"""What `erase` can't do is told, and never passed over: no JVM is needed for that."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake
from typer.testing import CliRunner

from pipeline_platform.cli import app
from pipeline_platform.erasure.keys import Keys, new_salt

SOURCE = {
    "type": "extract",
    "method": "fromFiles",
    "config": {"path": "in.csv", "format": "csv", "schema": "id INT, day DATE"},
}


def _told(folder: Path, loads: list[dict[str, Any]], **keys: Any) -> tuple[int, dict[str, list[str]]]:
    steps = [SOURCE, *({"type": "load", **load} for load in loads)]
    (folder / "pipelines").mkdir()
    (folder / "pipelines/p.json").write_text(json.dumps({"name": "p", "mode": "batch", **keys, "steps": steps}))
    done = CliRunner().invoke(app, ["erase", str(folder / "pipelines"), "--key", "id=4711", "--json"])
    places = json.loads(done.stdout)["places"]
    return done.exit_code, {place["place"]: [place["state"], *place["told"]] for place in places}


def test_a_sink_that_can_not_be_erased_from_is_named_with_the_reason(tmp_path: Path):
    topic = {"name": "topic", "method": "toKafka", "config": {"topic": "t", "bootstrap.servers": "localhost:9"}}
    orc = {"name": "orc", "method": "toFiles", "config": {"path": str(tmp_path / "out"), "format": "orc"}}
    exit_code, told = _told(tmp_path, [topic, orc])
    assert exit_code == 1
    assert told["p.topic"][1].startswith("messages of a topic can't be deleted by key")
    assert told["p.orc"] == ["impossible", "orc files can't be written again with all other rows as they are"]


def test_a_place_for_each_partition_is_not_taken_for_one_that_is_empty(tmp_path: Path):
    path = str(tmp_path / "lake/${partition:key}")
    load = {"name": "table", "method": "toDeltaLake", "config": {"path": path, "mode": "overwrite"}}
    days = {"type": "daily", "column": "day", "start": "2026-01-01"}
    exit_code, told = _told(tmp_path, [load], partitions=days)
    assert exit_code == 1
    assert told == {
        "p.table": ["impossible", "each partition has a place of its own, and 'erase' does not know which there are"]
    }


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (7, None),
        ("7", None),
        (7.5, None),
        (True, "rows can't be found by 'id', whose type is BOOLEAN"),
        (["4711"], "rows can't be found by 'id', whose type is ARRAY"),
        (dt.date(2026, 1, 1), "the key's value is no DATE, the type of 'id', and can't be looked for there"),
    ],
)
def test_a_column_that_the_key_can_not_be_looked_for_in_is_to_be_decided(tmp_path: Path, value: Any, told: str | None):
    write_deltalake(tmp_path / "lake", pa.table({"id": [value]}))
    load = {"name": "table", "method": "toDeltaLake", "config": {"path": str(tmp_path / "lake")}}
    assert _told(tmp_path, [load]) == (
        (1, {"p.table": ["undecided", told]}) if told is not None else (0, {"p.table": ["found"]})
    )
    command = ["erase", str(tmp_path / "pipelines"), "--key", "id=4711", "--proof", str(tmp_path / "erasures")]
    refused = CliRunner().invoke(app, [*command, "--yes"])
    assert refused.exit_code == (1 if told is not None else 0)
    assert (told or "") in refused.stderr
    left_out = CliRunner().invoke(app, [*command, "--yes", "--column", "p.table=-"])
    assert left_out.exit_code == 0


def test_who_names_the_column_has_decided_on_fields_of_the_same_name(tmp_path: Path):
    write_deltalake(tmp_path / "lake", pa.table({"id": [7], "payload": [{"id": 4711}]}))
    load = {"name": "table", "method": "toDeltaLake", "config": {"path": str(tmp_path / "lake")}}
    field = "'id' within the column 'payload' is not looked into"
    assert _told(tmp_path, [load]) == (1, {"p.table": ["undecided", field]})
    command = ["erase", str(tmp_path / "pipelines"), "--key", "id=4711", "--column", "p.table=id"]
    assert CliRunner().invoke(app, command).exit_code == 0


def test_with_a_pipeline_that_is_wrong_nothing_was_looked_into(tmp_path: Path):
    (tmp_path / "p.json").write_text("{}")
    done = CliRunner().invoke(app, ["erase", str(tmp_path), "--key", "id=4711"])
    assert done.exit_code == 1
    assert "nothing was looked into" in done.stderr


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((), "no key says whose rows are meant"),
        (("--key", "4711-secret"), "--key needs the form NAME=VALUE"),
        (("--key", "id="), "a value of 'id' is empty"),
        (("--key", "id=4711-secret", "--column", "x.y=z"), "--column names 'x.y', and the places are p.table"),
        (("--key", "id=4711-secret", "--column", "p.table"), "--column needs the form PIPELINE.STEP=COLUMN"),
    ],
)
def test_what_was_not_understood_is_told_without_the_key(tmp_path: Path, options: tuple[str, ...], told: str):
    load = {"name": "table", "method": "toDeltaLake", "config": {"path": str(tmp_path / "lake")}}
    assert _told(tmp_path, [load])[0] == 0
    done = CliRunner().invoke(app, ["erase", str(tmp_path / "pipelines"), *options])
    assert done.exit_code == 1
    assert told in done.stderr
    assert "4711-secret" not in done.output


def test_a_proof_is_about_these_keys_and_no_others():
    keys, salt = Keys({"id": frozenset({"1", "2"})}), new_salt()
    assert Keys({"id": frozenset({"2", "1"})}).hashed(salt) == keys.hashed(salt)
    others = [Keys({"id": frozenset({"1"})}), Keys({"ID": frozenset({"1", "2"})}), Keys({"id": frozenset({"12"})})]
    assert keys.hashed(salt) not in {other.hashed(salt) for other in others}
    assert keys.hashed(salt) != keys.hashed(new_salt())
