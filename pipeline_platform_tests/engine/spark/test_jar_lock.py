"""What is resolved is held against the lock before it is kept."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from pipeline_platform.engine.spark.jar_lock import JarLock, jar_lock
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.registry import CONNECTORS

COORDINATES = ["a:first:1", "a:second:2"]


@pytest.fixture
def jars(tmp_path: Path) -> list[Path]:
    for name in ("first-1", "second-2"):
        (tmp_path / f"a_{name}.jar").write_text(name)
    return sorted(tmp_path.glob("*.jar"))


@pytest.fixture
def lock(jars: list[Path]) -> JarLock:
    return JarLock.from_jars(COORDINATES, jars)


def test_the_lock_is_of_the_coordinates_of_the_connectors() -> None:
    assert {*jar_lock().coordinates} == {jar for connector in CONNECTORS for jar in connector.jars}, "make jar-lock"


def test_what_was_locked_is_verified(lock: JarLock, jars: list[Path]) -> None:
    assert lock.sha256["a_first-1.jar"] == hashlib.sha256(b"first-1").hexdigest()
    assert lock.verify(COORDINATES[::-1], jars[::-1]) == []


@pytest.mark.parametrize("coordinates", [COORDINATES, [*COORDINATES, "b:third:3"], COORDINATES[:1]])
def test_a_jar_that_was_changed_is_refused_whatever_else_is_resolved(
    coordinates: list[str], lock: JarLock, jars: list[Path]
) -> None:
    jars[1].write_text("changed")
    with pytest.raises(PipelineExecutionException) as raised:
        lock.verify(coordinates, jars)
    found, expected = (hashlib.sha256(text).hexdigest() for text in (b"changed", b"second-2"))
    assert raised.value.message == (
        f"the jar a_second-2.jar is not the one in the lock file: expected SHA-256 {expected}, found {found}"
    )
    assert "~/.m2/repository" in (raised.value.hint or "")
    assert not raised.value.retryable


def test_locked_coordinates_that_bring_another_jar_or_lack_one_are_refused(
    lock: JarLock, jars: list[Path], tmp_path: Path
) -> None:
    other = tmp_path / "a_added-1.jar"
    other.touch()
    with pytest.raises(PipelineExecutionException, match=r"lock file: unexpected a_added-1\.jar\n"):
        lock.verify(COORDINATES, [*jars, other])
    with pytest.raises(PipelineExecutionException, match=r"unexpected a_added-1\.jar; missing a_second-2\.jar\n"):
        lock.verify(COORDINATES, [jars[0], other])


def test_jars_of_other_packages_are_not_verified_and_told(lock: JarLock, jars: list[Path], tmp_path: Path) -> None:
    other = tmp_path / "b_third-3.jar"
    other.touch()
    assert lock.verify([*COORDINATES, "b:third:3"], [*jars, other]) == ["b_third-3.jar"]
    # A newer version than the locked one, which the others need, takes its place.
    assert lock.verify([*COORDINATES, "b:third:3"], [jars[0], other]) == ["b_third-3.jar"]
