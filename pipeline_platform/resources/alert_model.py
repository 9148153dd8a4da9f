"""What tells a person that something needs them: an alert, and what sends one."""

from __future__ import annotations

import os
from datetime import datetime
from typing import Literal, Protocol, get_args

from pydantic import BaseModel, ConfigDict

from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.redaction import redact

Kind = Literal["run_failed", "stream_given_up", "check_failed", "check_warned", "freshness_missed", "late_rows"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_TITLES: dict[Kind, str] = {
    "run_failed": "run failed",
    "stream_given_up": "stream given up",
    "check_failed": "check failed",
    "check_warned": "check warned",
    "freshness_missed": "not fresh",
    "late_rows": "rows left out",
}


class Alert(BaseModel):
    """Something that needs a person."""

    model_config = ConfigDict(frozen=True)

    kind: Kind
    pipeline: str
    """Name of the pipeline; of an asset that no pipeline makes, its key."""
    run_id: str | None
    at: datetime
    text: str
    """What happened and what to do next."""
    owners: tuple[str, ...] = ()
    """Email addresses and `team:name`, as Dagster has them."""
    tags: dict[str, str] = {}
    """Dagster's tags of the assets."""
    assets: tuple[str, ...] = ()
    """Keys of the assets, with slashes."""
    url: str | None = None
    """Where Dagster shows it, if its address is known."""

    @property
    def title(self) -> str:
        """Pipeline and kind, in a few words."""
        return f"{self.pipeline}: {_TITLES[self.kind]}"

    def redacted(self) -> Alert:
        """The same alert without secrets in its text."""
        return self.model_copy(update={"text": redact(self.text)})


class Notifier(Protocol):
    """Tells somebody."""

    def notify(self, alert: Alert) -> None:
        """Send the alert; raises whatever keeps it from being sent."""
        ...


def environment_setting(name: str, needed_for: str, example: str) -> str:
    """The value of a variable that a notifier can't do without.

    Args:
        name: Of the variable.
        needed_for: What it is needed for.
        example: What it may look like.

    Raises:
        PipelineConfigurationException: It is not set.
    """
    if value := os.environ.get(name):
        return value
    raise PipelineConfigurationException(
        f"{needed_for} needs the environment variable {name}, which is not set", hint=f"set it, such as {example}"
    )
