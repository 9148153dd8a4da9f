"""The JVM starts quietly, says why if it does not start, and from an archive that is made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline_platform.engine import jvm
from pipeline_platform.engine.jars import CACHE_VARIABLE
from pipeline_platform.engine.java import require_java
from pipeline_platform.engine.jvm import DRIVER_OPTIONS, class_archive, driver_options, launch
from pipeline_platform.exceptions import PipelineExecutionException


def test_a_jvm_that_does_not_start_says_why() -> None:
    with pytest.raises(PipelineExecutionException) as raised:
        launch({DRIVER_OPTIONS: "-Xss1"})
    assert "stack size specified is too small" in raised.value.message
    assert DRIVER_OPTIONS in (raised.value.hint or "")


def test_what_the_jvm_says_is_handed_on_but_the_noise(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(PipelineExecutionException):
        launch({DRIVER_OPTIONS: "--add-modules=jdk.incubator.vector -Xss1"})
    said = capfd.readouterr()
    assert "stack size specified is too small" in said.err
    assert "incubator" not in said.err
    assert said.out == ""


def test_options_that_were_asked_for_come_last_and_so_win() -> None:
    assert driver_options("-Xss4m", None).endswith(" -Xss4m")
    assert "-XX:SharedArchiveFile=/x.jsa" in driver_options(None, Path("/x.jsa"))


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The archives that were made; making one is a matter of writing a file."""
    made: list[Path] = []

    def train(archive: Path) -> bool:
        made.append(archive)
        archive.write_text("classes")
        return True

    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    monkeypatch.setattr(jvm, "_train", train)
    return made


def test_the_archive_is_made_once_for_each_set_of_jars(trained: list[Path]) -> None:
    said: list[str] = []
    java, jars = require_java(), [Path("/a.jar")]
    archive = class_archive(java, jars, said.append)
    assert archive is not None
    assert class_archive(java, jars, said.append) == archive
    assert (len(trained), len(said)) == (1, 1)
    assert class_archive(java, [Path("/b.jar")], said.append) not in (None, archive)


def test_an_archive_that_can_not_be_made_stops_nothing_and_is_not_tried_again(
    trained: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(jvm, "_train", lambda archive: False)
    for _ in range(2):
        assert class_archive(require_java(), [], said.append) is None
    assert len(said) == 1


def test_an_archive_that_another_process_is_making_is_not_waited_for(trained: list[Path]) -> None:
    java = require_java()
    archive = class_archive(java, [], lambda line: None)
    assert archive is not None
    archive.unlink()
    with jvm.FileLock(f"{archive}.lock"):
        assert class_archive(java, [], lambda line: None) is None
