"""What the tests of Delta tables share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Where the table is that a test makes."""
    return tmp_path / "table"
