"""Partitions of a pipeline: the parts that its tables are loaded in, such as days, and the one that a run loads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from pipeline_platform.config.format_model import FormatModel
from pipeline_platform.config.schedule import TimeZone
from pipeline_platform.config.values import Natural, Text, one_of

PartitionType = Literal["hourly", "daily", "weekly", "monthly", "static", "dynamic"]
TIME_PARTITIONS = ("hourly", "daily", "weekly", "monthly")
PARTS = ("key", "start", "end")
"""What `${partition:…}` may name."""
_FORMATS = ("%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S")
# The keys of each type, and those that it can't do without.
_KEYS: Mapping[str, tuple[set[str], set[str]]] = {
    **dict.fromkeys(TIME_PARTITIONS, ({"start", "end", "timezone", "lookback"}, {"start"})),
    "static": ({"keys"}, {"keys"}),
    "dynamic": ({"name"}, {"name"}),
}
_WEEK = 7
_FIRST_YEAR = 1000
# Dagster looks for the weeks and months before one by one.
_MOST_BEFORE = 10_000
# Dagster's own: a key with a comma would be two on its pages, and `...` is how it writes a range.
_NOT_IN_KEYS = (",", "...", "\n", "\0", "${")
NULL_FOLDER = "__HIVE_DEFAULT_PARTITION__"
"""What stands for NULL where values are names of folders, as Hive, Spark and Delta write them."""


def _plain(text: str) -> str:
    if not text.strip():
        raise PydanticCustomError("plain", "must not be blank")
    if "${" in text:
        raise PydanticCustomError("plain", "no placeholder is replaced here: '{text}'", {"text": text})
    return text


PlainText = Annotated[Text, AfterValidator(_plain)]


class Partitions(FormatModel):
    """How a batch pipeline is divided: each run loads one part, or several that follow each other."""

    type: Annotated[PartitionType, one_of("hourly", "daily", "weekly", "monthly", "static", "dynamic")]
    """By time, by the `keys` in the file (`static`), or by keys that are added while Dagster runs (`dynamic`)."""
    column: PlainText
    """The column of what is loaded that says to which partition a row belongs: a date or a timestamp; for `static` and
    `dynamic` one that holds the key. Each load takes the rows of the run's partition alone; those that have NULL in it
    belong to none."""
    start: PlainText | None = None
    """By time: start of the first partition, such as `2024-01-01`. Weeks begin on its day of the week."""
    end: PlainText | None = None
    """By time: end of the last partition, exclusive; by default there are more as time goes on."""
    timezone: TimeZone = "UTC"
    """By time: where a day begins, such as `Europe/Berlin`."""
    lookback: Annotated[Natural, Field(le=_MOST_BEFORE)] = 0
    """By time: how many partitions before its own a partition also reads, such as 6 of days for a moving average of
    seven days. Where another pipeline loads one of these again, Dagster takes this one to be affected. It says what the
    steps read, and changes nothing of that."""
    keys: Annotated[list[Text], Field(min_length=1)] | None = None
    """`static`: the keys."""
    name: PlainText | None = None
    """`dynamic`: the name under which Dagster keeps the keys; pipelines with the same name share them."""

    @property
    def by_time(self) -> bool:
        """Whether the partitions are intervals of time."""
        return self.type in TIME_PARTITIONS

    @property
    def first(self) -> datetime:
        """Start of the first partition, in the time zone, without saying so; only by time."""
        assert self.start is not None
        return _moment(self.start)

    @property
    def last_end(self) -> datetime | None:
        """End of the last partition, as `first`; None if there is no last one."""
        return _moment(self.end) if self.end is not None else None

    @model_validator(mode="after")
    def _keys_fit_type(self) -> Self:
        allowed, needed = _KEYS[self.type]
        for key in ("start", "end", "timezone", "lookback", "keys", "name"):
            if key in self.model_fields_set and key not in allowed:
                raise _wrong(key, f"partitions of type {self.type} have no '{key}'")
        for key in sorted(needed - self.model_fields_set):
            raise _wrong("type", f"partitions of type {self.type} need '{key}'")
        return self

    @model_validator(mode="after")
    def _times_are_right(self) -> Self:
        if not self.by_time or self.start is None:
            return self
        for key, text in (("start", self.start), ("end", self.end)):
            if text is not None and (wrong := self._wrong_time(text)) is not None:
                raise _wrong(key, wrong)
        if self.end is not None and _moment(self.end) <= self.first:
            raise _wrong("end", "'end' has to be after 'start'")
        if self.end is not None and self.type == "weekly" and (_moment(self.end) - self.first).days % _WEEK:
            raise _wrong("end", "'end' is within a week: it has to be some weeks after 'start'")
        return self

    def _wrong_time(self, text: str) -> str | None:
        expected = "a time, such as '2024-01-01T06:00'" if self.type == "hourly" else "a date, such as '2024-01-01'"
        try:
            moment = _moment(text)
        except ValueError:
            return f"expected {expected}, not '{text}'"
        if moment.year < _FIRST_YEAR:
            return f"expected a year from {_FIRST_YEAR} on, as keys have four digits for it"
        is_whole = (moment.minute, moment.second) == (0, 0) and (self.type == "hourly" or moment.hour == 0)
        if not is_whole:
            return f"partitions of type {self.type} begin at a whole {'hour' if self.type == 'hourly' else 'day'}"
        if self.type == "monthly" and moment.day != 1:
            return "a month begins on its first day"
        return None

    @model_validator(mode="after")
    def _static_keys_are_right(self) -> Self:
        keys = self.keys or []
        for place, key in enumerate(keys):
            if key in keys[:place]:
                raise _wrong("keys", f"the key '{key}' is there twice", place)
            if (no_value := no_value_mistake(key)) is not None:
                raise _wrong("keys", no_value, place)
            if any(text in key for text in _NOT_IN_KEYS) or key.strip() != key or not key.isprintable():
                message = f"a key must not hold commas, '...', '${{', control characters or space around it: {key!r}"
                raise _wrong("keys", message, place)
        return self


def no_value_mistake(key: str) -> str | None:
    """Why a key can't be a value of a column, be it static or dynamic; None if it can.

    Args:
        key: The key.
    """
    if not key.strip():
        return "the key of a partition must not be empty or blank: nothing tells its rows from those without a key"
    if key == NULL_FOLDER:
        return f"the key '{NULL_FOLDER}' stands for NULL in names of folders, and rows with NULL belong to no partition"
    return None


def _wrong(key: str, message: str, *place: int) -> PydanticCustomError:
    return PydanticCustomError("partitions", "{message}", {"message": message, "key": key, "keys": place})


def _moment(text: str) -> datetime:
    for form in _FORMATS:
        try:
            return datetime.strptime(text, form)
        except ValueError:
            continue
    raise ValueError(text)


@dataclass(frozen=True)
class Partition:
    """What a run loads: one partition, or several by time that follow each other.

    Args:
        column: The column that says to which partition a row belongs.
        keys: Their keys, in order.
        start: By time: when the first one begins, with its time zone.
        end: By time: when the last one ends, exclusive.
        whole_days: Whether it begins and ends at the beginning of a day.
    """

    column: str
    keys: tuple[str, ...]
    start: datetime | None = None
    end: datetime | None = None
    whole_days: bool = False

    def __str__(self) -> str:
        """The keys, for people."""
        return self.keys[0] if len(self.keys) == 1 else f"{self.keys[0]} to {self.keys[-1]} ({len(self.keys)})"

    @property
    def load_key(self) -> str:
        """What tells its loads from those of other partitions."""
        return "..".join(dict.fromkeys((self.keys[0], self.keys[-1])))

    def is_safe_in_path(self) -> bool:
        """Whether its key can be a part of a path without leading somewhere else, or to several files."""
        return all(key not in (".", "..") and not re.search(r"[/\\*?\[\]{}]", key) for key in self.keys)

    def is_safe_in_table(self) -> bool:
        """Whether its key can be a part of a table's name, and not of a schema's or of a quoted name."""
        return not any(re.search(r"[./\\\"'`]", key) for key in self.keys)

    def texts(self) -> dict[str, str]:
        """What stands for `${partition:key}`, `${partition:start}` and `${partition:end}`; a range has no key.

        A time in UTC is written without its zone, as that is the zone of every session, and the beginning of a day as
        its date, so that it is right beside dates that are kept as text. Any other has its offset, so that both its day
        and its instant are right.
        """
        key = {"key": self.keys[0]} if len(self.keys) == 1 else {}
        times = {"start": self.start, "end": self.end}
        return key | {name: self._text(time) for name, time in times.items() if time is not None}

    def _text(self, time: datetime) -> str:
        is_utc = time.tzinfo is None or getattr(time.tzinfo, "key", str(time.tzinfo)) == "UTC"
        if not is_utc:
            return time.isoformat(sep=" ")
        return time.date().isoformat() if self.whole_days else time.replace(tzinfo=None).isoformat(sep=" ")
