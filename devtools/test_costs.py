"""What each test costs: a plugin of pytest that adds up the processor time of its process and of all that it starts.

`PYTEST_ADDOPTS="-p devtools.test_costs --costs build/costs" make test`, then `python -m devtools.test_costs
build/costs`. Processes that leave their parent, such as a server of another session, are not counted once it has ended,
and what other tests run beside it makes a test take longer, but hardly dearer.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

_SHOWN = 20
_OPTION = "--costs"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(_OPTION, help="Folder for what each test costs, a file for each process of pytest.")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    before, began = _processor_seconds(), time.monotonic()
    try:
        return (yield)
    finally:
        cost = {"test": item.nodeid, "cpu": _processor_seconds() - before, "wall": time.monotonic() - began}
        if (folder := item.config.getoption(_OPTION)) is not None:
            Path(folder).mkdir(parents=True, exist_ok=True)
            with (Path(folder) / f"{os.getpid()}.jsonl").open("a") as file:
                file.write(json.dumps(cost) + "\n")


def _processor_seconds() -> float:
    this = psutil.Process()
    total = 0.0
    for process in (this, *this.children(recursive=True)):
        with suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def _costs(folder: Path) -> Iterator[tuple[str, float, float]]:
    for file in folder.glob("*.jsonl"):
        for line in file.read_text().splitlines():
            cost = json.loads(line)
            yield cost["test"].removeprefix("pipeline_platform_tests/"), cost["cpu"], cost["wall"]


def main(folder: Path) -> None:
    """Print what all tests cost, and which cost most.

    Args:
        folder: Of `--costs`.
    """
    costs = sorted(_costs(folder), key=lambda cost: -cost[1])
    print(f"{len(costs)} tests, {sum(cpu for _, cpu, _ in costs):,.0f} CPU s\n")
    print("| test | CPU s | s |\n|---|---|---|")
    for test, cpu, wall in costs[:_SHOWN]:
        print(f"| `{test}` | {cpu:.0f} | {wall:.0f} |")
    files: defaultdict[str, float] = defaultdict(float)
    for test, cpu, _ in costs:
        files[test.split("::")[0]] += cpu
    print("\n| file | CPU s |\n|---|---|")
    for file, cpu in sorted(files.items(), key=lambda cost: -cost[1])[:_SHOWN]:
        print(f"| `{file}` | {cpu:.0f} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
