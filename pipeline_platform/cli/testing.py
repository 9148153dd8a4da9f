"""`test`: the tests that stand beside pipelines."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline_platform.cli.output import FAILED
from pipeline_platform.cli.recording import record_test
from pipeline_platform.config.partitions import Partition
from pipeline_platform.exceptions import PipelineConfigurationException, PipelineException
from pipeline_platform.registry import method_registry

ROWS = 20
"""How many rows of an extract are recorded."""


# What carries tests out is imported by this command alone: no other has to wait for it.
if TYPE_CHECKING:
    from rich.console import Console

    from pipeline_platform.testing.carrying_out import TestResult
    from pipeline_platform.testing.reading import PipelineTest


def run_tests(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Folders of pipelines, whose tests are in their folder tests, or files of tests.",
            show_default="pipelines",
        ),
    ] = None,
    named: Annotated[
        str | None,
        typer.Option(
            "--name",
            metavar="TEXT",
            help="Only the tests whose name has this in it; with --record, the name of the test.",
        ),
    ] = None,
    changed_since: Annotated[
        str | None,
        typer.Option(metavar="REF", help="Only the tests of which a file has changed since this Git revision."),
    ] = None,
    junit_file: Annotated[
        Path | None, typer.Option("--junit", metavar="FILE", help="Also write the results as JUnit's XML.")
    ] = None,
    coverage: Annotated[
        bool, typer.Option("--coverage", help="Also print which steps and rules no test looks at.")
    ] = False,
    recorded: Annotated[
        Path | None,
        typer.Option(
            "--record",
            metavar="FILE",
            help="Make a test of this pipeline from the first rows of its real sources, instead of running any.",
        ),
    ] = None,
    steps: Annotated[
        list[str] | None,
        typer.Option(
            "--step",
            metavar="NAME",
            help="With --record: a step whose rows are expected; the loads by default. May be given repeatedly.",
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="With --record: rows of each extract; 20 by default.")
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="EXTRACT=SQL",
            help="With --record: a condition for the rows of an extract. May be given repeatedly.",
        ),
    ] = None,
    partition: Annotated[
        str | None, typer.Option(metavar="KEY", help="With --record: the partition that is loaded.")
    ] = None,
    variables: Annotated[
        list[str] | None,
        typer.Option(
            "--var", metavar="NAME=VALUE", help="With --record: value of a variable. May be given repeatedly."
        ),
    ] = None,
) -> None:
    """Run the tests of pipelines, without any system: exit code 0 when all passed, 1 when one failed or there is none.

    A test gives rows for the extracts of a pipeline and says what it expects of other steps. All run in one Spark
    session, and nothing is written.

    With --record, the first rows that the extracts read from their real sources become a test, with what comes of them;
    it is added to the file in the folder tests beside the pipeline. For values of columns that are marked as sensitive,
    that look like secrets, or that such columns are made of, it has others of the same shape.
    """
    if recorded is not None:
        if paths or changed_since is not None or junit_file is not None or coverage:
            raise typer.BadParameter(
                "--record takes one pipeline, and runs no tests: leave the other paths and options out"
            )
        record_test(
            recorded,
            steps=steps or [],
            name=named,
            limit=limit or ROWS,
            where=where or [],
            partition=partition,
            variables=variables or [],
        )
        return
    if steps or limit or where or partition or variables:
        raise typer.BadParameter("--step, --limit, --where, --partition and --var go with --record")
    from rich.console import Console
    from rich.text import Text

    from pipeline_platform.engine.spark.server import SERVER_VARIABLE, Use
    from pipeline_platform.testing.reading import TESTS
    from pipeline_platform.testing.report import junit

    console = Console(stderr=True)
    tests, broken = _read(paths or [Path("pipelines")])
    tests = [one for one in tests if named is None or named.lower() in one.case.name.lower()]
    if changed_since is not None:
        tests = _changed(tests, changed_since)
        if not tests and not broken:
            console.print("no test has changed, and none of a pipeline that has", style="dim")
            return
    if not tests and broken:
        raise typer.Exit(FAILED)
    if not tests:
        typer.echo(f"there is no test; tests of pipelines/x.json stand in pipelines/{TESTS}/x.json", err=True)
        raise typer.Exit(FAILED)
    if any(one.case.now is not None for one in tests):
        # A server has its own clock, and another process's functions.
        os.environ.setdefault(SERVER_VARIABLE, Use.NEVER)
    with console.status("starting Spark"):
        _start_spark(tests[0])
    results: list[TestResult] = []
    for one in tests:
        result = _carried_out(one)
        results.append(result)
        _tell(console, result)
    failed = sum(not result.passed for result in results)
    seconds = sum(result.seconds for result in results)
    if coverage:
        _tell_coverage(console, results)
    style = "red" if failed or broken else "green"
    told = f"{len(results) - failed} of {len(results)} tests passed in {seconds:.1f} s"
    told += "; those of files with errors, which are told above, were not run" if broken else ""
    console.print(Text(told, style=style))
    if junit_file is not None:
        junit_file.write_text(junit(results, broken))
    raise typer.Exit(FAILED if failed or broken else 0)


def _start_spark(test: PipelineTest) -> None:
    """Start it before the first test, which would seem to take as long."""
    from pipeline_platform.engine.spark.session import session_for

    try:
        session_for(test.pipeline, is_short=True)
    except PipelineException as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(FAILED) from error


def _read(paths: Sequence[Path]) -> tuple[list[PipelineTest], dict[Path, str]]:
    """The tests of files, and of those that have errors what is wrong, which is printed."""
    from pipeline_platform.testing.reading import files_of_tests, read_tests

    tests: list[PipelineTest] = []
    broken: dict[Path, str] = {}
    told: dict[str, None] = {}
    for file in dict.fromkeys(file for path in paths for file in files_of_tests(path)):
        try:
            tests += read_tests(file, method_registry())
        except PipelineConfigurationException as error:
            problems = list(map(str, error.problems or [error]))
            broken[file] = "\n".join(problems)
            told.update(dict.fromkeys(problems))
    if told:
        typer.echo("\n".join(told), err=True)
    return tests, broken


def _changed(tests: Sequence[PipelineTest], revision: str) -> list[PipelineTest]:
    """Those of which the file, or one that its pipeline is read from, has changed since a revision of Git."""
    changed = {path.resolve() for path in _changed_files(revision)}
    return [
        one
        for one in tests
        if changed & {path.resolve() for path in (one.file, one.pipeline.file, *one.pipeline.sources) if path}
    ]


def _changed_files(revision: str) -> list[Path]:
    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            typer.echo(f"git {arguments[0]}: {done.stderr.strip()}", err=True)
            raise typer.Exit(FAILED)
        return done.stdout

    top = Path(git("rev-parse", "--show-toplevel").strip())
    changed = git("diff", "--name-only", "-z", "--end-of-options", revision, "--").split("\0")
    new = git("ls-files", "--others", "--exclude-standard", "--full-name", "-z", str(top)).split("\0")
    return [top / name for name in (*changed, *new) if name]


def _carried_out(test: PipelineTest) -> TestResult:
    from pipeline_platform.testing.carrying_out import TestResult, carry_out

    try:
        partition = partition_of(test)
    except PipelineConfigurationException as error:
        told = error.locate(test.pipeline.location)
        return TestResult(test, error=str((test.place / "partition").problem(told.message, hint=told.hint)))
    return carry_out(test, partition)


def partition_of(test: PipelineTest) -> Partition | None:
    """What a test loads.

    Args:
        test: The test.

    Raises:
        PipelineConfigurationException: There is no such partition, or one run can't load all of them.
    """
    wanted = test.case.partition
    if wanted is None:
        return None
    # Dagster says which there are, and only those who have partitions wait for its import.
    from pipeline_platform.resources.partitions import chosen_partitions

    first, last = (wanted, wanted) if isinstance(wanted, str) else (wanted.from_, wanted.to)
    chosen = chosen_partitions(test.pipeline, first, last)
    if len(chosen) > 1:
        why = test.pipeline.single_partitions
        raise PipelineConfigurationException(f"each of these partitions is a run of its own, as {why}", hint="name one")
    return chosen[0]


def _tell(console: Console, result: TestResult) -> None:
    from rich.text import Text

    from pipeline_platform.testing.report import difference_table

    mark, style = ("passed", "green") if result.passed else ("FAILED", "red")
    line = Text(mark, style=style).append(f"  {result.test.pipeline.name}: {result.test.case.name}", style="default")
    console.print(line.append(f"  {result.seconds:.1f} s", style="dim"), soft_wrap=True)
    if result.error is not None:
        console.print(Text(result.error), soft_wrap=True)
    for finding in result.findings:
        console.print(Text(str(finding.problem)), soft_wrap=True)
        if finding.difference is not None:
            console.print(difference_table(finding.difference))


def _tell_coverage(console: Console, results: Sequence[TestResult]) -> None:
    from rich.text import Text

    from pipeline_platform.testing.report import coverages

    for one in coverages(results):
        steps, rules = one.steps - len(one.unexpected), one.rules - len(one.unbroken)
        console.print(f"{one.pipeline.name}: {steps} of {one.steps} steps, {rules} of {one.rules} rules")
        if one.unexpected:
            console.print(Text(f"  nothing is expected of {', '.join(one.unexpected)}", style="dim"))
        if one.unbroken:
            console.print(Text(f"  no test breaks {', '.join(one.unbroken)}", style="dim"))
