"""What a catalog says of a table, whichever catalog it is."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import unquote

from pipeline_platform.config.catalog_names import CatalogName
from pipeline_platform.config.uris import normalized_uri
from pipeline_platform.exceptions import PipelineException, PipelineExecutionException
from pipeline_platform.frames.causes import failure_of
from pipeline_platform.frames.failure_text import failure_message
from pipeline_platform.steps.table_facts import TableFacts


@dataclass(frozen=True)
class Entry:
    """A table as a catalog has it.

    Args:
        kind: The format, such as `delta`, or `view`.
        location: Where its files are; None if the catalog does not say.
        details: What else it says: `comment`, `owner`, and properties by their names.
    """

    kind: str
    location: str | None
    details: Mapping[str, str]

    def is_at(self, uri: str) -> bool:
        """Whether it is the Delta table at a place, however that is spelled."""
        if self.kind.lower() != "delta" or self.location is None:
            return False
        # A catalog may escape what stands in a path; the path of a table that we load holds no escapes.
        return unquote(normalized_uri(self.location)) == unquote(normalized_uri(uri))

    def __str__(self) -> str:
        if self.kind.lower() == "view":
            return "a view"
        return f"a table of format {self.kind}{f' at {self.location}' if self.location is not None else ''}"


class Catalog(Protocol):
    """Where tables are registered."""

    @property
    def told(self) -> str:
        """The catalog, for messages."""
        ...

    def has_schema(self, name: CatalogName) -> bool:
        """Whether there is the schema in which a table is to be."""
        ...

    def find(self, name: CatalogName) -> Entry | None:
        """The table, or view, of this name; None if there is none."""
        ...

    def create(self, name: CatalogName, uri: str, facts: TableFacts) -> None:
        """Register the Delta table at a place, unless something of that name is there."""
        ...

    def update(self, name: CatalogName, facts: TableFacts) -> None:
        """Have the catalog say of a table what is said of it now, as far as it can be changed."""
        ...


def wanted_details(facts: TableFacts) -> dict[str, str]:
    """What an entry is to say beside its place: `comment`, `owner`, and properties by their names.

    Args:
        facts: What is said of the table; what they don't say is left as it is.
    """
    said = {
        "comment": facts.comment,
        "owner": facts.owner,
        "pipeline_platform.pipeline": facts.pipeline,
        "pipeline_platform.step": facts.step,
        "pipeline_platform.tags": ", ".join(facts.tags),
    }
    return {name: value for name, value in said.items() if value}


@contextmanager
def asking(catalog: Catalog, name: CatalogName) -> Generator[None]:
    """Say of whatever goes wrong in the block which catalog was asked, and for what.

    Args:
        catalog: The catalog.
        name: The table that it is asked for.

    Raises:
        PipelineExecutionException: It did not answer, or refused.
    """
    try:
        yield
    except PipelineException:
        raise
    except Exception as error:
        failure = failure_of(error)
        lost = [cause for cause in failure.causes if _is_lost(cause.classes, cause.text)]
        if lost:
            raise PipelineExecutionException(
                f"{catalog.told} does not answer, in which the table is to be registered as {name}: "
                f"{_short(lost[-1].text)}",
                hint="check that it runs, its address, and the network between",
                retryable=True,
            ) from error
        said = next((cause.text for cause in failure.innermost_first() if cause.text), None)
        raise PipelineExecutionException(
            f"{catalog.told} refused what was asked of it for {name}: {said or failure_message(failure)}",
            hint="check the rights of whoever runs this, and whether the catalog takes tables of Delta",
        ) from error


def _is_lost(classes: tuple[str, ...], text: str) -> bool:
    return "Could not connect to meta store" in text or any(
        name in ("org.apache.thrift.transport.TTransportException", "java.net.ConnectException") for name in classes
    )


def _short(text: str) -> str:
    """The last of the exceptions that one names after the other."""
    return text.rsplit("Exception: ", 1)[-1]
