"""How the rows of both versions differ, for people: at a terminal, and as a part of a comment of a pull request."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.text import Text

from pipeline_platform.difference_text import difference_lines, example_rows, shown_difference
from pipeline_platform.planning.data_differences import DataDifferences, LoadDifference, PipelineDifference
from pipeline_platform.planning.report import escaped

_BEFORE, _NOW = "before", "now"
_NOTHING = "no rows are others by this change"


def _title(data: DataDifferences) -> str:
    limit, partition = data.sample.limit, data.sample.partition
    parts = [f"all rows of {partition}"] if partition is not None else []
    if limit is None:
        parts.append("all rows of the sources" if partition is None else "of the other pipelines all rows")
    else:
        parts.append(f"at most {limit:,} rows of each extract" + (" of the other pipelines" if partition else ""))
    return f"what is loaded, before and now: {'; '.join(parts)}"


def _remarks(one: PipelineDifference) -> Iterator[str]:
    """What is told of a pipeline beside its loads."""
    before, now = one.before, one.now
    if before is not None and now is not None and before.told == now.told:
        yield f"the run fails in both versions: {now.told}"
    else:
        yield from (f"the run {when} fails: {run.told}" for when, run in ((_BEFORE, before), (_NOW, now)) if run)
    if one.left_out is not None:
        yield f"not compared: {one.left_out}"
    if not one.loads:
        return
    if one.cut:
        yield (
            f"only the first rows of {', '.join(one.cut)}: sums and counts are those of these rows, and a join finds "
            "few of its rows"
        )
    yield from one.notes


def terminal_data_report(data: DataDifferences) -> RenderableType:
    """The rows as they are printed at a terminal.

    Args:
        data: How the rows differ.
    """
    lines: list[RenderableType] = [Text(_title(data), style="bold")]
    for one in data.pipelines:
        lines.append(Text(one.pipeline, style="bold"))
        lines += [Text(f"  {remark}", style="yellow") for remark in _remarks(one)]
        for load in one.loads:
            lines.append(Text(f"  {load.sink}") + Text(f"  {load.place}", style="dim"))
            if load.note is not None:
                lines.append(Text(f"  {load.note}", style="yellow"))
            if load.found is not None:
                lines.append(shown_difference(load.found, _BEFORE, _NOW, "  "))
    if not data.pipelines:
        lines.append(Text(f"  {_NOTHING}"))
    lines.append(Text())
    return Group(*lines)


def markdown_data_report(data: DataDifferences) -> str:
    """The rows as a part of a comment of a pull request.

    Args:
        data: How the rows differ.
    """
    lines = [f"#### W{escaped(_title(data))[1:]}", ""]
    for one in data.pipelines:
        lines += [f"**{escaped(one.pipeline)}**", ""]
        if remarks := list(_remarks(one)):
            lines += [*(f"- {escaped(remark)}" for remark in remarks), ""]
        for load in one.loads:
            lines += _markdown(load)
    if not data.pipelines:
        lines += [escaped(_NOTHING), ""]
    return "\n".join(lines)


def _markdown(load: LoadDifference) -> Iterator[str]:
    yield f"{escaped(load.sink)} ({escaped(load.place)})"
    yield ""
    if load.note is not None:
        yield f"- {escaped(load.note)}"
    if load.found is None:
        yield ""
        return
    for line in difference_lines(load.found, _BEFORE, _NOW):
        yield f"- {escaped(line)}"
    yield ""
    names, rows = example_rows(load.found)
    if rows:
        yield f"| {' | '.join(map(escaped, names))} |"
        yield f"|{'---|' * len(names)}"
        for _, cells in rows:
            yield f"| {' | '.join(map(escaped, cells))} |"
        yield ""
