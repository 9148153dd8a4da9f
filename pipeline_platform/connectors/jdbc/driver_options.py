"""The options by which Spark enters a database: a JDBC URL that has the driver's properties in it.

Over Spark Connect the names of a reader's options arrive in lower case. Drivers ignore a property whose name they don't
know, so that it would be lost in silence; a URL arrives as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from pipeline_platform.connectors.jdbc.credentials import JdbcCredentials
from pipeline_platform.redaction import looks_secret


def driver_options(
    protocol: str, driver: str, credentials: JdbcCredentials, properties: Mapping[str, str]
) -> dict[str, str]:
    """Options of Spark's JDBC reader and writer.

    Args:
        protocol: Of the URL, as the driver knows it.
        driver: The driver's class.
        credentials: Where the database is, and the user.
        properties: Of the driver.
    """
    host = credentials.host
    server = f"[{host}]" if ":" in host else host
    # Spark and the platform redact a URL too, but it is what a driver repeats where it can't be parsed.
    secrets = {name: value for name, value in properties.items() if looks_secret(name) and name == name.lower()}
    query = "&".join(
        f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in properties.items() if name not in secrets
    )
    return {
        **secrets,
        "url": f"jdbc:{protocol}://{server}:{credentials.port}/{quote(credentials.database, safe='')}?{query}",
        "driver": driver,
        "user": credentials.username,
        "password": credentials.password.get_secret_value(),
    }
