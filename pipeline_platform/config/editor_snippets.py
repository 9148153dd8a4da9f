"""What an editor offers to write: whole steps and whole pipelines, as VS Code's `defaultSnippets` have them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from itertools import count
from typing import Any, cast

from pipeline_platform.config.methods import example_of, summary_of
from pipeline_platform.config.step import StepConfig

Snippet = dict[str, Any]

PIPELINES: list[Snippet] = [
    {
        "label": "batch pipeline",
        "description": "A pipeline that runs to its end.",
        "body": {"name": "${1:name}", "mode": "batch", "steps": ["^$0"]},
    },
    {
        "label": "streaming pipeline",
        "description": "A pipeline that runs all the time, and continues from its checkpoint.",
        "body": {"name": "${1:name}", "mode": "streaming", "steps": ["^$0"]},
    },
]


def step_snippets(methods: Iterable[type[StepConfig]]) -> list[Snippet]:
    """The example of each method that has one, as a step in which the keys' values can be gone through with Tab."""
    snippets: list[Snippet] = []
    for method in methods:
        step = example_of(method)
        if step is not None:
            body = {**step, "config": _with_tab_stops(step["config"], count(1))}
            snippets.append({"label": method.method, "description": summary_of(method), "body": body})
    return snippets


def config_snippet(method: type[StepConfig]) -> list[Snippet]:
    """The example's config alone; empty for a method without an example."""
    if method.example is None:
        return []
    return [{"label": f"{method.method} config", "body": _with_tab_stops(method.example, count(1))}]


def _with_tab_stops(value: Any, numbers: count[int]) -> Any:
    """The value with each string, number and flag in it a placeholder."""
    if isinstance(value, Mapping):
        return {key: _with_tab_stops(item, numbers) for key, item in cast("Mapping[str, Any]", value).items()}
    if isinstance(value, list):
        return [_with_tab_stops(item, numbers) for item in cast("list[Any]", value)]
    # After ^ the text is taken as it is, so that it can be a number, and what a snippet gives a meaning to is escaped.
    written = json.dumps(value, ensure_ascii=False)
    quote = '"' if isinstance(value, str) else ""
    inside = written.removeprefix(quote).removesuffix(quote)
    escaped = "".join(f"\\{letter}" if letter in "\\$}" else letter for letter in inside)
    return f"^{quote}${{{next(numbers)}:{escaped}}}{quote}"
