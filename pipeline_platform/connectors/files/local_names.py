"""Names of local files that Java may not tell: Spark leaves such a file out, and says nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline_platform.connectors.files.options import option_of
from pipeline_platform.exceptions import PipelineExecutionException

if TYPE_CHECKING:
    from pipeline_platform.connectors.files.listing import FileListing


def uncertain_files(listing: FileListing) -> Sequence[str]:
    """The local files of a listing whose paths are not ASCII, as Python has them.

    Ask before Spark lists them, as others may come meanwhile. None are told where files are left out in ways that only
    Spark knows.

    Args:
        listing: All files of a place.
    """
    chosen = option_of(listing.options, "pathGlobFilter") or "*"
    by_time = any(option_of(listing.options, name) is not None for name in ("modifiedAfter", "modifiedBefore"))
    place = listing.place.uri
    is_local = place.startswith("/") or place.lower().startswith("file:")
    if listing.files is not None or not is_local or by_time or set(chosen + place) & {"{", "\\"} or "[" in chosen:
        return ()
    root = Path(os.path.normpath(str(listing.place.path())))
    found: list[str] = []
    for start in root.parent.glob(root.name) if listing.is_pattern() else [root]:
        try:
            files = [start] if start.is_file() else _below(start, is_recursive=listing.is_recursive())
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
