"""Whole folders of any store, each in as few requests as the store allows; fsspec, which does it, has no types."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from upath import UPath


def files_below(folder: UPath) -> Mapping[str, Mapping[str, Any]]:
    """Every file below a folder: its path in the store, and what the store says of it, such as its `size` in bytes.

    Args:
        folder: It may be missing.
    """
    store: Any = folder.fs
    return store.find(folder.path, detail=True)


def sizes_below(folder: UPath) -> dict[str, int]:
    """Every file below a folder, by its path in it, with its size.

    One listing, as a store of objects is asked for each name else.

    Args:
        folder: It may be missing.
    """
    if not folder.is_dir():
        return {}
    base = folder.path.rstrip("/") + "/"
    found = files_below(folder)
    return {path.removeprefix(base): int(found[path]["size"]) for path in sorted(found)}


def is_hidden(name: str) -> bool:
    """Whether Spark leaves out a file of a folder.

    Args:
        name: Its path in the folder.
    """
    return any(part.startswith((".", "_")) and "=" not in part for part in name.split("/"))


def changed_at(detail: Mapping[str, Any]) -> datetime:
    """When a file was changed last; now, if a store does not say.

    Args:
        detail: What the store says of it.
    """
    changed = detail.get("LastModified", detail.get("mtime"))
    if isinstance(changed, int | float):
        return datetime.fromtimestamp(changed, UTC)
    return changed if isinstance(changed, datetime) else datetime.now(UTC)


def files_matching(pattern: UPath) -> Mapping[str, Mapping[str, Any]]:
    """Every file whose path matches a pattern, and those in folders that do, as `files_below`.

    Args:
        pattern: A path with wildcards.
    """
    store: Any = pattern.fs
    found: dict[str, Mapping[str, Any]] = {}
    for path, detail in store.glob(pattern.path, detail=True).items():
        found |= store.find(path, detail=True) if detail["type"] == "directory" else {path: detail}
    return found


def has_files(place: UPath) -> bool:
    """Whether there is a file that Spark reads at a path, or below it.

    Args:
        place: A file, a folder, or a path with wildcards.
    """
    if any(sign in place.path for sign in "*?["):
        return bool(files_matching(place))
    return place.is_file() or any(not is_hidden(name) for name in sizes_below(place))


def copy_file(folder: UPath, path: str, to: str) -> None:
    """Copy a file within a store.

    Args:
        folder: Any folder of the store.
        path: The file's path in the store.
        to: The path of the copy.
    """
    store: Any = folder.fs
    store.cp_file(path, to)


def remove_empty_folders(folder: UPath, name: str) -> None:
    """Remove the folders that a file was in, if nothing is left in them; a store of objects has none.

    Args:
        folder: Stays.
        name: The file's path in the folder.
    """
    if folder.protocol not in ("", "file", "local"):
        return
    for parent in list(PurePosixPath(name).parents)[:-1]:
        try:
            (folder / str(parent)).rmdir()
        except OSError:
            return


def remove_tree(folder: UPath) -> None:
    """Remove a folder and all that is in it.

    Args:
        folder: The folder.
    """
    store: Any = folder.fs
    store.rm(folder.path, recursive=True)
