"""The connector jars are resolved once; what can't be resolved is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline_platform.engine.spark import jars
from pipeline_platform.engine.spark.jars import CACHE_VARIABLE, connector_jars
from pipeline_platform.exceptions import PipelineExecutionException


def test_jars_are_resolved_once_with_a_line_and_then_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    said: list[str] = []
    first = connector_jars(["org.slf4j:jul-to-slf4j:2.0.16", "com.google.re2j:re2j:1.7"], said.append)
    # pyspark ships the other one already.
    assert [jar.name for jar in first] == ["com.google.re2j_re2j-1.7.jar"]
    assert len(said) == 2
    assert connector_jars(["org.slf4j:jul-to-slf4j:2.0.16", "com.google.re2j:re2j:1.7"], said.append) == first
    assert len(said) == 2


def test_jars_that_are_there_are_taken_from_a_cache_that_can_not_be_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    monkeypatch.setattr(jars, "_resolve", lambda coordinates, folder, beside_spark: folder.mkdir())
    connector_jars(["a:b:1"], lambda line: None)
    (there,) = [path for path in (tmp_path / "jars").iterdir() if path.is_dir()]
    (there / "a_b-1.jar").touch()
    # Even root can't lock a folder.
    lock = there.with_name(f"{there.name}.lock")
    lock.unlink(missing_ok=True)
    lock.mkdir()
    assert connector_jars(["a:b:1"], lambda line: None) == [there / "a_b-1.jar"]


def test_a_cache_that_can_not_be_made_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "file"))
    with pytest.raises(PipelineExecutionException, match=f"can't be kept in {tmp_path}/file/jars") as raised:
        connector_jars(["a:b:1"], lambda line: None)
    assert CACHE_VARIABLE in (raised.value.hint or "")


def test_coordinates_that_no_repository_has_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    with pytest.raises(PipelineExecutionException) as raised:
        connector_jars(["org.example.nowhere:nothing:1.0"], lambda line: None)
    assert "org.example.nowhere" in raised.value.message
    assert "\n" not in raised.value.message
    assert "Maven repository" in (raised.value.hint or "")
    assert not list((tmp_path / "jars").glob("*/"))
