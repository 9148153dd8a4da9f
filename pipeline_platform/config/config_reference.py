"""`configRef`: the config of a step in a file of its own, which may refer to another in turn."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from pipeline_platform.config.config_error import ConfigError
from pipeline_platform.config.document import Document, DocumentError, SourcePosition, json_type, read_document


@dataclass
class ReferencedConfig:
    """What a reference leads to.

    Args:
        keys: The keys of the config, each where it was written; nearer files come first and win.
        problems: What is wrong with the reference, or with the files it leads to.
        complete: Whether all of them could be read.
    """

    keys: list[SourcePosition] = field(default_factory=list)
    problems: list[ConfigError] = field(default_factory=list)
    complete: bool = True


def follow(reference: SourcePosition, project: Path) -> ReferencedConfig:
    """Read the config that a `configRef` leads to.

    Args:
        reference: The `configRef`; its path is relative to the file it stands in.
        project: The folder that it must not leave, resolved.
    """
    found = ReferencedConfig()
    file = reference.document.path.resolve()
    seen = {file}
    following: SourcePosition | None = reference
    while following is not None:
        try:
            target = _target(following, file.parent, project, seen)
            document = _config(read_document(target, shown_as(target, reference)))
        except DocumentError as error:
            found.problems.append(error.problem)
            found.complete = False
            return found
        seen.add(target)
        file = target
        found.problems.extend(document.problems)
        found.keys.extend(SourcePosition(document, (key,)) for key in document.value if key != "configRef")
        following = SourcePosition(document, ("configRef",)) if "configRef" in document.value else None
    return found


def shown_as(target: Path, reference: SourcePosition) -> Path:
    """How errors name a file: relative, if they name the one so that refers to it."""
    return shown_beside(reference.document.path, target)


def shown_beside(file: Path, target: Path) -> Path:
    """How errors name a file: relative, if another one is named so.

    Args:
        file: The other one.
        target: The file, as an absolute path.
    """
    return target if file.is_absolute() else Path(os.path.relpath(target))


@dataclass
class References:
    """What the references of one file lead to, each read once however often it is asked for.

    Args:
        project: The folder that they must not leave, resolved.
    """

    project: Path
    _followed: dict[SourcePosition, ReferencedConfig] = field(default_factory=dict[SourcePosition, ReferencedConfig])

    def follow(self, reference: SourcePosition) -> ReferencedConfig:
        """As `follow`."""
        if reference not in self._followed:
            self._followed[reference] = follow(reference, self.project)
        return self._followed[reference]


def _target(place: SourcePosition, folder: Path, project: Path, seen: set[Path]) -> Path:
    if not is_path(place.value):
        raise DocumentError(place.problem("expected 'configRef' to be the path of a JSON file"))
    return referenced_file(place, folder, project, seen)


def is_path(reference: object) -> bool:
    """Whether this can be the path of a file."""
    return isinstance(reference, str) and reference != "" and "\0" not in reference


def referenced_file(place: SourcePosition, folder: Path, project: Path, seen: Collection[Path] = ()) -> Path:
    """The file that a path in a document names.

    Args:
        place: The path.
        folder: What it is relative to.
        project: The folder that it must not leave, resolved.
        seen: Files that it must not lead back to.

    Raises:
        DocumentError: There is no such file, or none that may be referred to.
    """
    target = project_file(place, folder, project)
    if target in seen:
        raise DocumentError(place.problem(f"'{place.value}' is a circular reference: that file leads back here"))
    try:
        exists = target.is_file()
    except OSError as error:
        raise DocumentError(place.problem(f"the referenced file can't be read: {error}")) from error
    if not exists:
        raise DocumentError(place.problem(f"the referenced file '{place.value}' does not exist"))
    return target


def project_file(place: SourcePosition, folder: Path, project: Path) -> Path:
    """The file that a path in a document names, whether it is there or not.

    Args:
        place: The path.
        folder: What it is relative to.
        project: The folder that it must not leave, resolved.

    Raises:
        DocumentError: It is none, or none that may be referred to.
    """
    if not is_path(place.value):
        raise DocumentError(place.problem("expected the path of a file"))
    reference = str(place.value)
    try:
        target = (folder / reference).resolve()
    except (OSError, RuntimeError) as error:
        raise DocumentError(place.problem(f"the referenced file can't be read: {error}")) from error
    if not target.is_relative_to(project):
        raise DocumentError(place.problem(f"'{reference}' is outside the project folder {project}"))
    return target


def _config(document: Document) -> Document:
    if not isinstance(document.value, dict):
        message = f"expected a config object, not {json_type(document.value)}"
        raise DocumentError(SourcePosition(document).problem(message))
    return document
