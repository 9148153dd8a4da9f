"""Names of local files that Spark may not see."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from pipeline_platform.connectors.files.listing import FileListing
from pipeline_platform.connectors.files.local_names import require_none_left_out
from pipeline_platform.connectors.storage.location import StorageLocation
from pipeline_platform.exceptions import PipelineExecutionException


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.csv", "é.csv", "_é.csv", "é.txt", "m=é/b.csv", "other/é.csv", os.fsdecode(b"\xff.csv")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def uncertain(folder: Path, place: str = "", **options: str) -> Sequence[str]:
    found = FileListing(StorageLocation(f"{folder}{place}"), options).uncertain_files()
    return sorted(str(Path(file).relative_to(folder)) for file in found)


def test_those_that_spark_would_read_are_looked_at(folder: Path) -> None:
    bad = os.fsdecode(b"\xff.csv")
    assert uncertain(folder) == ["m=é/b.csv", "é.csv", "é.txt", bad]
    assert uncertain(folder, pathGlobFilter="*.csv") == ["m=é/b.csv", "é.csv", bad]
    assert "other/é.csv" in uncertain(folder, recursiveFileLookup="true")
    assert uncertain(folder, "/?.csv") == ["é.csv", bad]
    assert not uncertain(folder, modifiedAfter="2024-01-01")
    assert not uncertain(folder / "none")
    assert not FileListing(StorageLocation(str(folder)), {}, files=["a.csv"]).uncertain_files()


def test_one_that_spark_has_not_listed_is_told_unless_it_is_gone(folder: Path) -> None:
    files = [str(folder / "é.csv"), str(folder / os.fsdecode(b"\xff.csv"))]
    require_none_left_out(files, files)
    require_none_left_out([str(folder / "gone-é.csv")], [])
    with pytest.raises(PipelineExecutionException, match=r"leave out .*\\xff.csv, as the name is not UTF-8"):
        require_none_left_out(files, files[:1])
    with pytest.raises(PipelineExecutionException, match=r"leave out .*é.csv, as its locale is not UTF-8"):
        require_none_left_out(files, [])
