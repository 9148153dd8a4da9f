"""Runs files in one process, one after the other, each as the command line does, and says how each of them ended.

A load that is named so has Spark's process killed at its beginning, once.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from pipeline_platform.cli import main
from pipeline_platform.connectors.files.committer import FileCommitter
from pipeline_platform.steps.load import LoadResult


def kill_at_first_write() -> None:
    write = FileCommitter.write

    def killed(self: FileCommitter) -> LoadResult:
        from pyspark import SparkContext

        FileCommitter.write = write
        gateway: Any = SparkContext._gateway
        os.kill(gateway.proc.pid, signal.SIGKILL)
        return write(self)

    FileCommitter.write = killed


def run(*arguments: str) -> None:
    sys.argv = ["pipeline-platform", "run", *arguments]
    try:
        main()
    except SystemExit as ended:
        print(f"\nended with {ended.code}", flush=True)


if __name__ == "__main__":
    *wrong, good = sys.argv[1:]
    for file in wrong:
        run(file)
    kill_at_first_write()
    run(good)
    run(good)
