"""Messages of a driver, and the wish that it stops, by way of a folder and of a bucket."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from pathlib import Path
from uuid import uuid4

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from upath import UPath

from devtools.services.s3 import REGION, S3Server
from pipeline_platform.submission.messages import FolderWriterChannel, ask_to_stop, chunk, is_asked_to_stop


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> UPath:
    """Where a run tells, which is not there yet."""
    if request.param == "folder":
        return UPath(tmp_path) / "runs" / "1"
    server: S3Server = request.getfixturevalue("s3")
    bucket = f"told-{uuid4().hex}"
    server.make_bucket(bucket)
    variables = {
        "AWS_ACCESS_KEY_ID": server.access_key_id,
        "AWS_SECRET_ACCESS_KEY": server.secret_access_key,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ENDPOINT_URL_S3": server.endpoint,
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return UPath(f"s3://{bucket}/runs/1")


def test_what_is_written_is_read_in_its_order_and_nothing_before_it_is_there(place: UPath):
    writing = FolderWriterChannel(place)
    assert chunk(place, 1) is None
    for number in (1, 2):
        writing.upload_messages_chunk(StringIO(f"message {number}, ärger"), number)
        assert chunk(place, number) == f"message {number}, ärger"
        assert chunk(place, number + 1) is None


def test_a_driver_is_asked_to_stop_by_somebody_who_may_come_first(place: UPath):
    assert not is_asked_to_stop(place)
    ask_to_stop(place)
    assert is_asked_to_stop(place)


@pytest.fixture
def outage(monkeypatch: pytest.MonkeyPatch) -> Callable[[type[Exception], int], UPath]:
    """Makes a place that can't be asked for some times."""

    def place(kind: type[Exception], times: int) -> UPath:
        left = iter(range(times))

        def first_fails(method: Callable[..., object]) -> Callable[..., object]:
            def called(self: MemoryFileSystem, *given: object, **named: object) -> object:
                if next(left, None) is not None:
                    raise kind("no answer")
                return method(self, *given, **named)

            return called

        for name in ("_open", "info", "mkdir", "mv", "cp_file"):
            monkeypatch.setattr(MemoryFileSystem, name, first_fails(getattr(MemoryFileSystem, name)))
        return UPath(f"memory://told-{uuid4().hex}/1")

    return place


def test_a_place_that_cannot_be_asked_for_a_moment_loses_no_message(outage: Callable[[type[Exception], int], UPath]):
    place = outage(ConnectionError, 2)
    FolderWriterChannel(place).upload_messages_chunk(StringIO("one"), 1)
    assert chunk(place, 1) == "one"
    place = outage(TimeoutError, 2)
    with pytest.raises(TimeoutError):
        place.joinpath("1.json").read_text()
    assert chunk(place, 1) is None


def test_nobody_waits_for_a_place_that_will_never_be_theirs(outage: Callable[[type[Exception], int], UPath]):
    with pytest.raises(PermissionError):
        chunk(outage(PermissionError, 1), 1)
