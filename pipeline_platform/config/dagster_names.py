"""What Dagster takes as a name and as an owner, so that what is read here loads there.

Dagster itself can't be asked: it takes an import of Dagster. A test holds both against Dagster's own rules.
"""

from __future__ import annotations

import keyword
import re

PIPELINE_NAME = "^[A-Za-z0-9_-]+$"
"""What the name of a pipeline matches."""

RESERVED_NAMES = frozenset(
    {
        *keyword.kwlist,
        "arg_dict",
        "bool",
        "conf",
        "config",
        "context",
        "dict",
        "float",
        "input",
        "input_arg_dict",
        "int",
        "meta",
        "output",
        "output_arg_dict",
        "str",
        "type",
    }
)
"""Names that no Dagster job may have: those of Dagster's own arguments, and Python's keywords."""

ASSET_JOB_PREFIX = "__ASSET_JOB"
"""With this begin the names of the jobs that Dagster makes for what is materialized without a job."""

_EMAIL = re.compile(r"\b[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,7}\b")
_ANY_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")


def reserved_name(name: str) -> str | None:
    """Why a pipeline can't have this name; None when it can."""
    if name in RESERVED_NAMES or name.startswith(ASSET_JOB_PREFIX):
        return f"the name '{name}' is reserved by Dagster; choose another, such as '{name.strip('_')}_pipeline'"
    return None


def dagster_owner(owner: str) -> str:
    """The owner of an asset, as Dagster takes it.

    Args:
        owner: An email address, or the name of a team with or without `team:`.

    Raises:
        ValueError: It is neither.
    """
    if _EMAIL.fullmatch(owner):
        return owner
    if _ANY_EMAIL.fullmatch(owner):
        raise ValueError(
            "not an email address that Dagster accepts: expected ASCII letters and digits, and two to seven letters "
            "after the last dot"
        )
    return dagster_team(owner.removeprefix("team:"))


def dagster_tag(tag: str) -> str:
    """A word as the key of a tag, as Dagster takes it: other characters than ASCII letters, digits, `_`, `.` and `-`
    become `_`, and what is beyond 63 characters is left out.
    """
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", tag)[:63]


def dagster_team(name: str) -> str:
    """A team as the owner of an asset: other characters than ASCII letters, digits and `_` become `_`.

    Raises:
        ValueError: No letter or digit is left.
    """
    team = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_")
    if not team:
        raise ValueError("expected an email address, or the name of a team with at least one ASCII letter or digit")
    return f"team:{team}"
