"""How OpenLineage names the tables of databases."""

from __future__ import annotations

from urllib.parse import SplitResult, unquote


def server_and_table(uri: SplitResult) -> tuple[str, str]:
    """The server, and the table with the database and schema it is in."""
    return f"{uri.scheme}://{uri.netloc}", unquote(uri.path).strip("/").replace("/", ".")
