"""What a change does, for people: at a terminal, and as a comment of a pull request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from rich.console import Group, RenderableType
from rich.text import Text

from pipeline_platform.planning.changes import Change, ChangePlan, Severity

_STYLES = {Severity.SAFE: "green", Severity.DATA: "yellow", Severity.BREAKING: "bold red"}
_MARKS = {Severity.SAFE: "✅", Severity.DATA: "🟡", Severity.BREAKING: "🔴"}
_NOTHING = "nothing changes"


def terminal_report(plan: ChangePlan) -> RenderableType:
    """The plan as it is printed at a terminal.

    Args:
        plan: The plan.
    """
    lines: list[Text] = []
    for pipeline, changes in _by_pipeline(plan):
        lines.append(Text(pipeline, style="bold"))
        for change in changes:
            lines += _lines(change)
    if plan.unknown:
        lines.append(Text("not known", style="bold"))
        lines += [Text(f"  {name}: {why}", style="yellow") for name, why in plan.unknown.items()]
    if plan.reruns:
        lines.append(Text("to run again, in this order", style="bold"))
        for one in plan.reruns:
            lines += [Text(f"  {command}", style="cyan") for command in one.commands]
            lines.append(Text(f"    {one.pipeline}: {one.why}", style="dim"))
    lines.append(Text(told_verdict(plan), style=_STYLES[plan.verdict]))
    return Group(*lines)


def _lines(change: Change) -> Iterator[Text]:
    word = Text(f"  {change.severity.word:<13}", style=_STYLES[change.severity])
    yield word + Text(change.text, style="default")
    yield Text(f"{'':15}{change.place}", style="dim")
    if change.todo is not None:
        yield Text(f"{'':15}next: {change.todo}", style="cyan")


def told_verdict(plan: ChangePlan) -> str:
    """The plan in one line.

    Args:
        plan: The plan.
    """
    if not plan.changes and not plan.unknown:
        return f"{_NOTHING}, compared with {plan.against}"
    counts = [
        f"{sum(change.severity == severity for change in plan.changes)} {severity.word}"
        for severity in sorted(Severity, reverse=True)
    ]
    if plan.unknown:
        counts.append(f"{len(plan.unknown)} not known")
    return f"{plan.word}: {', '.join(counts)}, compared with {plan.against}"


def markdown_report(plan: ChangePlan) -> str:
    """The plan as a comment of a pull request.

    Args:
        plan: The plan.
    """
    lines = [f"### {_MARKS[plan.verdict]} {escaped(told_verdict(plan))}", ""]
    for pipeline, changes in _by_pipeline(plan):
        lines += [f"**{escaped(pipeline)}**", "", "| | change | where |", "|---|---|---|"]
        for change in changes:
            todo = f"<br>next: {escaped(change.todo)}" if change.todo is not None else ""
            lines.append(f"| {_MARKS[change.severity]} | {escaped(change.text)}{todo} | {escaped(change.place)} |")
        lines.append("")
    if plan.unknown:
        lines += ["**Not known**", "", *(f"- {escaped(f'{name}: {why}')}" for name, why in plan.unknown.items()), ""]
    if plan.reruns:
        lines += ["**To run again, in this order**", "", "```sh"]
        for one in plan.reruns:
            lines += [f"# {' '.join(f'{one.pipeline}: {one.why}'.split())}", *one.commands]
        lines += ["```", ""]
    return "\n".join(lines)


def _by_pipeline(plan: ChangePlan) -> Iterator[tuple[str, Sequence[Change]]]:
    for pipeline, changes in groupby(plan.changes, key=lambda change: change.pipeline):
        yield pipeline, list(changes)


def escaped(text: str) -> str:
    """A text that is no markup, and stays in its cell.

    Args:
        text: Any text.
    """
    plain = "".join(f"\\{character}" if character in "\\`*_{}[]<>#|~@" else character for character in text)
    return " ".join(plain.split())
