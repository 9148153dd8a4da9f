"""Carries out an erase, place by place; what was done in each is written down before the next one is begun."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline_platform.erasure.keys import Keys
from pipeline_platform.erasure.look import Look, Survey, told_of
from pipeline_platform.erasure.reason import reason_of
from pipeline_platform.erasure.record import EraseRecord, PlaceRecord, State, write_record
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.steps.erasing import Erased, Found, Order

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_STATES: dict[str, State] = {"empty": "nothing", "left out": "left out", "impossible": "failed"}


@dataclass(frozen=True)
class Erasing:
    """An erase that is carried out.

    Args:
        survey: What was found.
        folder: Where the proof is written.
        spark: Gives the session.
        at_once: Whether earlier versions are removed without waiting for their readers.
        breaks_streams: Whether streams that read a place may have to be started over.
    """

    survey: Survey
    folder: Path
    spark: Callable[[], SparkSession]
    at_once: bool = False
    breaks_streams: bool = False

    def require_possible(self) -> None:
        """Make sure that nothing is begun that could not be told to be whole.

        Raises:
            PipelineExecutionException: A person has to decide something first.
        """
        if undecided := self.survey.of_state("undecided"):
            told = "; ".join(f"{look.place.name}: {', '.join(look.unsearched) or look.told[-1]}" for look in undecided)
            name = undecided[0].place.name
            raise PipelineExecutionException(
                f"it is not known by which column all rows are found: {told}",
                hint=f"say --column {name}=COLUMN, or --column {name}=- if it holds nothing of the person; nothing was "
                "erased",
            )
        for reader in self.survey.readers:
            name, place = reader.pipeline.name, reader.place
            if not (reader.loses_rows or self.at_once):
                continue
            if reader.is_running:
                raise PipelineExecutionException(
                    f"the stream '{name}' is running and reads {place.location}: it fails once rows of it are deleted",
                    hint=f"stop it, once it has read all: pipeline-platform stop {reader.pipeline.command_arguments}; "
                    "nothing was erased",
                )
            if not self.breaks_streams:
                raise PipelineExecutionException(
                    f"the stream '{name}' reads {place.location}, and can't continue once rows of it are deleted",
                    hint="let it read all and stop it; --break-streams erases then, and says how it is started over; "
                    "nothing was erased",
                )

    def run(self, record: EraseRecord, keys: Keys) -> Generator[PlaceRecord, None, EraseRecord]:
        """Erase from each place, and look at it again.

        Args:
            record: What was done before.
            keys: Whose rows.

        Yields:
            What was done in a place, once it is written down.

        Returns:
            The whole record.

        Raises:
            PipelineException: The proof can't be written.
        """
        record = record.model_copy(update={"sources": list(self.survey.sources)})
        write_record(self.folder, record)
        for look in self.survey.looks:
            before, done = record.places.get(look.place.location), self._begun(look, record)
            record = record.with_place(done)
            if look.state == "found":
                # Rows that are gone without a word of it would be no proof.
                write_record(self.folder, record)
                was_cut_off = before is not None and before.state in ("begun", "failed")
                done = self._erased(look, done, record.mark, was_cut_off=was_cut_off)
                record = record.with_place(done)
            write_record(self.folder, record)
            yield done
        ends = {place.state for place in record.places.values()}
        record = record.model_copy(update={"complete": ends <= {"erased", "nothing", "left out"}})
        write_record(self.folder, record)
        return record

    def _begun(self, look: Look, record: EraseRecord) -> PlaceRecord:
        place = look.place
        before = record.places.get(place.location, PlaceRecord(place=place.name, location=place.location))
        return before.model_copy(
            update={
                "columns": dict(look.columns or {}),
                "state": _STATES.get(look.state, "begun"),
                "rows_before": max(before.rows_before, before.rows_deleted + look.found.rows),
                "told": list(look.told),
            }
        )

    def _erased(self, look: Look, done: PlaceRecord, mark: str, *, was_cut_off: bool) -> PlaceRecord:
        erasable = look.place.erasable
        assert not isinstance(erasable, str)
        try:
            if look.holds:
                done = _with(done, erasable.erase(look.wanted, Order(mark, self.spark, self.at_once)))
            if was_cut_off and not look.found.rows and done.rows_deleted < done.rows_before:
                told = "deleted by a run that was cut off before it wrote that down"
                done = done.model_copy(update={"rows_deleted": done.rows_before, "told": [*done.told, told]})
            after = erasable.found(look.wanted, mark)
        # What a driver or a store says may have any type; what was done is written down first.
        except Exception as error:  # noqa: BLE001
            return done.model_copy(update={"state": "failed", "told": [*done.told, reason_of(error)]})
        stale = told_of(look.found, contains=look.wanted.contains)
        done = done.model_copy(update={"told": [told for told in done.told if told not in stale]})
        return _verified(done, after, told_of(after, contains=look.wanted.contains))


def _with(done: PlaceRecord, erased: Erased) -> PlaceRecord:
    now = datetime.now(UTC)
    return done.model_copy(
        update={
            "rows_deleted": done.rows_deleted + erased.rows,
            "deleted_at": now if erased.rows or erased.version is not None else done.deleted_at,
            "version": erased.version if erased.version is not None else done.version,
            "files_rewritten": done.files_rewritten + erased.rewritten,
            "files_removed": done.files_removed + erased.removed,
            "log_entries_removed": done.log_entries_removed + erased.log,
            "told": [*done.told, *erased.notes],
        }
    )


def _verified(done: PlaceRecord, after: Found, notes: Sequence[str]) -> PlaceRecord:
    """What was done, with what is left of it by another look at all that is stored."""
    counts = {
        "rows": after.rows,
        "rows in earlier versions": after.history,
        "rows in files of no version": after.unknown,
        "rows that are marked as deleted": after.marked,
        "log entries": after.log,
        "rows with the key within a text": after.within_text,
    }
    left = {name: count for name, count in counts.items() if count}
    state: State = "erased" if done.rows_deleted or done.files_removed or done.log_entries_removed else "nothing"
    told = list(dict.fromkeys((*done.told, *notes, *after.unsearched)))
    if after.rows:
        state = "failed"
        told.append("rows are there again, or still: a load may have brought them; run it again")
    elif after.within_text:
        state = "failed"
        told.append("rows with the key within a text are left: --contains erases them")
    elif after.unsearched:
        # A load has brought it since the look before.
        state = "failed"
    elif after.remains:
        state = "waiting"
        if after.unknown:
            told.append("files of no version have rows: of a load that is running, or of one that was killed")
    return done.model_copy(
        update={
            "state": state,
            "left": left,
            "verified_at": datetime.now(UTC),
            "waits_until": after.removable_at if state == "waiting" else None,
            "told": told,
        }
    )
