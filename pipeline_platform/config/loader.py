"""Reads pipeline files: one pass reports every mistake in a file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast, get_args

from pydantic import BaseModel, ValidationError

from pipeline_platform.config.config_error import ConfigError, did_you_mean, nearest
from pipeline_platform.config.config_reference import follow
from pipeline_platform.config.document import (
    Document,
    DocumentError,
    SourcePosition,
    json_type,
    parse_document,
    read_document,
)
from pipeline_platform.config.format_errors import FormatError, format_errors
from pipeline_platform.config.graph import Draft, connect
from pipeline_platform.config.incremental_errors import incremental_errors
from pipeline_platform.config.inline_secrets import exposed_secrets, inline_secrets
from pipeline_platform.config.partition_errors import partition_errors
from pipeline_platform.config.permissions import allow_mistake
from pipeline_platform.config.pipeline import PipelineConfig, PipelineKeys
from pipeline_platform.config.start_errors import start_errors
from pipeline_platform.config.step import STEP_TYPES, MethodRegistry, Methods, PipelineMode, Step, StepConfig, StepType
from pipeline_platform.config.stream_shape import QUERY_KEYS, StreamShapeError, stream_shape
from pipeline_platform.config.unchecked import unchecked_frames, unchecked_name
from pipeline_platform.config.variables import VariableValue, VariableValues, names_in, variable_values
from pipeline_platform.exceptions import PipelineConfigurationException, StepLocation

STEP_KEYS = ("type", "method", "name", "config", "configRef")
_STEP_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def load_pipeline(
    path: Path, registry: Methods, project: Path | None = None, values: Mapping[str, VariableValue] | None = None
) -> PipelineConfig:
    """Read a pipeline file.

    Args:
        path: The JSON file.
        registry: The methods a step may name.
        project: Folder that a `configRef` must not leave; the file's own folder's parent by default, so
            that `pipelines/x.json` may refer to `../shared/y.json`.
        values: What its variables are to stand for; their defaults for those that are left out.

    Raises:
        PipelineConfigurationException: With one problem for each mistake in the file.
    """
    try:
        document = read_document(path)
    except DocumentError as error:
        raise _refused(path, [error.problem]) from error
    return _Reader(document, registry, (project or path.absolute().parent.parent).resolve(), values or {}).read()


def parse_pipeline(
    text: str,
    registry: Methods,
    path: Path = Path("pipeline.json"),
    values: Mapping[str, VariableValue] | None = None,
) -> PipelineConfig:
    """Read a pipeline from text; `path` is named in errors and is where a `configRef` starts from.

    Raises:
        PipelineConfigurationException: As `load_pipeline`.
    """
    try:
        document = parse_document(text, path)
    except DocumentError as error:
        raise _refused(path, [error.problem]) from error
    return _Reader(document, registry, path.absolute().parent.resolve(), values or {}).read()


def _refused(path: Path, problems: Iterable[ConfigError]) -> PipelineConfigurationException:
    ordered = _in_order(path, problems)
    return PipelineConfigurationException("\n".join(map(str, ordered)), problems=ordered)


def _in_order(path: Path, problems: Iterable[ConfigError]) -> list[ConfigError]:
    def place(problem: ConfigError) -> tuple[bool, str, int, int, str]:
        return problem.file != path, str(problem.file), problem.line, problem.column, problem.message

    return sorted(set(problems), key=place)


class _Reader:
    def __init__(
        self, document: Document, registry: Methods, project: Path, values: Mapping[str, VariableValue]
    ) -> None:
        self.document = document
        self.root = SourcePosition(document)
        self.registry = registry if isinstance(registry, MethodRegistry) else MethodRegistry(registry)
        self.project = project
        self.problems = list(document.problems)
        self.warnings: list[ConfigError] = []
        self.given = values
        self.values = VariableValues()

    def read(self) -> PipelineConfig:
        path, value = self.document.path, self.document.value
        if not isinstance(value, dict):
            raise _refused(path, [self.root.problem(f"expected a pipeline object, not {json_type(value)}")])
        written = cast("dict[str, Any]", value)
        if (wrong := allow_mistake()) is not None:
            self.problems.append(self.root.problem(wrong))
        self.values, wrong_values = variable_values(written.get("variables"), self.given, self.root)
        self.problems.extend(wrong_values)
        keys = self._read_keys({key: item for key, item in written.items() if key != "steps"})
        drafts = self._read_steps(written, str(written.get("name", path.stem)))
        steps, unconnected = connect(drafts)
        self.problems.extend(unconnected)
        self._check_mode(keys, written.get("mode"), drafts)
        if keys is not None:
            self.problems.extend(partition_errors(keys, self.root, drafts))
            is_watching = any(draft.config is not None and draft.config.is_watched() for draft in drafts)
            self.problems.extend(start_errors(keys, self.root, is_watching=is_watching))
        if not self.problems and keys is not None and keys.mode == "streaming":
            self._check_stream(steps, drafts)
        if not self.problems:
            self.problems.extend(incremental_errors(steps, drafts))
        if self.problems or keys is None:
            raise _refused(path, self.problems)
        warnings = tuple(_in_order(path, self.warnings))
        return PipelineConfig(**dict(keys), steps=steps, file=path, warnings=warnings, values=self.values.values)

    def _read_keys(self, value: dict[str, Any]) -> PipelineKeys | None:
        places = {key: self.root / key for key in value}
        if "sparkConf" in value:
            value = {**value, "sparkConf": self._with_values(value["sparkConf"], places["sparkConf"])}
        try:
            keys = PipelineKeys.model_validate(value)
        except ValidationError as error:
            self._report(format_errors(error), PipelineKeys, places, self.root, also_valid=("steps",))
            return None
        self.problems.extend(exposed_secrets(keys, places))
        self.warnings.extend(inline_secrets(keys, places))
        return keys

    def _read_steps(self, value: dict[str, Any], pipeline: str) -> list[Draft]:
        steps = value.get("steps")
        if isinstance(steps, list) and steps:
            written = cast("list[Any]", steps)
            return [self._read_step(index, step, pipeline) for index, step in enumerate(written)]
        place = self.root / "steps" if "steps" in value else self.root
        self.problems.append(place.problem("expected 'steps', a list of at least one step"))
        return []

    def _read_step(self, index: int, value: Any, pipeline: str) -> Draft:
        here = self.root / "steps" / index
        if not isinstance(value, dict):
            self.problems.append(here.problem(f"expected a step object, not {json_type(value)}"))
            return Draft(index, here, names_frames=False)
        step = cast("dict[str, Any]", value)
        for key in step:
            if key not in STEP_KEYS:
                hint = did_you_mean(key, STEP_KEYS)
                self.problems.append((here / key).problem(f"unknown key '{key}'", on_key=True, hint=hint))
        name = self._step_name(step, here)
        step_type = self._step_type(step, here)
        method = self._method(step_type, step, here)
        merged = self._config(step, here)
        if merged is None:
            return Draft(index, here, step_type, names_frames=False, name=name)
        values, places = merged
        config = self._validated(method, values, places, here / "config" if "config" in step else here)
        line, _ = self.document.position(here.pointer)
        location = StepLocation(pipeline, self.document.path, line, index, step_type, method and method.method)
        if config is not None:
            frames = config.referenced_frames()
            return Draft(
                index, here, step_type, config, places, location, config.registered_name(), frames=frames, name=name
            )
        register_as, known = unchecked_name(values, step_type)
        frames = unchecked_frames(values, method)
        return Draft(index, here, step_type, None, places, location, register_as, known, frames, name)

    def _step_name(self, step: dict[str, Any], here: SourcePosition) -> str | None:
        name = step.get("name")
        if name is None or (isinstance(name, str) and _STEP_NAME.fullmatch(name)):
            return name
        found = f"'{name}'" if isinstance(name, str) else json_type(name)
        message = f"a step's name has letters, digits and underscores, and begins with none of the digits; not {found}"
        self.problems.append((here / "name").problem(message))
        return None

    def _with_values(self, value: Any, place: SourcePosition) -> Any:
        replaced, wrong = self.values.replaced(value, place)
        self.problems.extend(wrong)
        return replaced

    def _step_type(self, step: dict[str, Any], here: SourcePosition) -> StepType | None:
        for step_type in STEP_TYPES:
            if step.get("type") == step_type:
                return step_type
        self._wrong_name(here, "type", step, STEP_TYPES)
        return None

    def _method(
        self, step_type: StepType | None, step: dict[str, Any], here: SourcePosition
    ) -> type[StepConfig] | None:
        if step_type is None:
            return None
        methods = self.registry[step_type]
        name = step.get("method")
        if isinstance(name, str) and name in methods:
            return methods[name]
        valid = [method.method for method in methods.values()]
        self._wrong_name(here, "method", step, valid, self._instead_of(name, valid) if isinstance(name, str) else None)
        return None

    def _instead_of(self, method: str, valid: Sequence[str]) -> str | None:
        """What is known of a method that there is not: why its plug-in has failed, or what was probably meant."""
        failed = {plugin.name: str(plugin) for plugin in self.registry.failed}
        meant = self.registry.misnomers.get(method.lower()) or nearest(method, valid)
        return failed.get(method) or meant or "; ".join(failed.values()) or None

    def _wrong_name(
        self, here: SourcePosition, key: str, step: dict[str, Any], valid: Sequence[str], instead: str | None = None
    ) -> None:
        name = step.get(key)
        if key not in step:
            self.problems.append(here.problem(f"the key '{key}' is missing", hint=f"valid: {', '.join(valid)}"))
        elif isinstance(name, str):
            hint = instead or did_you_mean(name, valid)
            self.problems.append((here / key).problem(f"unknown {key} '{name}'", hint=hint))
        else:
            self.problems.append((here / key).problem(f"expected a string, not {json_type(name)}"))

    def _config(
        self, step: dict[str, Any], here: SourcePosition
    ) -> tuple[dict[str, Any], dict[str, SourcePosition]] | None:
        inline = step.get("config", {})
        if not isinstance(inline, dict):
            message = f"expected 'config' to be an object, not {json_type(inline)}"
            self.problems.append((here / "config").problem(message))
            return None
        config: dict[str, Any] = {}
        places: dict[str, SourcePosition] = {}
        for key, value in cast("dict[str, Any]", inline).items():
            places[key] = here / "config" / key
            config[key] = self._with_values(value, places[key])
        if "configRef" not in step:
            return config, places
        referenced = follow(here / "configRef", self.project)
        self.problems.extend(referenced.problems)
        if not referenced.complete:
            return None
        for place in referenced.keys:
            key = str(place.pointer[0])
            if key not in config:
                config[key] = self._with_values(place.value, place)
                places[key] = place
        return config, places

    def _validated(
        self,
        method: type[StepConfig] | None,
        values: dict[str, Any],
        places: dict[str, SourcePosition],
        whole: SourcePosition,
    ) -> StepConfig | None:
        if method is None:
            return None
        try:
            config = method.model_validate(values)
        except ValidationError as error:
            self._report(format_errors(error), method, places, whole)
        except RecursionError:
            message = f"an expression of '{method.method}' is nested too deeply; split it into several steps"
            self.problems.append(whole.problem(message))
        except Exception as error:  # noqa: BLE001
            # A method may come from another package; whatever its validation raises is a mistake in this file.
            self.problems.append(whole.problem(f"'{method.method}' can't take this config: {error!r}"))
        else:
            self.problems.extend(exposed_secrets(config, places))
            self.warnings.extend(inline_secrets(config, places))
            return config
        return None

    def _report(
        self,
        found: Iterable[FormatError],
        model: type[BaseModel],
        places: Mapping[str, SourcePosition],
        whole: SourcePosition,
        also_valid: Sequence[str] = (),
    ) -> None:
        alternatives: dict[SourcePosition, list[FormatError]] = {}
        for mistake in found:
            place = whole
            if mistake.keys and str(mistake.keys[0]) in places:
                place = places[str(mistake.keys[0])]
                for part in mistake.keys[1:]:
                    place /= part
            if mistake.kind == "unknown":
                valid = [*_keys_at(model, mistake.keys[:-1]), *(also_valid if len(mistake.keys) == 1 else ())]
                hint = did_you_mean(str(mistake.keys[-1]), valid)
                self.problems.append(place.problem(mistake.message, on_key=True, hint=hint))
            elif mistake.kind in ("missing", "key"):
                self.problems.append(place.problem(mistake.message, on_key=mistake.kind == "key"))
            else:
                # What follows an existing value in pydantic's path names the alternatives that were tried.
                existing = SourcePosition(place.document, place.document.existing(place.pointer))
                alternatives.setdefault(existing, []).append(mistake)
        for place, tried in alternatives.items():
            self.problems.append(_wrong_value(place, tried))

    def _check_mode(self, keys: PipelineKeys | None, written: Any, drafts: Sequence[Draft]) -> None:
        mode: PipelineMode | None = keys.mode if keys else None
        if mode is None and written in get_args(PipelineMode):
            mode = written
        if mode is None:
            return
        for draft in drafts:
            if draft.config is not None:
                for key, message in draft.config.mode_errors(mode):
                    place = draft.place if key is None else draft.key(key)
                    self.problems.append(place.problem(message))
                if mode == "streaming" and keys and keys.schedule is not None and not draft.config.ends_by_itself():
                    message = "a streaming pipeline with a schedule needs 'trigger': 'availableNow' in every load"
                    self.problems.append(draft.key("trigger").problem(message))

    def _check_stream(self, steps: Sequence[Step], drafts: Sequence[Draft]) -> None:
        try:
            stream_shape(steps)
        except StreamShapeError as error:
            self.problems.append(drafts[error.step].place.problem(str(error), hint=error.hint))
            return
        first, *others = (drafts[step.index] for step in steps if step.type == "load")
        for draft in others:
            for key in QUERY_KEYS:
                if key in draft.keys and draft.key(key).value != (first.key(key).value if key in first.keys else None):
                    message = (
                        f"a streaming pipeline is one query, so only '{key}' of the first load counts, not this one"
                    )
                    self.warnings.append(draft.key(key).problem(message))


def _wrong_value(place: SourcePosition, tried: Sequence[FormatError]) -> ConfigError:
    value, found = place.value, json_type(place.value)
    messages = list(dict.fromkeys(mistake.message for mistake in tried))
    if len(messages) == 1 and tried[0].allowed and isinstance(value, str):
        return place.problem(f"{messages[0]}, not '{value}'", hint=nearest(value, tried[0].allowed))
    if not all(message.startswith("expected ") for message in messages):
        # In a text with variables it is that of another text.
        is_written = not (isinstance(value, str) and names_in(value))
        offset = tried[0].offset if len(tried) == 1 and is_written else None
        return place.problem("; ".join(messages), offset=offset)
    message = f"expected {' or '.join(message.removeprefix('expected ') for message in messages)}"
    if isinstance(value, str) and names_in(value):
        return place.problem(message, hint="a variable in this key needs a default of its type")
    wrong_type = all(mistake.kind == "type" for mistake in tried) and found not in message
    return place.problem(f"{message}, not {found}" if wrong_type else message)


def _keys_at(model: type[BaseModel], path: Sequence[str | int]) -> list[str]:
    """The keys that an object somewhere in a config may have."""
    models = [model]
    for part in path:
        inner = [
            field.annotation
            for outer in models
            for name, field in outer.model_fields.items()
            if (field.alias or name) == part
        ]
        # A part that is no key is an index, or a name in a map.
        models = [found for annotation in inner for found in _models_in(annotation)] or models
    keys = [field.alias or name for found in models for name, field in found.model_fields.items()]
    return [*keys, *(key for found in models if issubclass(found, StepConfig) for key in found.other_keys)]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for argument in get_args(annotation) for found in _models_in(argument)]
