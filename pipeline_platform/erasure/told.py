"""What an erase finds and does, as people read it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from pipeline_platform.erasure.look import Look, Survey
from pipeline_platform.erasure.record import EraseRecord, PlaceRecord

Part = Table | Text


def shown_survey(survey: Survey, *, yes: bool) -> Iterator[Part]:
    """What was found, as a table and some lines below it.

    Args:
        survey: What was found.
        yes: Whether it is erased now.
    """
    table = Table(box=SIMPLE, pad_edge=False)
    for name in ("place", "found by", "rows", "in earlier versions", "to know"):
        table.add_column(name, justify="right" if name == "rows" else "left", overflow="fold", no_wrap=name == "place")
    for look in survey.looks:
        columns = ", ".join((look.columns or {}).values()) or "-"
        rows = f"{look.found.rows:,}" if look.state == "found" else look.state
        table.add_row(*(Text(cell) for cell in (look.place.name, columns, rows, _kept(look), "; ".join(look.told))))
    yield table
    for reader in survey.readers:
        if reader.loses_rows:
            name = reader.pipeline.name
            yield Text(f"the stream '{name}' reads {reader.place.name}: it fails once rows are deleted there")
    for source in survey.sources:
        yield Text(f"not looked into: the source {source}; what is loaded from it again brings back what it still has")
    for checkpoint in survey.streams:
        yield Text(f"not looked into: the state of a stream in {checkpoint}")
    if not any(look.holds or look.found.within_text for look in survey.looks):
        yield Text("no row of any place has one of these values: check the key, and how it is written")
    elif not yes:
        yield Text("nothing was changed; --yes erases it")


def _kept(look: Look) -> str:
    found = look.found
    told: list[str] = []
    if found.history:
        until = f", until {_day(found.removable_at)}" if found.removable_at is not None else ""
        told.append(f"{found.history:,} in {found.history_files} files{until}")
    if found.marked:
        told.append(f"{found.marked:,} marked as deleted")
    if found.unknown:
        told.append(f"{found.unknown:,} in files of no version")
    if found.log:
        told.append(f"{found.log} log entries")
    return "; ".join(told) or "-"


def outcome_table(record: EraseRecord, survey: Survey, folder: Path) -> Iterator[Part]:
    """What was done, as a table and some lines below it.

    Args:
        record: What was done.
        survey: What was found before.
        folder: Where the proof is.
    """
    table = Table(box=SIMPLE, pad_edge=False)
    for name in ("place", "outcome", "rows deleted", "files written again", "files removed", "left"):
        justify = "left" if name in ("place", "outcome", "left") else "right"
        table.add_column(name, justify=justify, overflow="fold", no_wrap=name == "place")
    for place in record.places.values():
        counts = (place.rows_deleted, place.files_rewritten, place.files_removed)
        table.add_row(place.place, _outcome(place), *(f"{count:,}" for count in counts), Text(_left(place)))
    yield table
    for reader in survey.readers:
        done = record.places.get(reader.place.location)
        if reader.loses_rows and done is not None and done.version is not None:
            version, arguments = done.version + 1, reader.pipeline.command_arguments
            yield Text(
                f"start '{reader.pipeline.name}' over: set \"startingVersion\": {version} in the step that reads "
                f"{reader.place.location}, then: pipeline-platform reset-checkpoint {arguments}"
            )
    if any(place.state == "waiting" for place in record.places.values()):
        yield Text("rows are gone from what is read now; the same command again removes and proves the rest")
    yield Text(f"the proof: {folder / f'{record.id}.json'}")


def _outcome(place: PlaceRecord) -> str:
    until = f" until {_day(place.waits_until)}" if place.waits_until is not None else ""
    return f"{place.state}{until}"


def _left(place: PlaceRecord) -> str:
    left = ", ".join(f"{count:,} {name}" for name, count in place.left.items())
    return "; ".join(filter(None, (left, *place.told))) or "nothing"


def _day(time: datetime | None) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC" if time is not None else "-"
