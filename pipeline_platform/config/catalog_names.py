"""Names of tables in a catalog, such as `sales.orders`."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Annotated, Self

from pydantic import AfterValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from pipeline_platform.config.placeholders import has_placeholder, partition_parts
from pipeline_platform.config.redirection import NotRedirected, Redirection
from pipeline_platform.config.values import Location

_PART = re.compile(r"`(?P<quoted>(?:[^`]|``)+)`|(?P<plain>[A-Za-z0-9_]+)")
_EXPECTED = "expected SCHEMA.TABLE or CATALOG.SCHEMA.TABLE, such as sales.orders"
_FEWEST, _MOST = 2, 3


class CatalogNameError(ValueError):
    """A text names no table.

    Args:
        message: What is wrong with it.
        offset: At which character, counted from 0.
    """

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


@dataclass(frozen=True)
class CatalogName:
    """A table in a catalog.

    Args:
        catalog: As Spark knows it; None for the one that Spark uses where none is named.
        schema: The schema, or database.
        table: The table.
    """

    catalog: str | None
    schema: str
    table: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """The name that a text is.

        Args:
            text: Two or three parts with dots between them; in backticks a part may hold any character.

        Raises:
            CatalogNameError: It is none.
        """
        parts: list[str] = []
        place = 0
        while True:
            found = _PART.match(text, place)
            if found is None:
                raise CatalogNameError(_wrong_part(text, place), place)
            parts.append(found["plain"] or found["quoted"].replace("``", "`"))
            place = found.end()
            if place == len(text):
                break
            if text[place] != ".":
                what = f"'{text[place]}' has to be within backticks, as in `my-schema`.orders"
                raise CatalogNameError(f"{what}; {_EXPECTED}", place)
            place += 1
            if len(parts) == _MOST:
                raise CatalogNameError(f"the name of a table has at most {_MOST} parts; {_EXPECTED}", place)
        if len(parts) < _FEWEST:
            raise CatalogNameError(f"the name says no schema; {_EXPECTED}", 0)
        *catalog, schema, table = parts
        return cls(catalog[0] if catalog else None, schema, table)

    @property
    def sql(self) -> str:
        """The name as a part of a statement of SQL."""
        return ".".join(f"`{part.replace('`', '``')}`" for part in self._parts)

    @property
    def schema_sql(self) -> str:
        """The schema as a part of a statement of SQL."""
        return self.sql.removesuffix(f".`{self.table.replace('`', '``')}`")

    @property
    def _parts(self) -> list[str]:
        return [part for part in (self.catalog, self.schema, self.table) if part is not None]

    def __str__(self) -> str:
        plain = re.compile("[A-Za-z0-9_]+")
        return ".".join(part if plain.fullmatch(part) else f"`{part.replace('`', '``')}`" for part in self._parts)


def _wrong_part(text: str, place: int) -> str:
    if place == len(text):
        return f"a part of the name is missing; {_EXPECTED}"
    if text[place] == "`":
        return f"the backtick is not closed, or holds nothing; {_EXPECTED}"
    if text[place] == ".":
        return f"a part of the name is missing; {_EXPECTED}"
    return f"'{text[place]}' has to be within backticks, as in `my-schema`.orders; {_EXPECTED}"


def _table(text: str) -> str:
    if partition_parts(text):
        message = "a partition can't be a part of the name: all partitions are one table"
        raise PydanticCustomError("text", "{mistake}", {"mistake": message})
    if has_placeholder(text):
        return text
    try:
        CatalogName.parse(text)
    except CatalogNameError as error:
        raise PydanticCustomError("text", "{mistake}", {"mistake": str(error), "offset": error.offset}) from error
    return text


CatalogTable = Annotated[
    Location,
    AfterValidator(_table),
    WithJsonSchema({"type": "string", "minLength": 1, "examples": ["sales.orders", "lake.sales.orders"]}),
]
"""The name of a table in a catalog, of two or three parts; environment variables in it are replaced when the file is
loaded."""


def redirected_name(written: str, to: Redirection) -> str:
    """The name that a table has in an environment: that of a schema of the environment's own.

    Args:
        written: The name in production.
        to: The environment's places.

    Raises:
        NotRedirected: Which schema it names is known in a run alone.
    """
    if has_placeholder(written):
        reason = f"which schema 'catalogTable' names, '{written}', is known in a run alone"
        raise NotRedirected(reason, "write the name with a variable of the pipeline, as in ${var:schema}.orders")
    name = CatalogName.parse(written)
    return str(replace(name, schema=to.name(name.schema)))
