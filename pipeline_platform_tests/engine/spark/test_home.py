"""Spark's folder in the cache: the same one for each environment with the same pyspark."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline_platform.engine.spark import home
from pipeline_platform.engine.spark.home import CACHE_VARIABLE, lasting_home, spark_contents


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def environment(folder: Path, monkeypatch: pytest.MonkeyPatch, **jars: str) -> Path:
    """An environment's pyspark, which is looked at from now on."""
    for part in ("jars", "bin", "python/lib"):
        (folder / part).mkdir(parents=True)
    (folder / "bin" / "spark-submit").touch()
    for name, content in jars.items():
        (folder / "jars" / f"{name}.jar").write_text(content)
    monkeypatch.setattr(home, "spark_home", lambda: folder)
    return folder


def test_two_environments_with_the_same_pyspark_have_one_folder_which_outlives_both(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment(tmp_path / "one", monkeypatch, core="12345")
    first = lasting_home()
    environment(tmp_path / "two", monkeypatch, core="12345")
    assert lasting_home() == first
    assert first.is_relative_to(cache)
    # Linked and not copied: pyspark's jars are half a gigabyte.
    assert (first / "jars" / "core.jar").samefile(tmp_path / "one" / "jars" / "core.jar")
    assert (first / "bin" / "spark-submit").exists()


def test_another_pyspark_has_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment(tmp_path / "one", monkeypatch, core="12345")
    first, contents = lasting_home(), spark_contents()
    environment(tmp_path / "two", monkeypatch, core="123456")
    assert lasting_home() != first
    assert spark_contents() != contents


def test_jars_that_can_not_be_linked_are_used_where_they_are(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def another_disk(*_: object, **__: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    installed = environment(tmp_path / "one", monkeypatch, core="12345")
    monkeypatch.setattr(os, "link", another_disk)
    assert lasting_home() == installed
    assert not list((cache / "spark").iterdir())


def test_a_cache_that_can_not_be_written_to_is_used_as_far_as_it_is_filled(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = environment(tmp_path / "one", monkeypatch, core="12345")
    # Even root can't make a folder in a file.
    cache.touch()
    assert lasting_home() == installed
