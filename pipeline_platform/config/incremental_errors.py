"""What is wrong with reading only what is new, as far as a file shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipeline_platform.config.config_error import ConfigError
from pipeline_platform.config.graph import Draft
from pipeline_platform.config.incremental import fed_loads
from pipeline_platform.config.step import Step


def incremental_errors(steps: Sequence[Step], drafts: Sequence[Draft]) -> Iterator[ConfigError]:
    """Every mistake, at its place.

    Args:
        steps: The steps.
        drafts: The same, as they stand in the file.
    """
    sources: dict[int, list[Step]] = {}
    for step in steps:
        if not step.config.reads_increments():
            continue
        place = drafts[step.index].key("incremental")
        loads = fed_loads(steps, step)
        if len(loads) != 1:
            found = f"{len(loads)} loads" if loads else "no load"
            yield place.problem(
                f"where this has come is remembered by the load of its rows, and they go to {found}",
                on_key=True,
                hint="have one load in the pipeline for it; others can read that load's table",
            )
            continue
        if step.config.loads_again() and not loads[0].config.merges_rows():
            yield (
                drafts[step.index]
                .key("incremental", "changedFiles")
                .problem(
                    f"rows of a file that is loaded again would be there twice, as step {loads[0].number} "
                    "does not merge them",
                    hint="have the load merge by a key, or set 'changedFiles' to fail or ignore",
                )
            )
        sources.setdefault(loads[0].index, []).append(step)
        if (wrong := loads[0].config.cursor_error(looks_again=step.config.looks_again())) is not None:
            key, message = wrong
            draft = drafts[loads[0].index]
            yield (draft.place if key is None else draft.key(key)).problem(
                f"{message}; step {step.number} is incremental"
            )
    for load, extracts in sources.items():
        if len(extracts) > 1:
            numbers = " and ".join(str(step.number) for step in extracts)
            yield drafts[load].place.problem(
                f"a load can remember where it has come in one source, and steps {numbers} are incremental",
                hint="make a pipeline of each",
            )
