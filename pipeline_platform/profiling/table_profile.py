"""The profile of a table, or of a step: its columns, and rules that were carried out on all of its rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pipeline_platform.config.loader import parse_pipeline
from pipeline_platform.config.partitions import Partition
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.engine.failures import error_context
from pipeline_platform.engine.validation import plan_block
from pipeline_platform.engine.validation_run import run_block
from pipeline_platform.exceptions import PipelineConfigurationException, StepLocation
from pipeline_platform.profiling.column_profile import ColumnProfile, column_profiles
from pipeline_platform.profiling.proposals import Proposal, merged, proposals
from pipeline_platform.registry import method_registry
from pipeline_platform.step_rows import step_previewed
from pipeline_platform.steps.validate import Validate

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

STEP = "table"
"""Name of the step that reads a table by its path."""
_FORMATS: Mapping[str, str] = {
    ".csv": "csv", ".json": "json", ".jsonl": "json", ".ndjson": "json", ".parquet": "parquet", ".orc": "orc",
    ".avro": "avro",
}  # fmt: skip
_LARGEST_PIPELINE = 1_000_000
FORMATS = ("delta", "parquet", "csv", "json", "orc", "avro")
"""What a table may be."""


@dataclass(frozen=True)
class TableProfile:
    """What is in a table.

    Args:
        rows: How many rows it has.
        columns: What is in its columns.
        proposals: Rules that all of its rows keep.
    """

    rows: int
    columns: Sequence[ColumnProfile]
    proposals: Sequence[Proposal]


def table_pipeline(path: str, table_format: str | None) -> PipelineConfig:
    """A pipeline whose only step reads a table.

    Args:
        path: Path or URI of a Delta table, of a file, or of a folder of files.
        table_format: What it is; None to tell by its files.

    Raises:
        PipelineConfigurationException: There is nothing at the path, it does not tell what it is, or is a pipeline.
    """
    _require_no_pipeline(path)
    kind = table_format or _format_of(path)
    method, config = ("fromDeltaLake", {}) if kind == "delta" else ("fromFiles", {"format": kind})
    if kind == "avro":
        method, config = "fromAvro", {}
    step = {"type": "extract", "name": STEP, "method": method, "config": {"path": path, **config}}
    return parse_pipeline(
        json.dumps({"name": "profile", "mode": "batch", "steps": [step]}), method_registry(), Path(path)
    )


def _require_no_pipeline(path: str) -> None:
    """Raise for what is a pipeline, and would be read as rows of JSON."""
    file = Path(path)
    if file.suffix.lower() != ".json" or not file.is_file() or file.stat().st_size > _LARGEST_PIPELINE:
        return
    try:
        written = json.loads(file.read_text())
    except (ValueError, OSError):
        return
    if isinstance(written, dict) and "steps" in cast("dict[str, Any]", written):
        raise PipelineConfigurationException(
            f"{path} is a pipeline", hint="say with --step which of its steps is looked at; 'list' has the names"
        )


def _format_of(path: str) -> str:
    known = _FORMATS.get(Path(path).suffix.lower())
    if known is not None:
        return known
    if "://" in path and not path.startswith("file:"):
        return "delta"
    place = Path(path.removeprefix("file://"))
    if not place.exists():
        raise PipelineConfigurationException(
            f"there is nothing at {path}", hint="give the path of a Delta table or of files, or a pipeline with --step"
        )
    if (place / "_delta_log").is_dir():
        return "delta"
    files = (file for file in sorted(place.rglob("*")) if file.is_file() and not file.name.startswith(("_", ".")))
    found = {_FORMATS.get(file.suffix.lower()) for file in files}
    if len(found) != 1 or None in found:
        raise PipelineConfigurationException(
            f"{path} does not tell what is in it", hint=f"say so with --format, which is one of {', '.join(FORMATS)}"
        )
    [one] = found
    assert one is not None
    return one


def table_profile(pipeline: PipelineConfig, step: str, partition: Partition | None = None) -> TableProfile:
    """Look at all rows of a step: twice for what is in them, once for the rules that they may keep.

    Args:
        pipeline: The pipeline.
        step: Name of the step.
        partition: What is loaded; of a pipeline with partitions.

    Raises:
        PipelineException: There is no such step, or it can't be read.
    """
    with step_previewed(pipeline, step, partition) as looked_at, error_context(looked_at.step, pipeline):
        columns = column_profiles(looked_at.frame, looked_at.hidden)
        kept = _kept(looked_at.frame, proposals(columns))
    return TableProfile(columns[0].rows if columns else 0, columns, merged(kept))


def _kept(frame: DataFrame, found: Sequence[Proposal]) -> list[Proposal]:
    """Those that no row breaks, as the validations themselves find out."""
    if not found:
        return []
    methods = method_registry()["validate"]
    validations: list[tuple[Step, Validate, Mapping[str, DataFrame]]] = []
    for index, proposal in enumerate(found):
        config = methods[proposal.method].model_validate(proposal.step()["config"])
        assert isinstance(config, Validate)
        location = StepLocation("profile", None, None, index, "validate", proposal.method, proposal.method)
        validations.append((Step(index, proposal.method, config, (), location), config, {}))
    result = run_block(plan_block(frame, -1, validations))
    return [one for index, one in enumerate(found) if all(not rule.violations for rule in result.rules[index])]


def as_json(profile: TableProfile) -> dict[str, Any]:
    """The profile as JSON.

    Args:
        profile: The profile.
    """
    return {
        "rows": profile.rows,
        "columns": [_column(column) for column in profile.columns],
        "proposals": [{"step": one.step(), "evidence": list(one.evidence)} for one in profile.proposals],
    }


def _column(column: ColumnProfile) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": column.name,
        "type": column.type,
        "nulls": column.nulls,
        "distinct": column.distinct,
        "hidden": column.is_hidden or None,
        "min": column.least,
        "max": column.most,
        "nans": column.nans or None,
        "lengths": list(column.lengths) if column.lengths is not None else None,
        "values": _counts(column.values),
        "shapes": _counts(column.shapes),
    }
    return {name: value for name, value in found.items() if value is not None or name == "distinct"}


def _counts(counts: Sequence[tuple[str, int]] | None) -> list[dict[str, Any]] | None:
    return [{"value": value, "rows": rows} for value, rows in counts] if counts is not None else None
