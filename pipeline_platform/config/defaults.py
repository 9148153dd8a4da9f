"""Defaults of a folder: what its pipelines get where they say nothing themselves."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, ValidationError

from pipeline_platform.config.config_error import ConfigError, did_you_mean
from pipeline_platform.config.documents.document import (
    Document,
    DocumentError,
    MergedPosition,
    SourcePosition,
    json_type,
    read_document,
)
from pipeline_platform.config.format_errors import format_errors
from pipeline_platform.config.located_errors import located_errors
from pipeline_platform.config.maintenance import Maintenance
from pipeline_platform.config.method_registry import MethodRegistry
from pipeline_platform.config.pipeline_keys import (
    Metadata,
    PipelineKeys,
    QuarantineOptions,
    Retry,
    StreamingOptions,
)
from pipeline_platform.config.placeholders import strings_in
from pipeline_platform.config.project_files import shown_beside
from pipeline_platform.config.step import StepConfig
from pipeline_platform.config.variables import names_in

DEFAULTS_FILE = "defaults.json"
"""The file of a folder that has its defaults."""
DEFAULT_KEYS = (
    *("metadata", "schedule", "scheduleTimezone", "partitions", "automation"),
    *("retry", "sparkConf", "streaming", "quarantine", "maintenance"),
)
"""Keys of a pipeline that it may have beside `methods`."""
_OF_ITS_OWN = ("name", "mode", "description", "variables", "forEach", "steps")
# Objects of which each key has a default of its own.
_BY_KEY: Mapping[str, type[BaseModel] | None] = {
    "metadata": Metadata,
    "retry": Retry,
    "sparkConf": None,
    "streaming": StreamingOptions,
    "quarantine": QuarantineOptions,
    "maintenance": Maintenance,
}


@dataclass(frozen=True)
class Defaulted:
    """A key that a pipeline got from the defaults of a folder.

    Args:
        key: The key, with the way to it.
        step: Index of the step that it is a key of; None for one of the pipeline.
        file: The file it stands in.
        line: The line there.
    """

    key: str
    step: int | None
    file: Path
    line: int

    @classmethod
    def at(cls, place: SourcePosition, key: str, step: int | None = None) -> Defaulted:
        """One that stands at a place.

        Args:
            place: Where.
            key: The key.
            step: Index of the step.
        """
        return cls(key, step, place.document.path, place.document.position(place.pointer)[0])


Methods = Mapping[type[StepConfig], Mapping[str, SourcePosition]]


@dataclass(frozen=True)
class FolderDefaults:
    """What pipelines of a folder get, from its own file and those of the folders above it.

    Args:
        files: Where they stand, the nearest first.
        problems: What is wrong with these files.
        keys: Where each key of a pipeline stands; an object may be that of several files.
        methods: For each method, where each key of its config stands.
    """

    files: tuple[Path, ...] = ()
    problems: tuple[ConfigError, ...] = ()
    keys: Mapping[str, SourcePosition] = field(default_factory=dict[str, SourcePosition])
    methods: Methods = field(default_factory=dict[type[StepConfig], Mapping[str, SourcePosition]])

    def below(self, document: Document) -> SourcePosition:
        """A pipeline file with the defaults of the keys that it does not have.

        Args:
            document: The file.
        """
        root = SourcePosition(document)
        if not self.keys or not isinstance(document.value, dict):
            return root
        near = {_spelled(PipelineKeys, key): root / key for key in cast("dict[str, Any]", document.value)}
        parts: dict[str | int, SourcePosition] = {}
        absent: set[str] = set()
        for key, place in self.keys.items():
            if key not in near:
                parts[key] = place
            elif near[key].value is None:
                absent.add(str(near[key].pointer[0]))
            elif key in _BY_KEY:
                parts[str(near[key].pointer[0])] = _merged(near[key], place, _BY_KEY[key])
        schedule = near.get("schedule") or parts.get("schedule")
        if schedule is not None and isinstance(schedule.value, dict):
            # It says its time zone itself.
            parts.pop("scheduleTimezone", None)
        return MergedPosition(document, (), parts, frozenset(absent))

    def taken_away(self, method: type[StepConfig], config: Mapping[str, Any]) -> list[str]:
        """The keys of the config of a step that are null in place of a default.

        Args:
            method: Its method.
            config: What its file says.
        """
        found = self.methods.get(method, {})
        return [key for key, value in config.items() if value is None and _spelled(method, key) in found]

    def of_step(self, method: type[StepConfig], config: Mapping[str, Any]) -> Iterator[tuple[str, SourcePosition]]:
        """The keys that the config of a step lacks and that have a default.

        Args:
            method: Its method.
            config: What its file says.
        """
        found = self.methods.get(method)
        if found:
            written = {_spelled(method, key) for key in config}
            yield from ((key, place) for key, place in found.items() if key not in written)


def defaulted_keys(root: SourcePosition) -> Iterator[Defaulted]:
    """The keys of a pipeline, but for those of its steps, that are defaults.

    Args:
        root: The file with its defaults.
    """
    value = cast("dict[str, Any]", root.value)
    for key in DEFAULT_KEYS if isinstance(root, MergedPosition) else ():
        place = root / key
        if key in _BY_KEY and isinstance(value.get(key), dict):
            parts = {f"{key}.{part}": place / part for part in cast("dict[str, Any]", value[key])}
        else:
            parts = {key: place} if key in value else {}
        for name, part in parts.items():
            if part.document is not root.document:
                yield Defaulted.at(part, name)


@dataclass(frozen=True)
class _File:
    root: SourcePosition
    keys: Mapping[str, SourcePosition]
    methods: Methods
    problems: Sequence[ConfigError] = ()


class Defaults:
    """The defaults of the folders of a project; each file is read once.

    Args:
        methods: The methods there are.
        project: The folder above which no defaults are looked for, resolved.
    """

    def __init__(self, methods: MethodRegistry, project: Path) -> None:
        self.methods = methods
        self.project = project
        self._found: dict[Path, FolderDefaults] = {}

    def of(self, file: Path) -> FolderDefaults:
        """What a pipeline gets.

        Args:
            file: Of the pipeline.
        """
        folder = file.parent
        if folder not in self._found:
            self._found[folder] = self._read(file)
        return self._found[folder]

    def _read(self, file: Path) -> FolderDefaults:
        files: list[_File] = []
        problems: list[ConfigError] = []
        for target in defaults_files(file.absolute().parent, self.project):
            if not target.exists() and not target.is_symlink():
                continue
            try:
                found = _read_file(target, shown_beside(file, target), self.methods, self.project)
            except DocumentError as error:
                problems.append(error.problem)
                continue
            files.append(found)
            problems.extend(found.problems)
        keys: dict[str, SourcePosition] = {}
        methods: dict[type[StepConfig], dict[str, SourcePosition]] = {}
        for found in reversed(files):
            for key, place in found.keys.items():
                is_both = key in keys and key in _BY_KEY
                keys[key] = _merged(place, keys[key], _BY_KEY[key]) if is_both else place
            for method, places in found.methods.items():
                methods.setdefault(method, {}).update(places)
        # A null has taken away what the folder above says.
        keys = {key: place for key, place in keys.items() if place.value is not None}
        methods = {
            method: {key: place for key, place in places.items() if place.value is not None}
            for method, places in methods.items()
        }
        return FolderDefaults(tuple(one.root.document.path for one in files), tuple(problems), keys, methods)


def defaults_files(folder: Path, project: Path) -> list[Path]:
    """Where defaults of a folder may stand, the nearest first.

    Args:
        folder: The folder, as an absolute path.
        project: The folder above which none are looked for, resolved.
    """
    found: list[Path] = []
    for above in (folder, *folder.parents):
        if not is_everybodys(above):
            found.append(above / DEFAULTS_FILE)
        if above.resolve() == project:
            return found
    return [file for file in found if file.parent == folder]


def is_everybodys(folder: Path) -> bool:
    """Whether anybody may put a file there, as into /tmp: what stands there is not this project's.

    Args:
        folder: The folder.
    """
    try:
        mode = folder.stat().st_mode
    except OSError:
        return False
    return bool(mode & stat.S_IWOTH and mode & stat.S_ISVTX)


def defaults_problems(file: Path, methods: MethodRegistry, project: Path) -> Sequence[ConfigError]:
    """What is wrong with a file of defaults by itself.

    Args:
        file: The file.
        methods: The methods there are.
        project: The folder that it must not lead out of, resolved.
    """
    try:
        return _read_file(file, file, methods, project).problems
    except DocumentError as error:
        return [error.problem]


def _merged(near: SourcePosition, far: SourcePosition, model: type[BaseModel] | None) -> SourcePosition:
    """An object with the keys of another one that it does not have."""
    if not isinstance(near.value, dict) or not isinstance(far.value, dict):
        return near
    own = cast("dict[str, Any]", near.value)
    known = {_spelled(model, key): key for key in own}
    parts: dict[str | int, SourcePosition] = dict(near.parts) if isinstance(near, MergedPosition) else {}
    absent = set(near.absent) if isinstance(near, MergedPosition) else set[str]()
    for key in cast("dict[str, Any]", far.value):
        written = known.get(_spelled(model, key))
        if written is None:
            parts[key] = far / key
        elif own[written] is None:
            absent.add(written)
    return MergedPosition(near.document, near.pointer, parts, frozenset(absent))


def _spelled(model: type[BaseModel] | None, key: str) -> str:
    """A key as the format writes it, of one that may be written with underscores."""
    found = model.model_fields.get(key) if model is not None else None
    return found.alias or key if found is not None else key


def _read_file(target: Path, shown: Path, methods: MethodRegistry, project: Path) -> _File:
    document = read_document(target, shown)
    root = SourcePosition(document)
    found_at = target.resolve()
    if found_at.parent != target.parent.resolve() and not found_at.is_relative_to(project):
        raise DocumentError(root.problem(f"this is a link out of the project folder {project}"))
    if not isinstance(document.value, dict):
        raise DocumentError(root.problem(f"expected an object with defaults, not {json_type(document.value)}"))
    written = cast("dict[str, Any]", document.value)
    problems = list(document.problems)
    keys: dict[str, SourcePosition] = {}
    for key in written:
        spelled = _spelled(PipelineKeys, key)
        if spelled in DEFAULT_KEYS:
            keys[spelled] = root / key
        elif key not in ("$schema", "methods"):
            problems.append(_unknown(root / key, key, spelled))
    problems.extend(_wrong_keys(root, keys))
    found: dict[type[StepConfig], Mapping[str, SourcePosition]] = {}
    if isinstance(written.get("methods"), dict):
        for name in cast("dict[str, Any]", written["methods"]):
            _read_method(root / "methods" / name, name, methods, found, problems)
    elif "methods" in written:
        message = f"expected an object with the defaults of each method, not {json_type(written['methods'])}"
        problems.append((root / "methods").problem(message))
    return _File(root, keys, found, problems)


def _unknown(place: SourcePosition, key: str, spelled: str) -> ConfigError:
    if spelled in _OF_ITS_OWN:
        message = f"'{key}' is for one pipeline, and '{DEFAULTS_FILE}' has the defaults of a folder"
        return place.problem(message, on_key=True, hint="a pipeline needs another file name")
    valid = [*DEFAULT_KEYS, "methods"]
    return place.problem(f"unknown key '{key}'", on_key=True, hint=did_you_mean(key, valid))


def _wrong_keys(root: SourcePosition, keys: Mapping[str, SourcePosition]) -> Iterator[ConfigError]:
    values = {key: place.value for key, place in keys.items()}
    yield from _mistakes(PipelineKeys, {"name": "x", "mode": "batch", **values}, keys, root)


def _read_method(
    place: SourcePosition,
    name: str,
    methods: MethodRegistry,
    found: dict[type[StepConfig], Mapping[str, SourcePosition]],
    problems: list[ConfigError],
) -> None:
    known = {other: method for kind in methods for other, method in methods[kind].items()}
    method = known.get(name)
    if method is None:
        hint = did_you_mean(name, [one.method for one in known.values()])
        problems.append(place.problem(f"unknown method '{name}'", on_key=True, hint=hint))
    elif not isinstance(place.value, dict):
        problems.append(place.problem(f"expected an object with keys of {name}, not {json_type(place.value)}"))
    else:
        config = cast("dict[str, Any]", place.value)
        places = {_spelled(method, key): place / key for key in config}
        if method in found:
            problems.append(place.problem(f"'{method.method}' has defaults already", on_key=True))
        found[method] = places
        problems.extend(_mistakes(method, {k: p.value for k, p in places.items()}, places, place))


def _mistakes(
    model: type[BaseModel], values: Mapping[str, Any], places: Mapping[str, SourcePosition], whole: SourcePosition
) -> Iterator[ConfigError]:
    """What is wrong with keys of which each pipeline has more."""
    # What holds variables is read with what they stand for.
    known = {key: value for key, value in values.items() if value is not None and not _has_variables(value)}
    try:
        model.model_validate(known)
    except ValidationError as error:
        found = [one for one in format_errors(error) if not one.is_between and str(one.keys[0]) in known]
        yield from located_errors(found, model, places, whole)
    except Exception:  # noqa: BLE001
        # A method of another package may fail at anything; the pipelines that use it say so.
        return


def _has_variables(value: Any) -> bool:
    return any(names_in(text) for text in strings_in(value))
