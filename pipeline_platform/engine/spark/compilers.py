"""Whether a run is over before Java's second compiler would pay, as far as that is known before its JVM starts.

HotSpot compiles what runs often with C1, and what runs very often once more with C2, whose code is faster and takes
much longer to make. In a run of some seconds C2 takes about half of all CPU time, and hardly anything it has made is
used: docs/benchmarks.md. The JVM can't change its compilers later, so this is decided by what is known: how long the
last run took, or how much there is to read.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.engine.spark.home import cache_folder
from pipeline_platform.state_file import StateFile
from pipeline_platform.steps.extract import Extract

C1_ALONE = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m"
"""Options of a JVM for a short run; with C1 alone, Java would keep too little room for its code."""
SHORT_SECONDS = 60.0
"""The longest run that is short: in it, C2 takes longer than its code saves."""
_SMALL_BYTES = 16 * 1024 * 1024


class _LastRun(StateFile):
    """What the last run of a pipeline took.

    Args:
        pipeline: Its file.
        seconds: For each partition.
    """

    pipeline: str
    seconds: float


def is_short(*pipelines: PipelineConfig, partitions: int = 1) -> bool:
    """Whether runs will be short together, as far as can be told; what can't be is taken for long.

    Args:
        pipelines: What one JVM runs, one after the other: batch pipelines; a stream is long.
        partitions: How many partitions of each are loaded.
    """
    seconds, size = 0.0, 0
    for pipeline in pipelines:
        if pipeline.mode != "batch":
            return False
        file = _file(pipeline)
        known = _LastRun.read(file) if file is not None else None
        if known is not None:
            seconds += known.seconds * partitions
            continue
        sizes = [step.config.known_bytes() for step in pipeline.steps if isinstance(step.config, Extract)]
        if None in sizes:
            return False
        size += sum(one or 0 for one in sizes)
    return seconds <= SHORT_SECONDS and size <= _SMALL_BYTES


def remember(pipeline: PipelineConfig, seconds: float, partitions: int = 1, *, is_whole: bool = True) -> None:
    """Keep how long a run took, for the next one of the pipeline on this machine.

    Args:
        pipeline: The pipeline; of one that comes from no file, nothing is kept.
        seconds: How long it took, without the start of the session.
        partitions: How many partitions it loaded; 0 without any.
        is_whole: Whether all of it was run: what failed, or ran in part, may only be known to take longer.
    """
    file, each = _file(pipeline), seconds / max(partitions, 1)
    if file is None:
        return
    known = _LastRun.read(file)
    if not is_whole and (known is None or each <= known.seconds):
        return
    # It is only a hint: a cache that can't be written to is no reason to fail.
    with suppress(OSError):
        _LastRun(pipeline=str(pipeline.file), seconds=round(each, 3)).write(file)


def _file(pipeline: PipelineConfig) -> Path | None:
    if pipeline.file is None:
        return None
    # Of several pipelines of a file, each has its own.
    known_by = f"{pipeline.file.absolute()}{f'#{pipeline.name}' if pipeline.item is not None else ''}"
    return cache_folder() / "runs" / f"{hashlib.sha256(known_by.encode()).hexdigest()[:16]}.json"
