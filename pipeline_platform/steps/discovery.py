"""What a system says of what is in it, and the pipelines that would read it."""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, ClassVar, Generic, TypeVar

from pipeline_platform.config.dagster_names import reserved_name
from pipeline_platform.credentials.model import Credentials
from pipeline_platform.steps.credentialed import Credentialed

# What Delta takes in the name of a column only if the files of a table have another name for it.
_UNMAPPED = re.compile(r"[ ,;{}()\n\t=]")
_UNITS = ("B", "kB", "MB", "GB", "TB")
_MAPPED = {"sparkConf": {"spark.databricks.delta.properties.defaults.columnMapping.mode": "name"}}


@dataclass(frozen=True)
class Care:
    """Something of what was found that its reader has to know before its pipeline is run.

    Args:
        of: What of it, such as a column; empty for the whole.
        kind: What it is, such as the column's type; where it is found again, it means the same.
        note: What that means, in a sentence.
    """

    of: str
    kind: str
    note: str

    def __str__(self) -> str:
        return f"{self.of}: {self.kind}" if self.of else self.kind


@dataclass(frozen=True)
class Finding:
    """Something that a pipeline can read: a table, a topic, a folder.

    Args:
        name: Its name in the system.
        shown: What people are shown of it, by the heading of a column.
        told: The same and more for programs, as JSON.
        care: What needs care.
        pipeline: The pipeline that loads it, as its file has it; None if there is none for it.
        unwritten: Why there is none.
    """

    name: str
    shown: Mapping[str, str]
    told: Mapping[str, Any]
    care: Sequence[Care] = ()
    pipeline: Mapping[str, Any] | None = None
    unwritten: str | None = None


@dataclass(frozen=True)
class Wishes:
    """What somebody wants of a discovery.

    Args:
        patterns: By option, as in `Discovery.patterns`: what names have to match; none where it was not given.
        connection: The keys of a step that enter the system, as they go into its file.
        lake: Where the tables go: a folder or a URI.
    """

    patterns: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])
    connection: Mapping[str, Any] = field(default_factory=dict[str, Any])
    lake: str = "lake"

    def match(self, option: str, *names: str) -> bool:
        """Whether one of these names matches a pattern of an option; false if the option was not given."""
        return any(fnmatchcase(name.casefold(), pattern.casefold()) for name in names for pattern in self.given(option))

    def given(self, option: str) -> Sequence[str]:
        """The patterns of an option."""
        return self.patterns.get(option, ())

    def table_path(self, name: str) -> str:
        """Where the table of a pipeline of this name goes."""
        return f"{self.lake.rstrip('/')}/{name}"


def pipeline_names(called: Mapping[str, str]) -> dict[str, str]:
    """The name of the pipeline of each thing; it does not depend on which things are chosen.

    Args:
        called: What people call each thing, by its name in the system.
    """
    plain = {thing: _plain(name) for thing, name in called.items()}
    often = Counter(plain.values())
    return {
        thing: name if often[name] == 1 else f"{name}_{hashlib.sha256(thing.encode()).hexdigest()[:6]}"
        for thing, name in plain.items()
    }


def _plain(name: str) -> str:
    plain = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "unnamed"
    return f"{plain}_table" if reserved_name(plain) else plain


def mapped_care(columns: Sequence[str]) -> Sequence[Care]:
    """What to know of a Delta table of these columns, if it needs other names for them in its files."""
    found = [name for name in columns if _UNMAPPED.search(name)]
    note = (
        "Delta keeps columns under other names in the files of such a table (column mapping): Polars, and "
        "to_pyarrow_table of delta-rs, read NULL; Spark and delta-rs's QueryBuilder read the values"
    )
    return [Care(found[0], "name of a column", note)] if found else []


def lake_settings(columns: Sequence[str]) -> dict[str, Any]:
    """The keys of a pipeline that a Delta table of these columns needs."""
    return _MAPPED if any(_UNMAPPED.search(name) for name in columns) else {}


def size_text(size: int | None) -> str:
    """A number of bytes as people read it."""
    if size is None:
        return ""
    amount, unit = float(size), 0
    while amount >= 1000 and unit < len(_UNITS) - 1:
        amount, unit = amount / 1000, unit + 1
    return f"{amount:.1f} {_UNITS[unit]}" if unit else f"{size} B"


_Config = TypeVar("_Config", bound=Credentialed)


class Discovery(ABC, Generic[_Config]):
    """Asks a system what there is in it.

    It does so without Spark, by the system's own client for Python, and with the credentials that a step would have.
    """

    method: ClassVar[type[Credentialed]]
    """The extract that the pipelines read with; its keys say how to enter the system."""
    keys: ClassVar[Sequence[str]]
    """Those of its keys that are options of the command; a dot in one becomes a hyphen."""
    asked_with: ClassVar[Mapping[str, Any]]
    """Stands for the keys of the extract that only a discovery finds out."""
    patterns: ClassVar[Mapping[str, str]]
    """The options that take patterns of names, with their help; the first one chooses what is looked at."""
    things: ClassVar[str]
    """What is found, as people call several of it, such as `tables`."""

    @abstractmethod
    def findings(self, config: _Config, credentials: Credentials | None, wishes: Wishes) -> Sequence[Finding]:
        """What there is, of that what the patterns choose.

        Args:
            config: An extract of the system, its environment variables replaced.
            credentials: What it asks for.
            wishes: What is wanted.

        Raises:
            CredentialException: The system refuses the user.
            PipelineException: It can't be reached, or a package for it is missing.
        """
