"""Whole folders of any store, each in as few requests as the store allows; fsspec, which does it, has no types."""

from __future__ import annotations

from collections.abc import Mapping
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


def copy_file(folder: UPath, path: str, to: str) -> None:
    """Copy a file within a store.

    Args:
        folder: Any folder of the store.
        path: The file's path in the store.
        to: The path of the copy.
    """
    store: Any = folder.fs
    store.cp_file(path, to)


def remove_tree(folder: UPath) -> None:
    """Remove a folder and all that is in it.

    Args:
        folder: The folder.
    """
    store: Any = folder.fs
    store.rm(folder.path, recursive=True)
