"""What a project holds of a person: each place, the columns that say so, and what has to be decided first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.engine.streaming.checkpoint_place import checkpoint_location
from pipeline_platform.engine.streaming.stream_state import StreamState, state_file
from pipeline_platform.erasure.columns import GivenColumns
from pipeline_platform.erasure.keys import Keys
from pipeline_platform.erasure.lineage import KeyLineage
from pipeline_platform.erasure.places import Place, places_of
from pipeline_platform.erasure.reason import reason_of
from pipeline_platform.erasure.record import EraseRecord
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.steps.erasing import Found, Wanted
from pipeline_platform.steps.extract import Extract

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

State = Literal["found", "empty", "left out", "undecided", "impossible"]


_NOTHING_WANTED, _NOTHING_FOUND = Wanted({}), Found()


@dataclass(frozen=True)
class Look:
    """What a place holds.

    Args:
        place: The place.
        state: `found` if it was looked into, `undecided` if a person has to say by which column, `left out` if a person
            has said that it is to be.
        wanted: What was looked for.
        columns: By key, the column.
        found: What there is.
        told: What is to be known of it.
        unsearched: What of that says that there may be rows that were not found.
    """

    place: Place
    state: State
    wanted: Wanted = _NOTHING_WANTED
    columns: Mapping[str, str] | None = None
    found: Found = _NOTHING_FOUND
    told: tuple[str, ...] = ()
    unsearched: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether there is anything to be erased."""
        return self.deletes or self.found.remains

    @property
    def deletes(self) -> bool:
        """Whether rows of what is read now are to be deleted."""
        return bool(self.found.rows or (self.wanted.contains and self.found.within_text))


@dataclass(frozen=True)
class Reader:
    """A stream that reads a place, and fails once rows of it are deleted.

    Args:
        pipeline: The stream.
        place: The place.
        is_running: Whether a process runs it.
        loses_rows: Whether rows are deleted there; otherwise only what is kept of earlier versions is removed.
    """

    pipeline: PipelineConfig
    place: Place
    is_running: bool
    loses_rows: bool


@dataclass(frozen=True)
class Survey:
    """What a project holds of a person.

    Args:
        looks: Of each place.
        readers: Streams that would fail.
        sources: Where pipelines read from: which may have the rows, too.
        streams: Checkpoints of streams, whose state can't be looked into.
    """

    looks: Sequence[Look]
    readers: Sequence[Reader]
    sources: Sequence[str]
    streams: Sequence[str]

    def told(self) -> dict[str, Any]:
        """It as JSON-like values."""
        places = [
            {
                "place": look.place.name,
                "location": look.place.location,
                "state": look.state,
                "columns": dict(look.columns or {}),
                "found": asdict(look.found),
                "told": list(look.told),
            }
            for look in self.looks
        ]
        readers = [{"stream": reader.pipeline.name, "reads": reader.place.location} for reader in self.readers]
        return {"places": places, "readers": readers, "sources": list(self.sources), "streams": list(self.streams)}

    def of_state(self, *states: State) -> list[Look]:
        """The places of which this is so."""
        return [look for look in self.looks if look.state in states]


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Args:
        pipelines: Those of the project, who writes a table before who reads it.
        keys: Whose rows.
        given: Columns that a person has named.
        contains: Whether rows of quarantines that hold a key within a text are the person's.
    """

    pipelines: Sequence[PipelineConfig]
    keys: Keys
    given: GivenColumns
    contains: bool = False


def surveyed(request: Request, spark: Callable[[], SparkSession], record: EraseRecord, sessions: ExitStack) -> Survey:
    """Look into every place; nothing is changed.

    Args:
        request: What is asked for.
        spark: Gives the session, which is needed where it is not clear which column has the key.
        record: What an erase of the same keys has done already.
        sessions: Closes what places are read by.

    Raises:
        PipelineException: A named place is none, or a variable is missing.
    """
    places = places_of(request.pipelines, sessions)
    request.given.require_places([place.name for place in places])
    looks = [_looked(place, request, record) for place in places]
    if any(_lacks_column(look) for look in looks):
        lineage = KeyLineage(frozenset(request.keys.values))
        lineage.follow(request.pipelines, spark)
        looks = [_decided(look, lineage) if _lacks_column(look) else look for look in looks]
    return Survey(looks, _readers(looks, request.pipelines), _sources(request.pipelines), _streams(request.pipelines))


def _looked(place: Place, request: Request, record: EraseRecord) -> Look:
    if request.given.leaves_out(place.name):
        return Look(place, "left out", told=("left out by --column",))
    if isinstance(place.erasable, str):
        return Look(place, "impossible", told=(place.erasable,))
    try:
        there = place.erasable.columns()
        if there is None:
            return Look(place, "empty", told=("nothing was written yet",))
        columns = request.given.columns(place.name, request.keys, there)
        values: dict[str, frozenset[str]] = {}
        for key, column in columns.items():
            values[column] = values.get(column, frozenset()) | request.keys.values[key]
        wanted = Wanted(
            values,
            request.keys.texts,
            contains=request.contains and place.is_quarantine,
            looks_into_text=place.is_quarantine,
        )
        found = place.erasable.found(wanted, record.mark)
    except PipelineConfigurationException:
        raise
    # What can't be read is told with the others, whatever the driver or the store says.
    except Exception as error:  # noqa: BLE001
        return Look(place, "impossible", told=(reason_of(error),))
    # Who names the column has decided by which rows are found.
    unsearched = (*(() if request.given.names(place.name) else found.doubts), *found.unsearched)
    is_decided = (bool(columns) or place.is_quarantine) and not unsearched
    told = (*told_of(found, contains=request.contains), *unsearched)
    return Look(place, "found" if is_decided else "undecided", wanted, columns, found, told, unsearched)


def told_of(found: Found, *, contains: bool) -> tuple[str, ...]:
    """What is to be known of what was found.

    Args:
        found: What was found.
        contains: Whether rows that hold a value within a text are erased.
    """
    told = list(found.notes)
    if found.alike:
        told.append(
            f"{found.alike} rows have the key in other case or with blanks: give it as it is written there, too"
        )
    if found.within_text and not contains:
        told.append(f"{found.within_text} rows have the key within a text: --contains erases them")
    return tuple(told)


def _lacks_column(look: Look) -> bool:
    return look.state == "undecided" and not look.columns and not look.place.is_quarantine


def _decided(look: Look, lineage: KeyLineage) -> Look:
    """A place without a column of the key's name, by what is known of its columns."""
    names = " or ".join(f"'{name}'" for name in sorted(lineage.names))
    reason = lineage.unknown.get(look.place.pipeline.name)
    if reason is not None:
        told = f"no column {names}, and what its columns are made of is not known: {reason}"
        return replace(look, told=(*look.told, told))
    made = sorted(lineage.made.get(look.place.location, frozenset()))
    if made:
        return replace(look, told=(*look.told, f"no column {names}; made of it: {', '.join(made)}"))
    state: State = "undecided" if look.unsearched else "found"
    return replace(look, state=state, columns={}, told=(*look.told, f"no column {names}, and none made of it"))


def _readers(looks: Sequence[Look], pipelines: Sequence[PipelineConfig]) -> list[Reader]:
    now = datetime.now(UTC)
    found: list[Reader] = []
    for look in looks:
        erasable = look.place.erasable
        if isinstance(erasable, str) or not erasable.breaks_streams or not look.holds:
            continue
        for pipeline in pipelines:
            if pipeline.mode == "streaming" and look.place.location in _read_by(pipeline):
                state = StreamState.read(state_file(pipeline.name))
                is_running = state is not None and state.is_alive(now)
                found.append(Reader(pipeline, look.place, is_running, look.deletes))
    return found


def _sources(pipelines: Sequence[PipelineConfig]) -> list[str]:
    """Where pipelines read from, and none of them writes to."""
    written = {place for pipeline in pipelines for place in _written_by(pipeline)}
    return sorted({place for pipeline in pipelines for place in _read_by(pipeline)} - written)


def _streams(pipelines: Sequence[PipelineConfig]) -> list[str]:
    return [checkpoint_location(pipeline) for pipeline in pipelines if pipeline.mode == "streaming"]


def _read_by(pipeline: PipelineConfig) -> set[str]:
    resolved = pipeline.resolve()
    datasets = (step.config.dataset() for step in resolved.steps if isinstance(step.config, Extract))
    return {dataset.uri for dataset in datasets if dataset is not None}


def _written_by(pipeline: PipelineConfig) -> set[str]:
    from pipeline_platform.steps.load import Load

    return {step.config.dataset().uri for step in pipeline.resolve().steps if isinstance(step.config, Load)}
