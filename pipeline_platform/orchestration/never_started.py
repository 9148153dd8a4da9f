"""Pipelines that wait for a load of what they read, which no pipeline of the project loads."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline_platform.config.config_error import ConfigError
from pipeline_platform.config.documents.document import DocumentError, read_document
from pipeline_platform.orchestration.project import Project

_MESSAGE = "'onUpstream' starts it when a table that it reads was loaded, and no pipeline of this folder loads one"
_HINT = (
    "set 'watch' on the extract that reads files, a Delta table or a topic, or give a 'schedule'; "
    "'onUpstream' is right where an asset in Python loads what it reads"
)


def never_started(project: Project) -> Iterator[ConfigError]:
    """A warning for each file whose `onUpstream` has nothing that could start it.

    Args:
        project: All pipelines of a folder.
    """
    told: set[ConfigError] = set()
    for pipeline in project.pipelines:
        is_watching = any(step.config.is_watched() for step in pipeline.steps)
        if pipeline.automation != "onUpstream" or is_watching or project.upstream[pipeline.asset_prefix]:
            continue
        assert pipeline.file is not None
        try:
            warning = read_document(pipeline.file).problem(("automation",), _MESSAGE, hint=_HINT)
        except DocumentError:
            # It is gone since it was read.
            continue
        # Those of one file have the same.
        if warning not in told:
            told.add(warning)
            yield warning
