"""The records of runs as lines of JSON in a file."""

from __future__ import annotations

from pathlib import Path

from pipeline_platform.metrics.run import RunMetrics
from pipeline_platform.rotated_file import add_line


class JsonLinesExporter:
    """Adds a line for the begin and one for the end of each run; several processes may share the file.

    Args:
        path: The file; rotated when it is full.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def export(self, run: RunMetrics) -> None:
        """Add a line.

        Raises:
            OSError: The file can't be written.
        """
        add_line(self.path, run.model_dump_json())
