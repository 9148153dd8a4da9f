"""Names of local files that Java may not tell: Spark leaves such a file out, and says nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline_platform.connectors.files.options import option_of
from pipeline_platform.exceptions import PipelineExecutionException

if TYPE_CHECKING:
    from pipeline_platform.connectors.storage.location import StorageLocation


def uncertain_files(
    where: StorageLocation, options: Mapping[str, str], *, is_pattern: bool, is_recursive: bool
) -> Sequence[str]:
    """The local files of a place whose paths are not ASCII, as Python has them.

    Ask before Spark lists them, as others may come meanwhile. None are told where files are left out in ways that only
    Spark knows.

    Args:
        where: A folder, a file, or a pattern.
        options: Of Spark's reader, for which files to read.
        is_pattern: Whether the place is a pattern.
        is_recursive: Whether files of all folders below are read.
    """
    chosen = option_of(options, "pathGlobFilter") or "*"
    by_time = any(option_of(options, name) is not None for name in ("modifiedAfter", "modifiedBefore"))
    place = where.uri
    is_local = place.startswith("/") or place.lower().startswith("file:")
    if not is_local or by_time or set(chosen + place) & {"{", "\\"} or "[" in chosen:
        return ()
    root = Path(os.path.normpath(str(where.path())))
    found: list[str] = []
    for start in root.parent.glob(root.name) if is_pattern else [root]:
        try:
            files = [start] if start.is_file() else _below(start, is_recursive=is_recursive)
            found += [str(file) for file in files if not str(file).isascii() and fnmatchcase(file.name, chosen)]
        except OSError:
            # Not seen from here.
            continue
    return found


def require_none_left_out(uncertain: Sequence[str], paths: Sequence[str]) -> None:
    """Raise if Spark has not listed a file that is there.

    Args:
        uncertain: What `uncertain_files` gave before Spark listed them.
        paths: What Spark has listed.

    Raises:
        PipelineExecutionException: It has not.
    """
    seen = {os.path.normpath(path) for path in paths} if uncertain else set[str]()
    for file in uncertain:
        if file not in seen and Path(file).exists():
            written = os.fsencode(file).decode(errors="backslashreplace")
            is_utf8 = written == file
            raise PipelineExecutionException(
                f"Spark would leave out {written}, as {'its locale' if is_utf8 else 'the name'} is not UTF-8",
                hint="run it with LANG=C.UTF-8 in the environment"
                if is_utf8
                else "rename it, or leave it out with 'pathGlobFilter' in 'options'",
            )


def _below(folder: Path, *, is_recursive: bool) -> Iterator[Path]:
    """The files that Spark reads of a folder: not hidden ones, and of folders only those that are columns or all."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or (entry.name.startswith("_") and "=" not in entry.name):
                continue
            if not entry.is_dir():
                yield Path(entry.path)
            elif is_recursive or "=" in entry.name:
                yield from _below(Path(entry.path), is_recursive=is_recursive)
