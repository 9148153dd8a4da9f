"""Which column of a place has a key: the one of its name, or the one that a person has named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline_platform.erasure.keys import Keys
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.frames.columns import find_column

_LEFT_OUT = "-"


@dataclass(frozen=True)
class GivenColumns:
    """Columns that a person has named.

    Args:
        by_place: By the name of a place: by key, or under `""` for all keys, the column; `-` for a place that has none.
    """

    by_place: Mapping[str, Mapping[str, str]]

    def leaves_out(self, place: str) -> bool:
        """Whether a place is to be left out."""
        return _LEFT_OUT in self.by_place.get(place, {}).values()

    def names(self, place: str) -> bool:
        """Whether a person has named the column of a place."""
        return place in self.by_place

    def require_places(self, names: Sequence[str]) -> None:
        """Make sure that each place that was named is one.

        Args:
            names: Those there are.

        Raises:
            PipelineConfigurationException: One is not.
        """
        for place in self.by_place:
            if place not in names:
                raise PipelineConfigurationException(
                    f"--column names '{place}', and the places are {', '.join(names)}",
                    hint="write it as in the first column of the table",
                )

    def columns(self, place: str, keys: Keys, there: Sequence[str]) -> dict[str, str]:
        """By key, the column of a place that has it; a key that has none is left out.

        Args:
            place: The name of the place.
            keys: The keys.
            there: The columns of the place.

        Raises:
            PipelineConfigurationException: The place has no column of the name that was given.
        """
        given = self.by_place.get(place, {})
        found: dict[str, str] = {}
        for key in keys.values:
            named = given.get(key, given.get("") if len(keys.values) == 1 else None)
            column = find_column(there, named or key)
            if named is not None and column is None:
                raise PipelineConfigurationException(
                    f"'{place}' has no column '{named}', but {', '.join(there)}", hint="correct --column"
                )
            if column is not None:
                found[key] = column
        return found


def given_columns(options: Sequence[str]) -> GivenColumns:
    """Columns by place, of options `PIPELINE.STEP=COLUMN`, `PIPELINE.STEP=KEY:COLUMN` or `PIPELINE.STEP=-`.

    Args:
        options: The options.

    Raises:
        PipelineConfigurationException: One is none of these.
    """
    found: dict[str, dict[str, str]] = {}
    for option in options:
        place, is_given, said = option.partition("=")
        if not is_given or not place or not said:
            raise PipelineConfigurationException(
                f"--column needs the form PIPELINE.STEP=COLUMN, not '{option}'",
                hint="PIPELINE.STEP=KEY:COLUMN says which of several keys, and PIPELINE.STEP=- leaves a place out",
            )
        key, has_key, column = said.partition(":")
        found.setdefault(place, {})[key if has_key else ""] = column if has_key else said
    return GivenColumns(found)
