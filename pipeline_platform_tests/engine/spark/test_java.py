"""Java that is missing or of the wrong version is told before anything is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline_platform.engine.spark import java
from pipeline_platform.engine.spark.java import java_version, require_java
from pipeline_platform.exceptions import PipelineExecutionException


def fake_java(folder: Path, said: str) -> Path:
    program = folder / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho '{said}' >&2\n")
    program.chmod(0o755)
    return program


def test_the_java_of_java_home_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = fake_java(tmp_path, 'openjdk version "17.0.15" 2025-04-15')
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert require_java() == str(program)


@pytest.mark.parametrize(
    ("said", "version"), [('java version "1.8.0_402"', "8"), ('openjdk version "11.0.2"', "11"), ("what?", "None")]
)
def test_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, version: str) -> None:
    program = fake_java(tmp_path, said)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", f"{program.parent}:/bin")
    with pytest.raises(PipelineExecutionException) as raised:
        require_java()
    told = version if version != "None" else "of an unknown version"
    assert raised.value.message == f"Spark needs Java 17 or 21, and {program} is Java {told}"
    assert "openjdk-17-jre-headless" in (raised.value.hint or "")


def test_a_missing_java_is_told_with_the_place_that_was_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(PipelineExecutionException, match=f"JAVA_HOME={tmp_path} has none"):
        require_java()
    monkeypatch.delenv("JAVA_HOME")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PipelineExecutionException, match="the PATH has none"):
        require_java()


def test_a_java_that_can_not_be_run_has_no_version(tmp_path: Path) -> None:
    program = fake_java(tmp_path, "")
    program.write_text("no program")
    assert java_version(str(program)) is None


def test_a_java_that_hangs_is_not_waited_for_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hanging = fake_java(tmp_path, "")
    hanging.write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setattr(java, "ANSWER_SECONDS", 0.2)
    with pytest.raises(PipelineExecutionException, match=f"'{hanging} -version' has not answered") as raised:
        require_java()
    assert "JAVA_HOME" in (raised.value.hint or "")
