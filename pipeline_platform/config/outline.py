"""What can be told of the pipelines of a file that has mistakes: their names and those of their steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from pipeline_platform.config.config_reference import References
from pipeline_platform.config.documents.document import Document, DocumentError, parse_document, read_document
from pipeline_platform.config.for_each import for_each_of
from pipeline_platform.config.for_each_item import Item
from pipeline_platform.config.graph import Draft, step_names
from pipeline_platform.config.method_registry import Methods
from pipeline_platform.config.partitions import Partitions
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.reader import Reader
from pipeline_platform.config.shared_files import SharedFiles
from pipeline_platform.config.step import STEP_TYPES, StepType


@dataclass(frozen=True)
class StepOutline:
    """A step of a pipeline that is not loaded.

    Args:
        name: Its name.
        type: What it is, or probably was to be.
        method: Its method; there may be none of that name.
    """

    name: str
    type: StepType
    method: str


@dataclass(frozen=True)
class Outline:
    """A pipeline that is not loaded.

    Args:
        name: Its name; that of the file if there is no other.
        steps: Its steps, as far as they can be told.
        partitions: Its partitions, if they are right.
    """

    name: str
    steps: tuple[StepOutline, ...]
    partitions: Partitions | None = None


def outline_of(pipeline: PipelineConfig) -> Outline:
    """The outline of a pipeline that is right by itself.

    Args:
        pipeline: The pipeline.
    """
    steps = tuple(StepOutline(step.name, step.type, step.config.method) for step in pipeline.steps)
    return Outline(pipeline.name, steps, pipeline.partitions)


def read_outlines(path: Path, shared: SharedFiles) -> tuple[Outline, ...]:
    """The pipelines of a file that has mistakes, be it that it is no JSON.

    Args:
        path: The file.
        shared: What the files of a project share.
    """
    try:
        document = _document(path)
        for_each = for_each_of(shared.defaults.of(path).below(document), shared.project)
        items: Sequence[Item | None] = [None] if for_each is None else for_each.items
        return tuple(found for item in items if (found := _outline(document, shared, item)) is not None)
    # Something is wrong with the file, or with a plug-in; that has been told, and this is a help.
    except Exception:  # noqa: BLE001
        return ()


def _document(path: Path) -> Document:
    try:
        return read_document(path)
    except DocumentError:
        # Only they need it.
        import json_repair

        repaired = json_repair.repair_json(path.read_text("utf-8", errors="replace"))
        return parse_document(repaired, path)


def _outline(document: Document, shared: SharedFiles, item: Item | None) -> Outline | None:
    found = _outside(document, shared, item)
    environment = shared.chosen.environment
    to = environment.redirection if environment is not None else None
    return replace(found, name=to.name(found.name)) if found is not None and to is not None else found


def _outside(document: Document, shared: SharedFiles, item: Item | None) -> Outline | None:
    reader = Reader(document, shared, References(shared.project), {}, item)
    pipeline = reader.read()
    if pipeline is not None:
        return outline_of(pipeline)
    value = cast("dict[str, Any]", reader.root.value) if isinstance(reader.root.value, dict) else {}
    name = item.name if item is not None else value.get("name")
    steps = tuple(
        StepOutline(name, draft.type or _probable_type(draft, shared.methods), draft.method)
        for draft, name in zip(reader.drafts, step_names(reader.drafts), strict=True)
        if name is not None and draft.method is not None
    )
    return Outline(name if isinstance(name, str) and name else document.path.stem, steps, _partitions(value))


def _probable_type(draft: Draft, methods: Methods) -> StepType:
    method = draft.method or ""
    for step_type in STEP_TYPES:
        if method in methods[step_type]:
            return step_type
    if method.startswith("from"):
        return "extract"
    return "load" if method.startswith("to") else "transform"


def _partitions(value: dict[str, Any]) -> Partitions | None:
    try:
        return Partitions.model_validate(value["partitions"])
    except (KeyError, ValueError):
        return None
