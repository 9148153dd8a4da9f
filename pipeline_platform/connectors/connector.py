"""What the platform has to know of a system: one `Connector` for each, and nothing of it stands anywhere else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, unquote

from pipeline_platform.config.step import StepConfig
from pipeline_platform.frames.rules import Rule
from pipeline_platform.steps.discovery import Discovery

DatasetName = Callable[[SplitResult], tuple[str, str]]
"""Makes of the URI of a dataset its namespace and name by the rules of OpenLineage,
https://openlineage.io/docs/spec/naming."""


@dataclass(frozen=True)
class Connector:
    """A system that pipelines read from or write to.

    Args:
        name: Of the system, as an entry point would name it.
        methods: Its sources and sinks. What their credentials are made of, they say themselves.
        jars: What Spark needs for it: Maven coordinates, `group:artifact:version`.
        kinds: The kind by which Dagster shows a dataset, by `Dataset.system`, where these differ.
        rules: What its errors mean, and what to do about them; the first that fits is taken.
        dataset_names: Of the schemes of its URIs, how OpenLineage names a dataset, where that is not
            `authority_and_path`.
        misnomers: What to write in place of a method that people try, by its name in lower case.
        discovery: Says what there is in such a system, for `pipeline-platform discover`; None if nobody can.
    """

    name: str
    methods: tuple[type[StepConfig], ...]
    jars: tuple[str, ...] = ()
    kinds: Mapping[str, str] = field(default_factory=dict[str, str])
    rules: tuple[Rule, ...] = ()
    dataset_names: Mapping[str, DatasetName] = field(default_factory=dict[str, DatasetName])
    misnomers: Mapping[str, str] = field(default_factory=dict[str, str])
    discovery: Discovery[Any] | None = None


def authority_and_path(uri: SplitResult) -> tuple[str, str]:
    """The name of a dataset by the authority of its URI, and the path."""
    return f"{uri.scheme}://{uri.netloc}", unquote(uri.path).strip("/") or "/"
