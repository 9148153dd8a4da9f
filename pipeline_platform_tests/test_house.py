"""What keeps the code easy to find one's way in: no long module, no circle of imports, no list of what is gone."""

from __future__ import annotations

import ast
import re
import subprocess
from collections import Counter
from collections.abc import Collection, Iterator
from graphlib import TopologicalSorter
from pathlib import Path

from devtools.mutants import MUTANTS

ROOT = Path(__file__).parent.parent
MOST_LINES = 400


def modules() -> dict[str, Path]:
    """Every module of the platform and of the developers' tools, by its name."""
    paths = [
        path.relative_to(ROOT) for name in ("pipeline_platform", "devtools") for path in (ROOT / name).rglob("*.py")
    ]
    return {".".join(path.with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


def imported(path: Path, known: Collection[str]) -> Iterator[str]:
    """The modules that one imports, in its functions and for its types too."""
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if name in known else str(node.module)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_no_module_is_longer_than_400_lines() -> None:
    lines = {str(path): len((ROOT / path).read_text().splitlines()) for path in modules().values()}
    assert len(lines) > 200
    assert {path: count for path, count in lines.items() if count > MOST_LINES} == {}


def test_no_modules_import_each_other_in_a_circle() -> None:
    known = modules()
    graph = {name: {*imported(path, known)} & {*known} - {name} for name, path in known.items()}
    assert sum(map(len, graph.values())) > 500
    TopologicalSorter(graph).prepare()


def test_make_test_runs_every_file_of_tests_once() -> None:
    parts = re.search(r"^PARTS := ((?:.*\\\n)*.*)", (ROOT / "Makefile").read_text(), re.M)
    assert parts is not None
    # What runs a second time in another way is no part of the count.
    names = [name for name in parts[1].replace("\\\n", " ").split() if name != "test-on-server"]
    dry = subprocess.run(["make", "--dry-run", *names], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    given = re.findall(r"(?<= )pipeline_platform_tests/\S+", "".join(re.findall(r"-m pytest (.*\n)", dry)))
    ran = Counter(
        file for path in given for file in ([ROOT / path] if path.endswith(".py") else (ROOT / path).rglob("test_*.py"))
    )
    assert len(ran) > 100
    assert ran == Counter((ROOT / "pipeline_platform_tests").rglob("test_*.py"))


def test_every_mutant_changes_one_place_and_has_its_tests() -> None:
    stale = [
        (mutant.file, mutant.old)
        for mutant in MUTANTS
        if (ROOT / "pipeline_platform" / mutant.file).read_text().count(mutant.old) != 1
    ]
    assert stale == []
    tests = {ROOT / "pipeline_platform_tests" / test for mutant in MUTANTS for test in mutant.tests}
    assert {test for test in tests if not test.exists()} == set()
