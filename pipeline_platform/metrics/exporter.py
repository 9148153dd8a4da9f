"""Where the record of a run goes: what an exporter is, and which ones the environment asks for."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.extras import Extra
from pipeline_platform.metrics.run import RunMetrics
from pipeline_platform.redaction import redact

METRICS_VARIABLE = "PIPELINE_PLATFORM_METRICS"
OPENLINEAGE_EXTRA = Extra("openlineage", f"'openlineage' in {METRICS_VARIABLE}", ("openlineage.client",))
_KINDS = "log, jsonl:FILE, textfile:FOLDER, pushgateway:URL, openlineage"
_LOG = logging.getLogger(__name__)


class Exporter(Protocol):
    """Hands the record of a run on."""

    def export(self, run: RunMetrics) -> None:
        """Hand it on; called when the run begins, with the status RUNNING, and when it has ended."""
        ...


def export_to_all(exporters: Sequence[Exporter], run: RunMetrics) -> None:
    """Hand a record to every exporter; one that fails is warned of, and neither the run nor the others notice.

    Args:
        exporters: All that were asked for.
        run: The record.
    """
    for exporter in exporters:
        try:
            exporter.export(run)
        except Exception as error:  # noqa: BLE001 - whatever an exporter fails at, it must not be the run's failure.
            _LOG.warning("%s: the metrics of a run can't be exported: %s", type(exporter).__name__, redact(str(error)))


def exporters_from_environment() -> list[Exporter]:
    """Those that `PIPELINE_PLATFORM_METRICS` lists, with commas between them; none if it is not set.

    `log`, `jsonl:FILE`, `textfile:FOLDER` (of Prometheus's node exporter), `pushgateway:URL`, and `openlineage`, which
    `OPENLINEAGE_URL` or an `openlineage.yml` says where to send.

    Raises:
        PipelineConfigurationException: It lists something else, or one whose packages are not installed.
    """
    listed = os.environ.get(METRICS_VARIABLE, "").split(",")
    return [_exporter(entry.strip()) for entry in listed if entry.strip()]


def _exporter(entry: str) -> Exporter:
    kind, _, place = entry.partition(":")
    match kind, bool(place):
        case "log", False:
            from pipeline_platform.metrics.log import LogExporter

            return LogExporter()
        case "jsonl", True:
            from pipeline_platform.metrics.json_lines import JsonLinesExporter

            return JsonLinesExporter(Path(place))
        case "textfile", True:
            from pipeline_platform.metrics.prometheus import TextfileExporter

            return TextfileExporter(Path(place))
        case "pushgateway", True:
            from pipeline_platform.metrics.prometheus import PushgatewayExporter

            return PushgatewayExporter(place)
        case "openlineage", False:
            OPENLINEAGE_EXTRA.require()
            from pipeline_platform.metrics.openlineage import OpenLineageExporter

            return OpenLineageExporter()
        case _:
            raise PipelineConfigurationException(
                f"'{redact(entry)}' in {METRICS_VARIABLE} is not an exporter", hint=f"valid: {_KINDS}"
            )
