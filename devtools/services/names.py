"""Names, users and passwords of the services, as `docker/services.env` has them for every way of starting them."""

from __future__ import annotations

from pathlib import Path

DOCKER = Path(__file__).parents[2] / "docker"


def names() -> dict[str, str]:
    """The variables of `docker/services.env`."""
    lines = (DOCKER / "services.env").read_text().splitlines()
    pairs = (line.split("=", 1) for line in lines if line and not line.startswith("#"))
    return {key: value.strip("'") for key, value in pairs}
