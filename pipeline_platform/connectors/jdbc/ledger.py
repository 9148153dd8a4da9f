"""The ledger of a schema: a row for each load that is complete."""

from __future__ import annotations

import hashlib

LEDGER = "pipeline_platform_loads"
ALREADY_LOADED = "an earlier attempt of this run has loaded it already"
_LONGEST_KEY = 190


def ledger_key(text: str) -> str:
    """A text as the key of a row: one that is too long for an index of MySQL by its hash."""
    return text if len(text) <= _LONGEST_KEY else hashlib.sha256(text.encode()).hexdigest()
