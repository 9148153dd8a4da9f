"""A small file in which one process leaves something for others."""

from __future__ import annotations

import logging
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

_LOG = logging.getLogger(__name__)


class StateFile(BaseModel):
    """What the file holds."""

    model_config = ConfigDict(frozen=True)

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """What the file says; None if there is none, or one that another version has written."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except (FileNotFoundError, ValidationError):
            return None
        except OSError as error:
            # It helps others; nothing that runs stands or falls with it.
            _LOG.warning("%s can't be read: %s", path, error)
            return None

    def write(self, path: Path) -> None:
        """Put it there in one go: a reader sees the old one or this one.

        Raises:
            OSError: There is no room, or no right to write.
        """
        replace_text(path, self.model_dump_json(indent=2))


def replace_text(path: Path, text: str) -> None:
    """Write a file in one go: a reader sees the old text or this one.

    Args:
        path: The file; its folder is made if need be.
        text: What it is to hold.

    Raises:
        OSError: There is no room, or no right to write.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            file.write(text)
            file.close()
            Path(file.name).replace(path)
        except BaseException:
            with suppress(OSError):
                Path(file.name).unlink()
            raise
