"""What can go wrong, as types: every error names the pipeline, the step and the line it comes from."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline_platform.redaction import MASK, redact, redact_config

_LONG = 64


@dataclass(frozen=True)
class StepLocation:
    """Where in a project an error belongs.

    Args:
        pipeline: Name of the pipeline.
        file: The JSON file; None for a pipeline that was not read from one.
        line: Line of the step in that file, counted from 1.
        step_index: Position in `steps`, counted from 0, told from 1; None for the pipeline as a whole.
        step_type: `extract`, `transform`, `validate` or `load`.
        method: The step's method.
        step: The step's asset name.
    """

    pipeline: str
    file: Path | None = None
    line: int | None = None
    step_index: int | None = None
    step_type: str | None = None
    method: str | None = None
    step: str | None = None

    def __str__(self) -> str:
        place = f"pipeline '{self.pipeline}'"
        if self.step_index is not None:
            place += f", step {self.step_index + 1} ({self.step_type} {self.method})"
        if self.file is not None:
            place += f", {self.file}" + (f":{self.line}" if self.line is not None else "")
        return place


class PipelineException(Exception):
    """Base of every error this package raises on purpose.

    Args:
        message: What happened and what was expected; redacted before it is kept.
        location: Pipeline, step and line; may be added later with `at`.
        config: The step's config, kept without its secrets.
        hint: What to do next, in a sentence; redacted.
        retryable: Whether the same run may succeed when it is tried again unchanged.
    """

    def __init__(
        self,
        message: str,
        *,
        location: StepLocation | None = None,
        config: Mapping[str, Any] | None = None,
        hint: str | None = None,
        retryable: bool = False,
    ) -> None:
        super().__init__(redact(message))
        self.message = redact(message)
        self.location = location
        self.config = redact_config(config or {})
        self.hint = redact(hint) if hint is not None else None
        self.hidden_values: tuple[str, ...] = ()
        self.retryable = retryable
        self.is_maintenance = False
        """Whether it failed only because a table was maintained meanwhile, so that it is to be tried again at once."""

    def locate(self, location: StepLocation, config: Mapping[str, Any] | None = None) -> PipelineException:
        """Add where it happened, unless that is known already, and return the exception itself."""
        if self.location is None:
            self.location = location
        if config and not self.config:
            self.config = redact_config(config)
        return self

    def __str__(self) -> str:
        text = f"{self.location}: {self.message}" if self.location else self.message
        return f"{text}\n  next: {self.hint}" if self.hint else text

    def hide(self, values: Sequence[str]) -> None:
        """Have no text of it tell these values, nor the text of its cause.

        Args:
            values: Of which none is a part of one that comes after it.
        """
        self.hidden_values = tuple(values)
        self.message = self._without_hidden(self.message)
        self.args = (self.message,)

    def _without_hidden(self, text: str) -> str:
        for value in self.hidden_values:
            if len(value) > _LONG and (place := text.find(value[:_LONG])) >= 0 and value not in text:
                # A text that is too long to be told is cut, within the value.
                text = text[:place] + MASK
            text = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", MASK, text)
        return text

    def cause_text(self) -> str | None:
        """What the system said that failed, at length and redacted; None if there is no such cause."""
        if self.__cause__ is None:
            return None
        try:
            return self._without_hidden(redact(str(self.__cause__)))
        except Exception:  # noqa: BLE001 - py4j asks the JVM for the text, which may be gone by now.
            return type(self.__cause__).__name__


class PipelineConfigurationException(PipelineException):
    """A pipeline file, a step or a setting is not what the format allows.

    `problems` holds one rendered entry for each mistake in the file.
    """

    def __init__(self, message: str, *, problems: Sequence[Any] = (), **context: Any) -> None:
        super().__init__(message, **context)
        self.problems = tuple(problems)


class PipelineExecutionException(PipelineException):
    """A step failed while it was planned or run."""


class DataFrameResolutionException(PipelineException):
    """A step asks for a frame that no step before it registered."""

    def __init__(self, name: str, available: Sequence[str], **context: Any) -> None:
        names = ", ".join(sorted(available)) or "none"
        super().__init__(f"there is no registered frame '{name}'; registered so far: {names}", **context)
        self.name = name
        self.available = tuple(available)


class ValidationException(PipelineException):
    """Rows broke a rule whose `onFailure` is `fail`.

    Args:
        rule: The first rule that failed.
        violations: Rows that broke it.
        rows: Rows looked at.
        samples: A few violating rows, without the columns marked sensitive.
    """

    def __init__(
        self,
        message: str,
        *,
        rule: str,
        violations: int,
        rows: int,
        samples: Sequence[Mapping[str, Any]] = (),
        **context: Any,
    ) -> None:
        super().__init__(message, **context)
        self.rule = rule
        self.violations = violations
        self.rows = rows
        self.samples = tuple(samples)


Outcome = Literal[
    "granted",
    "refused",
    "incomplete",
    "forbidden",
    "not found",
    "token expired",
    "sealed",
    "unreachable",
]
"""What came of asking for a credential."""


class CredentialException(PipelineException):
    """A credential is missing, incomplete or refused; never carries its value.

    Args:
        message: What happened.
        path: Where in Vault it was looked for.
        credential_type: Its `credentialType`.
        outcome: What went wrong: `sealed` and `unreachable` pass by themselves and are tried again.
        retryable: Where that does not hold.
    """

    def __init__(
        self,
        message: str,
        *,
        path: str | None = None,
        credential_type: str | None = None,
        outcome: Outcome = "incomplete",
        retryable: bool | None = None,
        **context: Any,
    ) -> None:
        passes = outcome in ("sealed", "unreachable")
        super().__init__(message, retryable=passes if retryable is None else retryable, **context)
        self.path = path
        self.credential_type = credential_type
        self.outcome: Outcome = outcome


class StreamingQueryException(PipelineException):
    """A stream ended with an error.

    Args:
        message: What happened.
        query_name: Name of the query.
        query_id: Names its checkpoint, through all restarts.
        batch: The last micro-batch that was told of; None if there was none since the start.
    """

    def __init__(
        self, message: str, *, query_name: str, query_id: str, batch: int | None = None, **context: Any
    ) -> None:
        super().__init__(message, **context)
        self.query_name = query_name
        self.query_id = query_id
        self.batch = batch


class PipelineCancelledException(PipelineException):
    """The run was stopped by a person or by the system; never retried."""
