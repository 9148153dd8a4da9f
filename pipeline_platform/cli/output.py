"""How a command ends, and what it prints for other programs."""

from __future__ import annotations

import json
import sys
from typing import Any

FAILED = 1
CANCELLED = 130
"""Exit code of a run that was stopped: what a shell gives for Ctrl-C."""


def print_json(value: Any) -> None:
    """Print a value as JSON, to standard output; what JSON has no word for, such as a date, is a string."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def interrupt(*_: object) -> None:
    """Handler of a signal that is to do what Ctrl-C does."""
    raise KeyboardInterrupt
