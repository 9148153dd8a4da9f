"""`python -m devtools.bench.soak`: whether a stream that runs on takes more and more memory.

A stream with state, a validation and two loads runs as a process of its own; each minute its memory is looked at: that
of Python, that of the JVM, and of its heap what is still in use after a collection.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from devtools.pipelines import extract, load, pipeline_text, transform, validate


def main() -> None:
    """Print a row for each minute."""
    parser = argparse.ArgumentParser(prog="bench.soak", description=__doc__)
    parser.add_argument("--minutes", type=int, default=20, help="how long, by default 20")
    parser.add_argument("--rate", type=int, default=1000, help="rows a second, by default 1,000")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder = Path(name)
        _write(folder, options.rate)
        command = [str(Path(sys.executable).with_name("pipeline-platform")), "run", str(folder / "soak.json")]
        stream = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            print("| minute | micro-batches | Python MB | JVM MB | heap in use MB |\n|---|---|---|---|---|")
            for minute in range(1, options.minutes + 1):
                time.sleep(60)
                if stream.poll() is not None:
                    raise SystemExit("the stream has ended")
                _report(minute, folder, psutil.Process(stream.pid))
        finally:
            stream.terminate()
            stream.wait()


def _write(folder: Path, rate: int) -> None:
    watermark = {"column": "timestamp", "delay": "1 minute"}
    steps = [
        extract("fromRate", rowsPerSecond=rate),
        transform("deduplicate", columns=["value", "timestamp"], watermark=watermark),
        validate("validateRanges", ranges={"value": {"min": 0}}, onFailure="quarantine"),
        load("toDeltaLake", path=str(folder / "delta"), trigger="1 second"),
        load("toFiles", path=str(folder / "files"), format="parquet"),
    ]
    text = pipeline_text(steps, mode="streaming", streaming={"checkpointRoot": str(folder / "checkpoints")})
    (folder / "soak.json").write_text(text)


def _report(minute: int, folder: Path, python: psutil.Process) -> None:
    jvm = next(child for child in python.children(recursive=True) if child.name() == "java")
    commits = folder.glob("checkpoints/*/*/commits/*")
    newest = max((int(path.name) for path in commits if path.name.isdigit()), default=0)
    megabytes = (python.memory_info().rss // 2**20, jvm.memory_info().rss // 2**20, _heap_in_use(jvm.pid))
    print(f"| {minute} | {newest + 1} | {' | '.join(map(str, megabytes))} |", flush=True)


def _heap_in_use(pid: int) -> int:
    """Megabytes of live objects: the histogram of them is made after a full collection."""
    jcmd = shutil.which("jcmd")
    if jcmd is None:
        return -1
    told = subprocess.run([jcmd, str(pid), "GC.class_histogram"], capture_output=True, text=True, check=True).stdout
    total = re.search(r"^Total\s+\d+\s+(\d+)", told, re.MULTILINE)
    return int(total[1]) // 2**20 if total is not None else -1


if __name__ == "__main__":
    main()
