"""The connector jars are resolved once; what can't be resolved is told."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from pipeline_platform.engine.spark import jars
from pipeline_platform.engine.spark.home import CACHE_VARIABLE
from pipeline_platform.engine.spark.jar_lock import jar_lock
from pipeline_platform.engine.spark.jars import connector_jars
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
    assert said[1] == "resolved: 1 jar, not in the lock file, so not verified: com.google.re2j_re2j-1.7.jar"
    assert connector_jars(["org.slf4j:jul-to-slf4j:2.0.16", "com.google.re2j:re2j:1.7"], said.append) == first
    assert len(said) == 2


def test_a_jar_with_another_checksum_than_the_locked_one_is_refused_and_nothing_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resolve(coordinates: Sequence[str], folder: Path) -> list[Path]:
        jar = folder / name
        jar.touch()
        return [jar]

    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    (coordinate,) = (coordinate for coordinate in jar_lock().coordinates if ":postgresql:" in coordinate)
    (name,) = (name for name in jar_lock().sha256 if "postgresql" in name)
    monkeypatch.setattr(jars, "resolved_jars", resolve)
    nothing, expected = hashlib.sha256().hexdigest(), jar_lock().sha256[name]
    with pytest.raises(PipelineExecutionException, match=f"{name} .* expected SHA-256 {expected}, found {nothing}\n"):
        connector_jars([coordinate], lambda line: None)
    assert not list((tmp_path / "jars").glob("*/"))


def test_jars_that_are_there_are_taken_from_a_cache_that_can_not_be_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))

    def resolve(coordinates: Sequence[str], folder: Path, beside_spark: bool) -> str:
        folder.mkdir()
        return "none"

    monkeypatch.setattr(jars, "_resolve", resolve)
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
