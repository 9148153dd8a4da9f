"""The sensor that asks databases for the items of files whose `forEach` is a query."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import closing
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import dagster as dg

from pipeline_platform.config.loader import load_items_query
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.exceptions import PipelineConfigurationException, PipelineException
from pipeline_platform.orchestration.items import Item, Refreshed, query_location, refresh_items
from pipeline_platform.orchestration.project import pipeline_files
from pipeline_platform.redaction import redact
from pipeline_platform.registry import method_registry
from pipeline_platform.resources.vault import VaultResource

SENSOR = "items"
SECONDS_VARIABLE = "PIPELINE_PLATFORM_REFRESH_SECONDS"
"""How often the databases are asked; without it there is no sensor."""
WEBSERVER_VARIABLE = "PIPELINE_PLATFORM_WEBSERVER"
"""The URL of Dagster's webserver, which is asked to reload the code location."""
_AT_ONCE = 32
_RELOAD_SECONDS = 20
_ANSWER_SECONDS = 30.0
"""Together with the reload less than the minute that Dagster gives a tick."""


def refresh_seconds() -> int | None:
    """How often the items are refreshed; None for never.

    Raises:
        PipelineConfigurationException: The variable is no number of seconds.
    """
    said = os.environ.get(SECONDS_VARIABLE, "").strip()
    if not said:
        return None
    if not said.isdecimal() or int(said) == 0:
        raise PipelineConfigurationException(
            f"{SECONDS_VARIABLE} is '{said}', and no number of seconds", hint="set it to one such as 600"
        )
    return int(said)


def webserver_url() -> str | None:
    """The URL of the webserver that is asked to reload; None for none.

    Raises:
        PipelineConfigurationException: The variable is no URL of one, or has a login, which Dagster's client can't use.
    """
    said = os.environ.get(WEBSERVER_VARIABLE, "").strip()
    if not said:
        return None
    place = urlsplit(said)
    if place.scheme not in ("http", "https") or not place.hostname:
        raise PipelineConfigurationException(
            f"{WEBSERVER_VARIABLE} is no URL of a webserver: {redact(said)}",
            hint="set it to one such as http://localhost:3000",
        )
    if place.username is not None:
        raise PipelineConfigurationException(
            f"{WEBSERVER_VARIABLE} has a login, which can't be used", hint="give the URL without it"
        )
    return said


def items_sensor(
    folder: Path, pipelines: Sequence[PipelineConfig], seconds: int, part: str = ""
) -> dg.SensorDefinition:
    """A sensor, on by default, that refreshes the items of a folder, and has Dagster load what has changed.

    Args:
        folder: Of the pipelines.
        pipelines: Those that are loaded.
        seconds: How often.
        part: What its name ends with.

    Raises:
        PipelineConfigurationException: As `webserver_url`.
    """
    webserver = webserver_url()
    loaded: dict[Path, list[Item]] = {}
    for pipeline in pipelines:
        if pipeline.item is not None and pipeline.file is not None:
            loaded.setdefault(pipeline.file, []).append(dict(pipeline.item.given))

    @dg.sensor(  # pyright: ignore[reportUnknownMemberType]
        name=f"{SENSOR}{part}",
        minimum_interval_seconds=seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Asks databases which items the files with a query for 'forEach' have, and keeps the answer.",
    )
    def ask(context: dg.SensorEvaluationContext, vault: VaultResource) -> dg.SensorResult:
        told: list[str] = []
        files = pipeline_files(folder)
        pool, until = ThreadPoolExecutor(_AT_ONCE), time.monotonic() + _ANSWER_SECONDS
        asked = [pool.submit(_refreshed, file, vault) for file in files]
        waiting: dict[str, str] = {}
        for file, answer in zip(files, asked, strict=True):
            try:
                refreshed = answer.result(max(0.0, until - time.monotonic()))
            except FutureTimeoutError:
                told.append(f"{file}: no answer after {_ANSWER_SECONDS:g} seconds, the items stay as they are")
                context.log.error(told[-1])
                continue
            # One database that is away keeps no other from being asked; the items of its file stay.
            except Exception as error:  # noqa: BLE001
                message = redact(" ".join(str(error).split()))
                context.log.error(f"the items of {file} stay as they are: {message}")
                told.append(f"{file}: {message}")
                continue
            if refreshed is None:
                continue
            if refreshed.is_other:
                context.log.info(str(refreshed))
                told.append(str(refreshed))
            if _sorted(refreshed.items) != _sorted(loaded.get(file, [])):
                waiting[str(file)] = hashlib.sha256(json.dumps(refreshed.items).encode()).hexdigest()[:16]
        # Who has not answered is waited for no longer than a tick may take.
        pool.shutdown(wait=False, cancel_futures=True)
        cursor = json.dumps(waiting, sort_keys=True)
        if waiting and not _is_loaded_anew(context, webserver, cursor, ", ".join(waiting), told):
            cursor = json.dumps({})
        return dg.SensorResult(skip_reason="\n".join(told) or "nothing has changed", cursor=cursor)

    return ask


def _sorted(items: Sequence[Mapping[str, Any]]) -> list[str]:
    return sorted(json.dumps(item, sort_keys=True) for item in items)


def _refreshed(file: Path, vault: VaultResource) -> Refreshed | None:
    methods = method_registry()
    try:
        query = load_items_query(file, methods)
    except PipelineConfigurationException:
        # That the file is broken, its asset says.
        return None
    if query is None:
        return None
    with closing(vault.run_credentials("sensor", query_location(file, query))) as credentials:
        return refresh_items(file, query, methods, credentials)


def _is_loaded_anew(
    context: dg.SensorEvaluationContext, url: str | None, waiting: str, files: str, told: list[str]
) -> bool:
    """Have the code location reloaded, once for each state of the items; whether it was asked to."""
    changed = f"the code location was loaded before the items of {files} changed"
    if url is None:
        told.append(f"{changed}: reload it, or set {WEBSERVER_VARIABLE} to have it reloaded")
        return False
    if context.cursor == waiting:
        told.append(f"{changed}; it was reloaded since, and still has others: the UI says why, under Deployment")
        return True
    origin = context.code_location_origin
    try:
        reload_location(url, origin.location_name if origin is not None else "")
    # Whatever the webserver, or what is between, answers: the next tick asks again.
    except Exception as error:  # noqa: BLE001
        # Of what its client raises, the text is the query.
        cause = " ".join(str(error.__cause__ or error).split())
        message = f"{changed}, and {url} can't be asked to reload it: {redact(cause)}"
        context.log.error(message)
        told.append(message)
        return False
    told.append(f"{changed}, and was reloaded")
    return True


def reload_location(url: str, name: str) -> None:
    """Ask a webserver of Dagster to reload a code location.

    Args:
        url: Of the webserver.
        name: Of the code location.

    Raises:
        PipelineException: It can't.
    """
    from dagster_graphql import DagsterGraphQLClient, ReloadRepositoryLocationStatus

    place = urlsplit(url)
    client = DagsterGraphQLClient(
        cast("str", place.hostname),
        port_number=place.port,
        use_https=place.scheme == "https",
        timeout=_RELOAD_SECONDS,
        path_prefix=place.path.rstrip("/"),
    )
    answer = client.reload_repository_location(name)
    if answer.status is not ReloadRepositoryLocationStatus.SUCCESS:
        raise PipelineException(f"{answer.failure_type}: {answer.message}")
