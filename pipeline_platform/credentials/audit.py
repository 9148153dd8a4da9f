"""The audit log: one JSON line for each access to a credential, granted or not, and never a value."""

from __future__ import annotations

import getpass
import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pipeline_platform.exceptions import CredentialException, Outcome
from pipeline_platform.rotated_file import add_line

AUDIT_LOG_VARIABLE = "PIPELINE_PLATFORM_AUDIT_LOG"
DEFAULT_PATH = Path("logs/credentials.jsonl")

Source = Literal["vault", "config", "environment"]


@dataclass(frozen=True)
class Access:
    """One attempt to get a credential.

    Args:
        pipeline: Name of the pipeline.
        run: Id of the run.
        step: Asset name of the step.
        path: Where in Vault; None for another source.
        type: The `credentialType`.
        source: Where it was looked for.
        user: On whose behalf.
        outcome: What came of it.
    """

    pipeline: str
    run: str
    step: str | None
    path: str | None
    type: str
    source: Source
    user: str
    outcome: Outcome


@dataclass(frozen=True)
class AuditLog:
    """A file of JSON lines that is only added to, and rotated when it is full.

    Several processes may write to one file. What can't be audited is not handed out, as with Vault's own audit
    devices.

    Args:
        path: The file.
    """

    path: Path = DEFAULT_PATH

    @classmethod
    def from_environment(cls) -> AuditLog:
        """The file that `PIPELINE_PLATFORM_AUDIT_LOG` names, by default `logs/credentials.jsonl`."""
        return cls(Path(os.environ.get(AUDIT_LOG_VARIABLE) or DEFAULT_PATH))

    def note(self, access: Access) -> None:
        """Write a line.

        Raises:
            CredentialException: It can't be written.
        """
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        try:
            add_line(self.path, json.dumps({"time": time, **asdict(access)}), private=True)
        except OSError as error:
            raise CredentialException(
                f"can't record the access to a credential in {self.path}: {error.strerror}",
                hint=f"make the file writable, or set {AUDIT_LOG_VARIABLE} to another one",
            ) from error


def current_user() -> str:
    """Who runs this process."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        # A container may run under a number that no file gives a name.
        return str(os.getuid())
