"""Lets one writer at a time change what is in a folder, and tells writers that are dead from those that are not.

On a local path it is a lock of the operating system's, which ends with its process. On S3 it is an object that is
written on the condition that there is none, and written again every few seconds; one that stays as it is has lost its
owner and is taken over, on the condition that it is still the same. Any other store has no such condition: there the
lock holds among the processes of a machine.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import socket
import tempfile
import threading
import time
import uuid
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from filelock import FileLock, Timeout

from pipeline_platform.connectors.storage.bucket import code_of_answer
from pipeline_platform.exceptions import PipelineExecutionException

if TYPE_CHECKING:
    from upath import UPath

_LOG = logging.getLogger(__name__)

WAIT_SECONDS = 600
"""How long a load waits for another one that publishes into the same folder."""
_MOMENT_SECONDS = 60
LEASE_SECONDS = 30.0
"""How long the lock of a dead owner keeps others waiting on S3."""
_POLL_SECONDS = 0.5
# The lock file of a user keeps no other one out.
_FOR_ALL = 0o666


class Held(Protocol):
    """A lock that is held."""

    def require(self) -> None:
        """Raise if another has taken it over meanwhile.

        Raises:
            PipelineExecutionException: It was; nothing may be changed any more.
        """
        ...


@contextmanager
def only_writer(folder: UPath, place: UPath) -> Generator[Held]:
    """Hold a folder while the block lasts; who comes second waits.

    Args:
        folder: What is held.
        place: Where the lock is to be.

    Raises:
        PipelineExecutionException: Another writer holds it for too long.
    """
    if is_local(folder):
        with _machine_lock(folder, Path(place.path)):
            yield _MachineLock()
        return
    if folder.protocol in ("s3", "s3a"):
        lock = _S3Lock(folder, place)
        if lock.acquire():
            try:
                yield lock
            finally:
                lock.release()
            return
        _LOG.warning(
            "the store of %s does not support conditional writes, so two machines that write there at the same time "
            "are not kept apart",
            folder,
        )
    name = hashlib.sha256(str(folder).encode()).hexdigest()[:20]
    with _machine_lock(folder, Path(tempfile.gettempdir()) / f"pipeline-platform-{name}.lock"):
        yield _MachineLock()


@contextmanager
def alive(mark: UPath) -> Generator[None]:
    """Show that the process is at work, as long as the block lasts; a local file that is locked.

    Args:
        mark: The file; nothing is done for a store, which knows no processes.
    """
    if not is_local(mark):
        yield
        return
    # Nobody else has a mark of this name, but for the moment in which another load finds out whether it is dead.
    with _locked(Path(mark.path), _MOMENT_SECONDS):
        yield


@contextmanager
def if_dead(mark: UPath) -> Generator[bool]:
    """Whether whoever made the mark is dead; while the block lasts, nobody else finds it so.

    Args:
        mark: The local file of `alive`, which is removed if it is.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(_locked(Path(mark.path), 0))
        except Timeout:
            yield False
        else:
            yield True


def is_local(path: UPath) -> bool:
    """Whether a path is one of this machine's file system."""
    return path.protocol in ("", "file", "local")


@contextmanager
def _machine_lock(folder: UPath, path: Path) -> Generator[None]:
    with ExitStack() as stack:
        try:
            stack.enter_context(_locked(path, WAIT_SECONDS))
        except Timeout:
            raise _still_held(folder) from None
        yield


@contextmanager
def _locked(path: Path, wait_seconds: float) -> Generator[None]:
    lock = _acquired(path, wait_seconds)
    try:
        yield
    finally:
        # Whoever waits for a file that is gone makes another one.
        path.unlink(missing_ok=True)
        lock.release()


def _acquired(path: Path, wait_seconds: float) -> FileLock:
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, timeout=wait_seconds, mode=_FOR_ALL)
        # Another writer may have removed the folder, which was empty.
        with suppress(FileNotFoundError):
            lock.acquire()
            return lock


def _still_held(folder: UPath, owner: str | None = None) -> PipelineExecutionException:
    return PipelineExecutionException(
        f"another load has been committing to {folder} for {WAIT_SECONDS} s{f': {owner}' if owner else ''}",
        hint="wait for the other load to finish, then run this one again with the same load id",
        retryable=True,
    )


class _MachineLock:
    """Held until its process ends."""

    def require(self) -> None:
        """Nobody can take it over."""


@dataclass
class _S3Lock:
    """An object that its owner keeps writing.

    Args:
        folder: What is held.
        place: The object.
    """

    folder: UPath
    place: UPath
    owner: str = field(default_factory=lambda: uuid.uuid4().hex)
    lost: bool = False

    def __post_init__(self) -> None:
        self._tag = ""
        self._writes = 0
        self._released = threading.Event()
        self._renewal = threading.Thread(target=self._renew, daemon=True, name=f"lock of {self.folder}")

    def acquire(self) -> bool:
        """Wait for the lock and take it; False if the store has no conditions, or ignores them."""
        try:
            return self._wait()
        except OSError as error:
            if code_of_answer(error) in _UNSUPPORTED:
                return False
            raise

    def _wait(self) -> bool:
        deadline = time.monotonic() + WAIT_SECONDS
        seen, since = "", time.monotonic()
        while True:
            tag = self._put(IfNoneMatch="*")
            if tag is None:
                there = self._look()
                if there is not None and there[0] != seen:
                    seen, since = there[0], time.monotonic()
                elif there is not None and time.monotonic() - since > LEASE_SECONDS:
                    # The same for so long: its owner is dead, or can't reach the store and knows that it has lost it.
                    tag = self._put(IfMatch=seen)
            if tag is not None:
                self._tag = tag
                if self._put(IfNoneMatch="*") is not None:
                    store: Any = self.folder.fs
                    store.rm_file(self.place.path)
                    return False
                self._renewal.start()
                return True
            if time.monotonic() > deadline:
                there = self._look()
                owner = f"process {there[1].get('process')} of {there[1].get('host')}" if there is not None else None
                raise _still_held(self.folder, owner)
            time.sleep(_POLL_SECONDS)

    def require(self) -> None:
        """Raise if another has taken it over."""
        if self.lost:
            raise PipelineExecutionException(
                f"another load took over the lock of {self.folder}, as this one could not reach the store for "
                f"{LEASE_SECONDS:.0f} s",
                hint="run it again with the same load id",
                retryable=True,
            )

    def release(self) -> None:
        """Let the next one have it."""
        self._released.set()
        self._renewal.join()
        if not self.lost:
            # Kept, it would only make the next one wait until it is taken for dead.
            with suppress(OSError):
                self._call("delete_object", IfMatch=self._tag)

    def _renew(self) -> None:
        renewed = time.monotonic()
        while not self._released.wait(LEASE_SECONDS / 4):
            try:
                tag = self._put(IfMatch=self._tag)
            except OSError:
                self.lost = self.lost or time.monotonic() - renewed > LEASE_SECONDS / 2
                continue
            if tag is None:
                self.lost = True
                return
            self._tag, renewed = tag, time.monotonic()

    def _put(self, **condition: str) -> str | None:
        """Write the object and give its tag; None if the condition does not hold."""
        self._writes += 1
        # No two writes are the same, so that each has a tag of its own.
        written = {"owner": self.owner, "host": socket.gethostname(), "process": str(os.getpid())}
        written["write"] = str(self._writes)
        try:
            answer = self._call("put_object", Body=json.dumps(written).encode(), Metadata=written, **condition)
            return str(answer["ETag"])
        except OSError as error:
            if code_of_answer(error) not in _REFUSED:
                raise
        # A write that went through, and whose answer was lost, is refused when it is sent again.
        there = self._look()
        return there[0] if there is not None and there[1] == written else None

    def _look(self) -> tuple[str, dict[str, str]] | None:
        """The tag of the object and what was written; None if there is none."""
        try:
            answer = self._call("head_object")
        except FileNotFoundError:
            return None
        return str(answer["ETag"]), dict(answer["Metadata"])

    def _call(self, method: str, **arguments: Any) -> Any:
        fs: Any = self.folder.fs
        bucket, key, _ = fs.split_path(self.place.path)
        return fs.call_s3(method, Bucket=bucket, Key=key, **arguments)


_REFUSED = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")
_UNSUPPORTED = ("NotImplemented", "501", "InvalidArgument", "InvalidRequest", "400")
