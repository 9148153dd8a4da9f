"""Reads pipeline files: one pass reports every mistake in a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from pipeline_platform.config.document import Document, DocumentError, Pointer, parse_document, read_document
from pipeline_platform.config.graph import connect
from pipeline_platform.config.pipeline import PipelineConfig, PipelineKeys
from pipeline_platform.config.problem import Problem, did_you_mean
from pipeline_platform.config.step import STEP_TYPES, StepConfig, StepType
from pipeline_platform.exceptions import PipelineConfigurationException, StepLocation

Vocabulary = Mapping[StepType, Mapping[str, type[StepConfig]]]
"""Methods by step type and by name, aliases included."""

_STEP_KEYS = ("type", "method", "config", "configRef")


@dataclass(frozen=True)
class ReadStep:
    """A step that is right by itself, before it is connected to the others."""

    index: int
    config: StepConfig
    location: StepLocation


def load_pipeline(path: Path, vocabulary: Vocabulary, project: Path | None = None) -> PipelineConfig:
    """Read a pipeline file.

    Args:
        path: The JSON file.
        vocabulary: The methods a step may name.
        project: Folder that a `configRef` must not leave; the file's own folder's parent by default, so
            that `pipelines/x.json` may refer to `../shared/y.json`.

    Raises:
        PipelineConfigurationException: With one problem for each mistake in the file.
    """
    try:
        document = read_document(path)
    except DocumentError as error:
        raise _refused(path, error.problems) from error
    return _Reader(document, vocabulary, (project or path.absolute().parent.parent).resolve()).read()


def parse_pipeline(text: str, vocabulary: Vocabulary, path: Path = Path("pipeline.json")) -> PipelineConfig:
    """Read a pipeline from text; `path` is named in errors and is where a `configRef` starts from.

    Raises:
        PipelineConfigurationException: As `load_pipeline`.
    """
    try:
        document = parse_document(text, path)
    except DocumentError as error:
        raise _refused(path, error.problems) from error
    return _Reader(document, vocabulary, path.absolute().parent.resolve()).read()


def _refused(path: Path, problems: tuple[Problem, ...] | list[Problem]) -> PipelineConfigurationException:
    ordered = sorted(set(problems), key=lambda problem: (str(problem.file) != str(path), str(problem.file), problem))
    return PipelineConfigurationException("\n".join(map(str, ordered)), problems=ordered)


@dataclass(frozen=True)
class _Origin:
    """Which document, and where in it, a config key was written."""

    document: Document
    pointer: Pointer


class _Reader:
    def __init__(self, document: Document, vocabulary: Vocabulary, project: Path) -> None:
        self.document = document
        self.vocabulary = vocabulary
        self.project = project
        self.problems: list[Problem] = []

    def read(self) -> PipelineConfig:
        path, value = self.document.path, self.document.value
        if not isinstance(value, dict):
            raise _refused(path, [self.document.problem((), f"expected a pipeline object, not {_json_type(value)}")])
        keys = self._read_keys({key: item for key, item in value.items() if key != "steps"})
        pipeline = keys.name if keys else str(value.get("name", path.stem))
        steps = [step for step in self._read_steps(value, pipeline) if step is not None]
        connected = connect(steps, self._step_problem)
        if self.problems or keys is None:
            raise _refused(path, self.problems)
        return PipelineConfig(**{name: getattr(keys, name) for name in PipelineKeys.model_fields}, steps=connected, file=path)

    def _read_keys(self, value: dict[str, Any]) -> PipelineKeys | None:
        try:
            return PipelineKeys.model_validate(value)
        except ValidationError as error:
            origins = {key: _Origin(self.document, (key,)) for key in value}
            valid = [*_keys_of(PipelineKeys), "steps"]
            self.problems.extend(_problems(error, PipelineKeys, origins, _Origin(self.document, ()), valid))
            return None

    def _read_steps(self, value: dict[str, Any], pipeline: str) -> Iterator[ReadStep | None]:
        steps = value.get("steps")
        if not isinstance(steps, list) or not steps:
            message = "expected 'steps', a list of at least one step"
            self.problems.append(self.document.problem(("steps",) if "steps" in value else (), message))
            return
        for index, step in enumerate(steps):
            yield self._read_step(index, step, pipeline)

    def _read_step(self, index: int, step: Any, pipeline: str) -> ReadStep | None:
        here: Pointer = ("steps", index)
        if not isinstance(step, dict):
            self.problems.append(self.document.problem(here, f"expected a step object, not {_json_type(step)}"))
            return None
        for key in step:
            if key not in _STEP_KEYS:
                hint = did_you_mean(key, _STEP_KEYS)
                self.problems.append(self.document.problem((*here, key), f"unknown key '{key}'", on_key=True, hint=hint))
        method = self._method(step, here)
        merged = self._config(step, here)
        if method is None or merged is None:
            return None
        config, origins = merged
        line, _ = self.document.position(here)
        location = StepLocation(pipeline, self.document.path, line, index, method.step_type, method.method)
        try:
            return ReadStep(index, method.model_validate(config), location)
        except ValidationError as error:
            whole = _Origin(self.document, (*here, "config") if "config" in step else here)
            self.problems.extend(_problems(error, method, origins, whole, _keys_of(method)))
            return None

    def _method(self, step: dict[str, Any], here: Pointer) -> type[StepConfig] | None:
        step_type, name = step.get("type"), step.get("method")
        if step_type not in STEP_TYPES:
            self._wrong_name(here, "type", step_type, STEP_TYPES)
            return None
        methods = self.vocabulary[step_type]
        if not isinstance(name, str) or name not in methods:
            self._wrong_name(here, "method", name, [method.method for method in methods.values()])
            return None
        return methods[name]

    def _wrong_name(self, here: Pointer, key: str, name: Any, valid: Any) -> None:
        if name is None:
            self.problems.append(self.document.problem(here, f"the key '{key}' is missing"))
        else:
            hint = did_you_mean(str(name), valid)
            self.problems.append(self.document.problem((*here, key), f"unknown {key} '{name}'", hint=hint))

    def _config(self, step: dict[str, Any], here: Pointer) -> tuple[dict[str, Any], dict[str, _Origin]] | None:
        inline = step.get("config", {})
        if not isinstance(inline, dict):
            message = f"expected 'config' to be an object, not {_json_type(inline)}"
            self.problems.append(self.document.problem((*here, "config"), message))
            return None
        config: dict[str, Any] = {}
        origins: dict[str, _Origin] = {}
        if "configRef" in step:
            here_ref = _Origin(self.document, (*here, "configRef"))
            if not self._follow(step["configRef"], here_ref, config, origins, {self.document.path.resolve()}):
                return None
        config.update(inline)
        origins.update({key: _Origin(self.document, (*here, "config", key)) for key in inline})
        return config, origins

    def _follow(
        self,
        reference: Any,
        origin: _Origin,
        config: dict[str, Any],
        origins: dict[str, _Origin],
        seen: set[Path],
    ) -> bool:
        """Merge a referenced config, and what it refers to in turn, under the keys that are there already."""
        document = self._reference(reference, origin, seen)
        if document is None:
            return False
        for key, value in document.value.items():
            if key != "configRef" and key not in config:
                config[key] = value
                origins[key] = _Origin(document, (key,))
        if "configRef" not in document.value:
            return True
        onward = _Origin(document, ("configRef",))
        return self._follow(document.value["configRef"], onward, config, origins, seen)

    def _reference(self, reference: Any, origin: _Origin, seen: set[Path]) -> Document | None:
        def refuse(message: str) -> None:
            self.problems.append(origin.document.problem(origin.pointer, message))

        if not isinstance(reference, str) or not reference or "\0" in reference:
            refuse("expected 'configRef' to be the path of a JSON file")
            return None
        path = origin.document.path.parent / reference
        try:
            target = path.resolve()
            exists = target.is_file()
        except (OSError, RuntimeError) as error:
            refuse(f"the referenced file can't be read: {error}")
            return None
        if not target.is_relative_to(self.project):
            refuse(f"'{reference}' leaves the project folder")
            return None
        if target in seen:
            refuse(f"'{reference}' is a cycle: it was referred to before on this way")
            return None
        if not exists:
            refuse(f"the referenced file '{reference}' does not exist")
            return None
        seen.add(target)
        try:
            document = read_document(path)
        except DocumentError as error:
            self.problems.extend(error.problems)
            return None
        if not isinstance(document.value, dict):
            self.problems.append(document.problem((), f"expected a config object, not {_json_type(document.value)}"))
            return None
        return document

    def _step_problem(self, step: ReadStep, key: str | None, message: str, hint: str | None = None) -> None:
        pointer: Pointer = ("steps", step.index)
        if key is not None:
            pointer = (*pointer, "config", key)
        self.problems.append(self.document.problem(pointer, message, hint=hint))


def _problems(
    error: ValidationError,
    model: type[BaseModel],
    origins: Mapping[str, _Origin],
    whole: _Origin,
    valid_keys: list[str],
) -> Iterator[Problem]:
    for detail in error.errors(include_url=False, include_input=False):
        context = detail.get("ctx", {})
        where: Pointer = tuple(detail["loc"]) or ((context["key"],) if "key" in context else ())
        origin = origins.get(str(where[0]), whole) if where else whole
        pointer = (*origin.pointer, *where[1:]) if where and str(where[0]) in origins else origin.pointer
        if detail["type"] == "extra_forbidden":
            key = str(where[-1])
            hint = did_you_mean(key, valid_keys if len(where) == 1 else _nested_keys(model))
            yield origin.document.problem(pointer, f"unknown key '{key}'", on_key=True, hint=hint)
        elif detail["type"] == "missing":
            yield origin.document.problem(pointer, f"the key '{where[-1]}' is missing")
        else:
            yield origin.document.problem(pointer, _lower_first(detail["msg"].removeprefix("Value error, ")))


def _lower_first(text: str) -> str:
    return text[0].lower() + text[1:] if text[1:2].islower() else text


def _keys_of(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _nested_keys(model: type[BaseModel]) -> list[str]:
    keys: list[str] = []
    pending: list[Any] = [field.annotation for field in model.model_fields.values()]
    while pending:
        annotation = pending.pop()
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            keys.extend(_keys_of(annotation))
        pending.extend(get_args(annotation))
    return keys


def _json_type(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
