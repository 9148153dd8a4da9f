"""Folders that are one, or of which one is within the other."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")
_LOCAL = "file://"


class FoldersWithin(Generic[T]):
    """Finds what is known of the folders that a place is, that it is within, and that are within it.

    Args:
        known: Places, and what is known of each. Of two that are one folder by a symbolic link, both count.
    """

    def __init__(self, known: Iterable[tuple[str, T]]) -> None:
        self._at: dict[str, list[T]] = {}
        self._within: dict[str, list[T]] = {}
        for place, one in known:
            real = real_place(place)
            self._at.setdefault(real, []).append(one)
            for folder in _above(real):
                self._within.setdefault(folder, []).append(one)

    def meeting(self, place: str) -> Iterator[T]:
        """What is known of all folders that have files in common with a place.

        Args:
            place: The place.
        """
        real = real_place(place)
        yield from self._at.get(real, ())
        for folder in _above(real):
            yield from self._at.get(folder, ())
        yield from self._within.get(real, ())


def meet(one: str, other: str) -> bool:
    """Whether two places are one folder, or one of them is within the other.

    Args:
        one: A place.
        other: Another one.
    """
    return any(True for _ in FoldersWithin([(one, one)]).meeting(other))


def told_as(place: str, met: str) -> str:
    """In words, how two places meet.

    Args:
        place: The one.
        met: The other.
    """
    here, there = real_place(place), real_place(met)
    if here == there:
        return "by a symbolic link, they are one"
    return "it is within that" if here.startswith(f"{there}/") else "it is around that"


def real_place(place: str) -> str:
    """A place with the symbolic links followed that a local path has; others as they are.

    Args:
        place: A place as writers have it.
    """
    return f"{_LOCAL}{os.path.realpath(place.removeprefix(_LOCAL))}" if place.startswith(_LOCAL) else place


def _above(place: str) -> Iterator[str]:
    while (cut := place.rfind("/")) > 0:
        place = place[:cut]
        yield place
