"""How a command ends, and what it prints for other programs."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from rich.console import Console

FAILED = 1
CANCELLED = 130
"""Exit code of a run that was stopped: what a shell gives for Ctrl-C."""
_WIDEST = 1000


def print_json(value: Any) -> None:
    """Print a value as JSON, to standard output; what JSON has no word for, such as a date, is a string."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def table_console() -> Console:
    """Where a table is printed: a terminal folds what is too wide for it, and other programs get lines."""
    from rich.console import Console

    return Console() if Console().is_terminal else Console(width=_WIDEST)


def short_place(uri: str) -> str:
    """A dataset as people name it: a local path relative to this folder.

    Args:
        uri: Where it is.
    """
    if not uri.startswith("file://"):
        return uri
    path = unquote(urlsplit(uri).path)
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative


def interrupt(*_: object) -> None:
    """Handler of a signal that is to do what Ctrl-C does."""
    raise KeyboardInterrupt
