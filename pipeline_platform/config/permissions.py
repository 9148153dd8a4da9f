"""What a pipeline may do only where the deployment says so, as it could take over the process that runs it."""

from __future__ import annotations

import os
from typing import Literal, get_args

from pipeline_platform.config.config_error import did_you_mean

ALLOW_VARIABLE = "PIPELINE_PLATFORM_ALLOW"

Permission = Literal["sql-code", "sql-tables", "spark-code", "platform-variables"]
"""`sql-code`: SQL functions and clauses that run Java methods and programs. `sql-tables`: SQL that reads tables and
files which no step has registered. `spark-code`: `sparkConf` keys that load code or show secrets.
`platform-variables`: `${env:…}` of the platform's own credentials."""

PERMISSIONS: tuple[Permission, ...] = get_args(Permission)


def is_allowed(permission: Permission) -> bool:
    """Whether `PIPELINE_PLATFORM_ALLOW` lists it."""
    return permission in _listed()


def how_to_allow(permission: Permission) -> str:
    """What a person may do about it, as the end of a message."""
    return f"whoever runs pipelines may allow it with {ALLOW_VARIABLE}={permission}"


def allow_mistake() -> str | None:
    """What is wrong with the variable; None when it is right."""
    for name in _listed():
        if name not in PERMISSIONS:
            hint = did_you_mean(name, PERMISSIONS)
            return f"the environment variable {ALLOW_VARIABLE} lists '{name}', which can't be allowed ({hint})"
    return None


def _listed() -> list[str]:
    return [name.strip() for name in os.environ.get(ALLOW_VARIABLE, "").split(",") if name.strip()]
