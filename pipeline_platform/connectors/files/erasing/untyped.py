"""pyarrow, whose types a checker does not know; imported by whoever first asks for a part of it."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def arrow(part: str = "") -> Any:
    """A module of pyarrow.

    Args:
        part: Its name in pyarrow, such as `compute`; by default pyarrow itself.
    """
    return import_module(f"pyarrow.{part}" if part else "pyarrow")
