"""Files of a project that one of its files names."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from pipeline_platform.config.documents.document import DocumentError, SourcePosition


def is_path(reference: object) -> bool:
    """Whether this can be the path of a file."""
    return isinstance(reference, str) and reference != "" and "\0" not in reference


def referenced_file(
    place: SourcePosition, folder: Path, project: Path, seen: Collection[Path] = (), path: str | None = None
) -> Path:
    """The file that a path in a document names.

    Args:
        place: The path.
        folder: What it is relative to.
        project: The folder that it must not leave, resolved.
        seen: Files that it must not lead back to.
        path: What stands there once variables are replaced; by default what stands there.

    Raises:
        DocumentError: There is no such file, or none that may be referred to.
    """
    target = project_file(place, folder, project, path)
    if target in seen:
        raise DocumentError(
            place.problem(f"'{path or place.value}' is a circular reference: that file leads back here")
        )
    try:
        exists = target.is_file()
    except OSError as error:
        raise DocumentError(place.problem(f"the referenced file can't be read: {error}")) from error
    if not exists and target.is_dir():
        raise DocumentError(place.problem(f"'{path or place.value}' is a folder: expected the path of a file"))
    if not exists:
        raise DocumentError(place.problem(f"the referenced file '{path or place.value}' does not exist"))
    return target


def project_file(place: SourcePosition, folder: Path, project: Path, path: str | None = None) -> Path:
    """The file that a path in a document names, whether it is there or not.

    Args:
        place: The path.
        folder: What it is relative to.
        project: The folder that it must not leave, resolved.
        path: As in `referenced_file`.

    Raises:
        DocumentError: It is none, or none that may be referred to.
    """
    reference: object = place.value if path is None else path
    if not isinstance(reference, str) or not is_path(reference):
        raise DocumentError(place.problem("expected the path of a file"))
    try:
        target = (folder / reference).resolve()
    except (OSError, RuntimeError) as error:
        raise DocumentError(place.problem(f"the referenced file can't be read: {error}")) from error
    if not target.is_relative_to(project):
        raise DocumentError(place.problem(f"'{reference}' is outside the project folder {project}"))
    return target


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
