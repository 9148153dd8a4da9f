"""`methods`: what a step can do, at the terminal."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator
from typing import Annotated

import typer

from pipeline_platform.cli.output import FAILED
from pipeline_platform.config.config_error import nearest
from pipeline_platform.config.method_registry import MethodRegistry
from pipeline_platform.config.methods import (
    KINDS,
    description_of,
    example_of,
    json_text,
    methods_of,
    names_of,
    summary_of,
)
from pipeline_platform.config.step import StepConfig
from pipeline_platform.registry import method_registry

_WIDEST = 110


def methods(
    name: Annotated[
        str | None, typer.Argument(help="A method, for its keys and an example.", show_default=False)
    ] = None,
) -> None:
    """List all methods by type of step; with a NAME, tell its keys, their types and defaults, and show an example."""
    registry = method_registry()
    for plugin in registry.failed:
        typer.echo(f"warning: {plugin}", err=True)
    if name is None:
        typer.echo("\n".join(_all(registry)))
        return
    found = [of_type[name] for of_type in registry.values() if name in of_type]
    if not found:
        names = [method.method for method in methods_of(registry)]
        meant = registry.misnomers.get(name.lower()) or nearest(name, names) or "pipeline-platform methods lists all"
        typer.echo(f"unknown method '{name}' ({meant})", err=True)
        raise typer.Exit(FAILED)
    typer.echo("\n\n".join("\n".join(_one(method, registry)) for method in found))


def _all(registry: MethodRegistry) -> Iterator[str]:
    for kind, does in KINDS.items():
        of_kind = [method for method in methods_of(registry) if method.step_type == kind]
        longest = max(len(method.method) for method in of_kind)
        yield f"{kind}: {does[0].lower()}{does[1:]}"
        for method in of_kind:
            name = f"  {method.method:{longest}}  "
            # A method of another package may have nothing to say.
            yield from _wrapped(summary_of(method), name, " " * len(name)) or [name.rstrip()]
        yield ""
    yield "Keys and an example of one: pipeline-platform methods NAME"


def _one(method: type[StepConfig], registry: MethodRegistry) -> Iterator[str]:
    from pipeline_platform.config.reference import rows_of

    yield f"{method.method} ({method.step_type})"
    yield ""
    yield description_of(method)
    aliases = [name for name in names_of(method, registry) if name != method.method]
    if aliases:
        yield f"\nAlso called {', '.join(aliases)}."
    if (step := example_of(method)) is not None:
        yield f"\nExample:\n\n{textwrap.indent(json_text(step), '  ')}"
    yield "\nKeys:"
    for row in rows_of(method):
        default = f", default {row.default}" if row.default.startswith("`") else f", {row.default}" * bool(row.default)
        yield ""
        yield from _wrapped(f"{row.key}: {row.type}{default}".replace("`", ""), "  ", "    ")
        yield from _wrapped(" ".join(row.meaning.split()), "    ", "    ")
    if method.other_keys:
        yield f"\nOther keys are passed on as they are, such as {', '.join(method.other_keys)}."


def _wrapped(text: str, first: str, others: str) -> list[str]:
    width = min(shutil.get_terminal_size().columns, _WIDEST)
    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=others, break_long_words=False, break_on_hyphens=False
    )
