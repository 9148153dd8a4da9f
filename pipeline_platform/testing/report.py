"""What came of tests, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from rich.table import Table
from rich.text import Text

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.redacted_values import redacted_value
from pipeline_platform.redaction import MASK, looks_secret, redact
from pipeline_platform.testing.carrying_out import TestResult
from pipeline_platform.testing.comparison import Difference, same

_SHOWN_ROWS = 20


def difference_table(differs: Difference) -> Table:
    """A table of the rows that differ: what was expected and is not there in red, what is there in green.

    Args:
        differs: The difference.
    """
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("", *differs.columns):
        table.add_column(name, overflow="fold")
    for mark, style, cells in islice(_lines(differs), _SHOWN_ROWS):
        table.add_row(Text(mark, style=style), *(Text(cell, style=cell_style) for cell, cell_style in cells))
    left = len(differs.changed) + len(differs.missing) + len(differs.unexpected) - _SHOWN_ROWS
    if left > 0:
        table.caption = f"{left} more rows differ"
    return table


def _lines(differs: Difference) -> Iterator[tuple[str, str, list[tuple[str, str]]]]:
    names = differs.columns
    for wanted, found in differs.changed:
        cells = [
            (_cell(name, one), "") if same(one, other) else (_pair(_cell(name, one), _cell(name, other)), "yellow")
            for name, one, other in zip(names, wanted, found, strict=True)
        ]
        yield "~", "yellow", cells
    for mark, style, rows in (("-", "red", differs.missing), ("+", "green", differs.unexpected)):
        for row in rows:
            yield mark, style, [(_cell(name, value), style) for name, value in zip(names, row, strict=True)]


def _pair(one: str, other: str) -> str:
    # Blanks are not seen otherwise.
    return f"{one!r} → {other!r}" if one.split() == other.split() else f"{one} → {other}"


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "NULL"
    return MASK if looks_secret(name) else redact(str(redacted_value(value)))


@dataclass(frozen=True)
class Coverage:
    """What tests look at of a pipeline.

    Args:
        pipeline: The pipeline.
        steps: How many steps make or judge rows, or load them.
        unexpected: Names of those of which nothing is expected.
        rules: How many rules were carried out.
        unbroken: The rules that no row breaks in any test, as `validation: rule`.
    """

    pipeline: PipelineConfig
    steps: int
    unexpected: tuple[str, ...]
    rules: int
    unbroken: tuple[str, ...]


def coverages(results: Sequence[TestResult]) -> list[Coverage]:
    """What tests look at of each of their pipelines.

    Args:
        results: What came of the tests.
    """
    by_file: dict[Path | None, list[TestResult]] = {}
    for result in results:
        by_file.setdefault(result.test.pipeline.file, []).append(result)
    return [_coverage(of_one) for of_one in by_file.values()]


def _coverage(results: Sequence[TestResult]) -> Coverage:
    pipeline = results[0].test.pipeline
    steps = [step.name for step in pipeline.steps if step.type != "extract"]
    wanted = {step.name for result in results for step in result.test.wanted}
    broken: dict[str, int] = {}
    for result in results:
        for (index, rule), violations in result.rules.items():
            name = f"{result.test.pipeline.steps[index].name}: {rule}"
            broken[name] = broken.get(name, 0) + violations
    return Coverage(
        pipeline,
        len(steps),
        tuple(name for name in steps if name not in wanted),
        len(broken),
        tuple(name for name, count in broken.items() if count == 0),
    )


def junit(results: Sequence[TestResult], unread: Mapping[Path, str]) -> str:
    """The results as JUnit's XML, which CI servers read.

    Args:
        results: What came of the tests.
        unread: Files whose tests could not be read, with what is wrong.
    """
    suites = ET.Element("testsuites")
    for file, told in unread.items():
        suite = ET.SubElement(suites, "testsuite", name=str(file), tests="1", failures="0", errors="1", time="0")
        case = ET.SubElement(suite, "testcase", name="the file is read", classname=file.stem, file=str(file), time="0")
        ET.SubElement(case, "error", message=told.splitlines()[0]).text = told
    by_file: dict[Path, list[TestResult]] = {}
    for result in results:
        by_file.setdefault(result.test.file, []).append(result)
    for file, of_file in by_file.items():
        suite = ET.SubElement(
            suites,
            "testsuite",
            name=str(file),
            tests=str(len(of_file)),
            failures=str(sum(bool(result.findings) and result.error is None for result in of_file)),
            errors=str(sum(result.error is not None for result in of_file)),
            time=f"{sum(result.seconds for result in of_file):.3f}",
        )
        for result in of_file:
            case = ET.SubElement(
                suite,
                "testcase",
                name=result.test.case.name,
                classname=result.test.pipeline.name,
                file=str(file),
                time=f"{result.seconds:.3f}",
            )
            if result.error is not None:
                ET.SubElement(case, "error", message=result.error.splitlines()[0]).text = result.error
            elif result.findings:
                told = "\n".join(str(finding.problem) for finding in result.findings)
                ET.SubElement(case, "failure", message=result.findings[0].problem.message).text = told
    ET.indent(suites)
    return ET.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"
