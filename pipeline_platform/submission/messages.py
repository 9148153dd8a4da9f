"""Dagster Pipes through a folder or a bucket: messages of the driver one way, and the wish that it stops the other."""

from __future__ import annotations

from io import StringIO

from dagster_pipes import PipesBlobStoreMessageWriter, PipesBlobStoreMessageWriterChannel, PipesParams
from tenacity import retry, retry_if_exception, stop_after_delay, wait_exponential
from upath import UPath

FOLDER = "folder"
"""The parameter that says where the messages are."""
_STOP = "stop"
_BEGUN = "begun"
# Pipes gives up on a side that does not end within a minute.
_PATIENCE_SECONDS = 45
_LONGEST_PAUSE_SECONDS = 5


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, Exception) and not isinstance(error, (FileNotFoundError, PermissionError))


# After an exception nobody reads or writes messages any more: a bucket that does not answer for a moment lost a run.
_patiently = retry(
    retry=retry_if_exception(_may_pass),
    stop=stop_after_delay(_PATIENCE_SECONDS),
    wait=wait_exponential(multiplier=0.1, max=_LONGEST_PAUSE_SECONDS),
    reraise=True,
)


class FolderWriter(PipesBlobStoreMessageWriter["FolderWriterChannel"]):
    """Writes a file of messages about every second, while there are any."""

    def __init__(self) -> None:
        super().__init__(interval=0)

    def make_channel(self, params: PipesParams) -> FolderWriterChannel:
        """Where to write, as the other side says.

        Args:
            params: Those of the reader.
        """
        return FolderWriterChannel(UPath(params[FOLDER]))


class FolderWriterChannel(PipesBlobStoreMessageWriterChannel):
    """Writes files of messages into a folder.

    Args:
        folder: The folder, or a prefix in a bucket.
    """

    def __init__(self, folder: UPath) -> None:
        super().__init__(interval=0)
        self._folder = folder

    def upload_messages_chunk(self, payload: StringIO, index: int) -> None:
        """Write a file, which is there as a whole or not at all.

        Args:
            payload: The messages.
            index: Number of the file, from 1.
        """
        _write(self._folder, f"{index}.json", payload.getvalue())


@_patiently
def _write(folder: UPath, name: str, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{name}.part"
    part.write_text(text, encoding="utf-8")
    part.rename(folder / name)


def begin(folder: UPath) -> None:
    """Make a folder in which a driver can tell what it does.

    Args:
        folder: The folder, or a prefix in a bucket.

    Raises:
        Exception: Whatever the place says that can't be written to.
    """
    _write(folder, _BEGUN, "")


@_patiently
def chunk(folder: UPath, index: int) -> str | None:
    """The messages of a file; None as long as it is not there.

    Args:
        folder: The folder, or a prefix in a bucket.
        index: Number of the file, from 1.
    """
    try:
        return (folder / f"{index}.json").read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def ask_to_stop(folder: UPath) -> None:
    """Have the driver stop its run.

    Args:
        folder: The folder, or a prefix in a bucket.
    """
    _write(folder, _STOP, "")


def is_asked_to_stop(folder: UPath) -> bool:
    """Whether somebody has asked the driver to stop.

    Args:
        folder: The folder, or a prefix in a bucket.
    """
    return (folder / _STOP).exists()
