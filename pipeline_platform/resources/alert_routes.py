"""Who is told of which alert: the routes of a file, and whom `PIPELINE_PLATFORM_ALERTS` lists for the rest."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import AfterValidator, Field, ValidationError
from pydantic_core import PydanticCustomError

from pipeline_platform.config.config_error import ConfigError, did_you_mean, refused
from pipeline_platform.config.dagster_names import dagster_owner, dagster_tag
from pipeline_platform.config.documents.document import Document, DocumentError, json_type, read_document
from pipeline_platform.config.format_errors import FormatError, format_errors
from pipeline_platform.config.step import FormatModel
from pipeline_platform.config.values import Text
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.redaction import remember_secret
from pipeline_platform.resources.alert_model import KINDS, Alert, Kind
from pipeline_platform.resources.notifiers import (
    OWNERS,
    LogNotifier,
    Recipient,
    entry_error,
    entry_hint,
    hide_entries,
    recipient,
)

ALERTS_VARIABLE = "PIPELINE_PLATFORM_ALERTS"
ROUTES_VARIABLE = "PIPELINE_PLATFORM_ALERT_ROUTES"
DEFAULT_KINDS: frozenset[Kind] = frozenset(KINDS) - {"check_warned"}
"""What a route tells that names no kinds."""
_VARIABLE = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)\}")
_WEBHOOK = re.compile(r"webhook:([^\s\"]+)")
_LOG = logging.getLogger(__name__)


def _entry(value: str) -> str:
    if (mistake := entry_error(value)) is not None:
        raise PydanticCustomError("entry", "{mistake}", {"mistake": mistake})
    return value


class Route(FormatModel):
    """Which alerts go to whom."""

    owner: Annotated[Text, AfterValidator(dagster_owner)] | None = None
    """Only what has this owner: an email address, or a team as `team:name`."""
    tag: Text | None = None
    """Only what has this Dagster tag, as `key` or `key=value`."""
    kinds: Annotated[list[Kind], Field(min_length=1)] = sorted(DEFAULT_KINDS)
    """Only these kinds; by default all but `check_warned`."""
    to: Annotated[list[Annotated[str, AfterValidator(_entry)]], Field(min_length=1)]
    """`log`, `slack:#channel`, `email:address`, `email:owners`, `webhook:URL` or a plug-in's name."""

    def takes(self, alert: Alert) -> bool:
        """Whether an alert goes this way."""
        return alert.kind in self.kinds and self._has_owner(alert) and self._has_tag(alert)

    def _has_owner(self, alert: Alert) -> bool:
        return self.owner is None or self.owner in alert.owners

    def _has_tag(self, alert: Alert) -> bool:
        if self.tag is None:
            return True
        key, has_value, value = self.tag.partition("=")
        found = alert.tags.get(key, alert.tags.get(dagster_tag(key)))
        return found is not None and (not has_value or found == value)


class Routes(FormatModel):
    """The file."""

    routes: Annotated[list[Route], Field(min_length=1)]
    """Each alert goes all ways that take it."""


@dataclass(frozen=True)
class Routing:
    """Who is told of which alert.

    Args:
        default: Who is told what no route takes.
        routes: The routes.
    """

    default: tuple[str, ...]
    routes: tuple[Route, ...] = ()
    _known: dict[str, Recipient | None] = field(default_factory=dict[str, Recipient | None], compare=False, repr=False)

    def recipients(self, alert: Alert) -> list[Recipient]:
        """Who is told of an alert, each once.

        One who can't be notified, such as for a missing token, is left out, with an error in the log. If nobody is
        left, those are told that no route is for, or else the log.

        Args:
            alert: The alert.
        """
        for entries in (self._routed(alert), self._by_default(alert)):
            found = {one.id: one for entry in _expanded(entries, alert) if (one := self._usable(entry)) is not None}
            if found:
                return list(found.values())
        return [Recipient("log", LogNotifier())] if alert.kind in DEFAULT_KINDS else []

    def unusable(self) -> Iterator[str]:
        """Why recipients can't be notified, in words, as far as that shows before there is an alert."""
        told: dict[str, None] = dict.fromkeys(self.default)
        told |= dict.fromkeys(entry for route in self.routes for entry in route.to)
        for entry in told:
            try:
                recipient(_resolved("email:nobody@example.org" if entry == f"email:{OWNERS}" else entry))
            except PipelineConfigurationException as error:
                yield str(error)

    def _usable(self, entry: str) -> Recipient | None:
        if entry not in self._known:
            try:
                self._known[entry] = recipient(_resolved(entry))
            except PipelineConfigurationException as error:
                _LOG.error("a recipient of alerts can't be notified: %s", error)
                self._known[entry] = None
        return self._known[entry]

    def _routed(self, alert: Alert) -> Iterable[str]:
        return (entry for route in self.routes if route.takes(alert) for entry in route.to)

    def _by_default(self, alert: Alert) -> Iterable[str]:
        return self.default if alert.kind in DEFAULT_KINDS else ()


def routing_from_environment() -> Routing:
    """The routes of the file that `PIPELINE_PLATFORM_ALERT_ROUTES` names, and `PIPELINE_PLATFORM_ALERTS` for the rest.

    The latter lists recipients with commas between them, and is `log` by default.

    Raises:
        PipelineConfigurationException: Either is not right; with one problem for each mistake in the file.
    """
    file = os.environ.get(ROUTES_VARIABLE)
    return Routing(_listed(), read_routes(Path(file)) if file else ())


def default_routing() -> Routing:
    """What `PIPELINE_PLATFORM_ALERTS` lists, for everything: for when the routes can't be read.

    Raises:
        PipelineConfigurationException: It is not right.
    """
    return Routing(_listed())


def _listed() -> tuple[str, ...]:
    listed = [entry.strip() for entry in (os.environ.get(ALERTS_VARIABLE) or "log").split(",") if entry.strip()]
    hide_entries(listed)
    for entry in listed:
        if (mistake := entry_error(entry)) is not None:
            raise PipelineConfigurationException(f"{mistake}, in {ALERTS_VARIABLE}", hint=entry_hint(entry))
    return tuple(listed)


def read_routes(path: Path) -> tuple[Route, ...]:
    """Read a file of routes.

    Args:
        path: The file.

    Raises:
        PipelineConfigurationException: It can't be read or is not right; with one problem for each mistake in it.
    """
    try:
        document = read_document(path)
    except DocumentError as error:
        _hide_webhooks(error.problem.source_line or "")
        raise _refused([error.problem]) from None
    _hide_webhooks(document.text)
    hide_entries(_texts(document.value))
    if json_type(document.value) != "an object":
        raise _refused([document.problem((), f"expected an object with 'routes', not {json_type(document.value)}")])
    if document.problems:
        raise _refused(document.problems)
    try:
        return tuple(Routes.model_validate(document.value).routes)
    except ValidationError as error:
        raise _refused([_problem(document, mistake) for mistake in format_errors(error)]) from None


def _problem(document: Document, mistake: FormatError) -> ConfigError:
    hint = None
    if mistake.kind == "unknown":
        model = Route if len(mistake.keys) > 1 else Routes
        hint = did_you_mean(str((*mistake.keys,)[-1]), model.model_fields)
    elif mistake.kind == "missing":
        hint = f"expected {', '.join(Route.model_fields)}" if len(mistake.keys) > 1 else None
    written = document.at(mistake.keys)
    if isinstance(written, str) and mistake.allowed:
        hint = did_you_mean(written, mistake.allowed)
    elif isinstance(written, str) and "to" in mistake.keys:
        hint = entry_hint(written)
    return document.problem(mistake.keys, mistake.message, on_key=mistake.kind == "unknown", hint=hint)


def _refused(problems: Sequence[ConfigError]) -> PipelineConfigurationException:
    return refused(problems, hint=f"mend the file that {ROUTES_VARIABLE} names")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        items = cast("list[Any] | dict[str, Any]", value)
        for item in items if isinstance(items, list) else items.values():
            yield from _texts(item)


def _hide_webhooks(text: str) -> None:
    """Keep the addresses in a file from being shown with an error, even if it is not JSON."""
    for url in _WEBHOOK.findall(text):
        if not _VARIABLE.search(url):
            remember_secret(url)


def _expanded(entries: Iterable[str], alert: Alert) -> Iterator[str]:
    """Each once; the owners in place of `owners`, as far as they have an address."""
    found: dict[str, None] = {}
    for entry in entries:
        addresses = [f"email:{owner}" for owner in alert.owners if "@" in owner]
        found |= dict.fromkeys(addresses if entry == f"email:{OWNERS}" else [entry])
    yield from found


def _resolved(entry: str) -> str:
    """The entry with its variables replaced; their values are never shown.

    Raises:
        PipelineConfigurationException: One is not set, or the entry is not right with its value.
    """
    names = _VARIABLE.findall(entry)
    if not names:
        return entry
    for name in names:
        if not os.environ.get(name):
            raise PipelineConfigurationException(f"the environment variable {name} of '{entry}' is not set")
        remember_secret(os.environ[name])
    resolved = _VARIABLE.sub(lambda match: os.environ[match[1]], entry)
    if (mistake := entry_error(resolved)) is not None:
        raise PipelineConfigurationException(f"'{entry}' is not right with the value of its variable: {mistake}")
    return resolved
