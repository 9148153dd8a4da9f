"""Reads pipeline files: one pass reports every mistake in a file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from pipeline_platform.config.config_error import ConfigError, in_order, refused
from pipeline_platform.config.config_reference import References
from pipeline_platform.config.defaults import DEFAULTS_FILE, Defaults
from pipeline_platform.config.documents.document import (
    Document,
    DocumentError,
    SourcePosition,
    parse_document,
    read_document,
)
from pipeline_platform.config.environments import ENVIRONMENTS_FILE, ChosenEnvironment
from pipeline_platform.config.for_each import for_each_of, merged, without_variables
from pipeline_platform.config.for_each_query import ItemsQuery, items_query
from pipeline_platform.config.in_environment import in_environment
from pipeline_platform.config.method_registry import MethodRegistry, Methods
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.production import Production
from pipeline_platform.config.reader import Reader
from pipeline_platform.config.shared_files import SharedFiles
from pipeline_platform.config.variables import Variable, VariableValue, declared_variables
from pipeline_platform.exceptions import PipelineConfigurationException


def load_pipeline(
    path: Path,
    registry: Methods,
    project: Path | None = None,
    values: Mapping[str, VariableValue] | None = None,
    shared: SharedFiles | None = None,
) -> PipelineConfig:
    """Read a pipeline file.

    Args:
        path: The JSON file.
        registry: The methods a step may name.
        project: Folder that a `configRef` must not leave; the file's own folder's parent by default, so
            that `pipelines/x.json` may refer to `../shared/y.json`.
        values: What its variables are to stand for; their defaults for those that are left out. Of the pipelines of a
            file with `forEach`, those of the items choose one.
        shared: What the files of a project share, for those who read several of them.

    Raises:
        PipelineConfigurationException: With one problem for each mistake in the file, or if the values don't choose
            one of its pipelines.
    """
    return _only(_parsed(path), shared or SharedFiles.of(registry, _folder(path, project)), values or {})


def load_pipelines(
    path: Path,
    registry: Methods,
    project: Path | None = None,
    values: Mapping[str, VariableValue] | None = None,
    shared: SharedFiles | None = None,
) -> list[PipelineConfig]:
    """Read all pipelines of a file: one, or with `forEach` one for each item.

    Args:
        path: The JSON file.
        registry: The methods a step may name.
        project: As in `load_pipeline`.
        values: As in `load_pipeline`; only the pipelines whose items have these values are read.
        shared: What the files of a project share, for those who read several of them.

    Raises:
        PipelineConfigurationException: With one problem for each mistake in the file, or if no item has these values.
    """
    return _all(_parsed(path), shared or SharedFiles.of(registry, _folder(path, project)), values or {})


def parse_pipeline(
    text: str,
    registry: Methods,
    path: Path = Path("pipeline.json"),
    values: Mapping[str, VariableValue] | None = None,
) -> PipelineConfig:
    """Read a pipeline from text, as in no environment; `path` is named in errors, and a `configRef` starts from it.

    Raises:
        PipelineConfigurationException: As `load_pipeline`.
    """
    return _only(_parsed(path, text), _of_text(registry, path), values or {})


def parse_pipelines(
    text: str,
    registry: Methods,
    path: Path = Path("pipeline.json"),
    values: Mapping[str, VariableValue] | None = None,
) -> list[PipelineConfig]:
    """Read all pipelines of a file from text, as `parse_pipeline` reads one.

    Raises:
        PipelineConfigurationException: As `load_pipelines`.
    """
    return _all(_parsed(path, text), _of_text(registry, path), values or {})


def load_items_query(path: Path, registry: MethodRegistry, project: Path | None = None) -> ItemsQuery | None:
    """The query that a file's `forEach` asks for its items; None if it has none.

    Args:
        path: The JSON file.
        registry: The methods there are.
        project: As in `load_pipeline`.

    Raises:
        PipelineConfigurationException: It can't be read.
    """
    document = _parsed(path)
    query, problems = items_query(document, Defaults(registry, _folder(path, project)))
    if problems:
        raise _refused(path, problems)
    return query


def require_items(
    path: Path, registry: Methods, items: Sequence[Mapping[str, VariableValue]], project: Path | None = None
) -> None:
    """Require that a file makes a pipeline of each of these items.

    Args:
        path: The JSON file.
        registry: The methods a step may name.
        items: Of its `forEach`.
        project: As in `load_pipeline`.

    Raises:
        PipelineConfigurationException: With the mistakes, at no line of the file.
    """
    value = cast("dict[str, Any]", _parsed(path).value)
    others = {key: part for key, part in value.items() if key not in ("forEach", "for_each")}
    text = json.dumps({**others, "forEach": list(items)})
    try:
        _all(parse_document(text, path), SharedFiles.outside_environments(registry, _folder(path, project)), {})
    except PipelineConfigurationException as error:
        told = "; ".join(dict.fromkeys(problem.message for problem in error.problems))
        raise PipelineConfigurationException(
            f"the answer makes no right pipelines: {told}", hint="change the query, or the file"
        ) from None


def variables_of(path: Path) -> Mapping[str, Variable]:
    """The variables that a file declares; none of a file that can't be read.

    Args:
        path: The JSON file.
    """
    try:
        value = read_document(path).value
    except DocumentError:
        return {}
    return declared_variables(cast("dict[str, Any]", value).get("variables")) if isinstance(value, dict) else {}


def _parsed(path: Path, text: str | None = None) -> Document:
    try:
        return read_document(path) if text is None else parse_document(text, path)
    except DocumentError as error:
        raise _refused(path, [error.problem]) from error


def _of_text(registry: Methods, path: Path) -> SharedFiles:
    return SharedFiles.outside_environments(registry, path.absolute().parent)


def _folder(path: Path, project: Path | None) -> Path:
    return (project or path.absolute().parent.parent).resolve()


def _only(document: Document, shared: SharedFiles, values: Mapping[str, VariableValue]) -> PipelineConfig:
    [pipeline] = _all(document, shared, values, only_one=True)
    return pipeline


def _all(
    document: Document,
    shared: SharedFiles,
    values: Mapping[str, VariableValue],
    *,
    only_one: bool = False,
) -> list[PipelineConfig]:
    path, references = document.path, References(shared.project)
    if path.name == ENVIRONMENTS_FILE:
        message = "this file has the environments of a project, and is no pipeline"
        hint = "it belongs into the folder above that of the pipelines"
        raise _refused(path, [SourcePosition(document).problem(message, hint=hint)])
    if path.name == DEFAULTS_FILE:
        message = "this file has the defaults of the pipelines in its folder, and is no pipeline itself"
        raise _refused(path, [SourcePosition(document).problem(message, hint="a pipeline needs another file name")])
    for_each = for_each_of(shared.defaults.of(path).below(document), shared.project)
    if for_each is None:
        reader = Reader(document, shared, references, values)
        pipeline = _in_environment(reader, shared)
        if pipeline is None:
            raise _refused(path, reader.problems)
        return [pipeline]
    _, wrong = items_query(document, shared.defaults)
    for_each = replace(for_each, problems=list(dict.fromkeys([*for_each.problems, *wrong])))
    if not for_each.items:
        reader = Reader(document, shared, references, {}, for_each.stand_in)
        reader.read()
        raise _refused(path, merged(for_each.problems, [(path.stem, without_variables(reader.problems))]))
    chosen = for_each.items if for_each.problems else for_each.chosen(values)
    if not for_each.problems and (not chosen or (only_one and len(chosen) > 1)):
        raise _refused(path, [for_each.not_one(values)])
    pipelines: list[PipelineConfig] = []
    problems: list[tuple[str, list[ConfigError]]] = []
    for item in chosen:
        reader = Reader(document, shared, references, values, item)
        pipeline = _in_environment(reader, shared)
        if pipeline is not None:
            pipelines.append(pipeline)
        problems.append((item.name, reader.problems))
    if found := merged(for_each.problems, problems):
        raise _refused(path, found)
    return pipelines


def _in_environment(reader: Reader, shared: SharedFiles) -> PipelineConfig | None:
    """What was read, as it is in the environment that it is read for; None if there are problems."""
    pipeline = reader.read()
    if pipeline is None or pipeline.place_apart is None:
        return pipeline
    production = _production(reader.document.path.absolute().parent, shared)
    found, problems = in_environment(pipeline, production, reader.drafts)
    reader.problems.extend(problems)
    return found if not problems else None


def _production(folder: Path, shared: SharedFiles) -> Production:
    """What the pipelines of a folder are where there is no environment; files that are broken are left out."""
    if folder not in shared.production:
        files = sorted(path for path in folder.glob("*.json") if path.name != DEFAULTS_FILE)
        environment = shared.chosen.environment
        # What variables of the environment are a part of, production has elsewhere.
        has_others = environment is not None and environment.keys.variables
        both = (shared, *([replace(shared, chosen=ChosenEnvironment())] if has_others else []))
        shared.production[folder] = Production.of(
            pipeline for one in both for path in files for pipeline in _outside(path, one)
        )
    return shared.production[folder]


def _outside(path: Path, shared: SharedFiles) -> Iterator[PipelineConfig]:
    try:
        document = read_document(path)
        for_each = for_each_of(shared.defaults.of(path).below(document), shared.project)
        for item in [None] if for_each is None else for_each.items:
            pipeline = Reader(document, shared, References(shared.project), {}, item).read()
            if pipeline is not None:
                yield pipeline
    # Whoever reads the file itself tells what is wrong with it, or with a plug-in.
    except Exception:  # noqa: BLE001
        return


def _refused(path: Path, problems: Iterable[ConfigError]) -> PipelineConfigurationException:
    return refused(in_order(path, problems))
