"""What the format of a pipeline file is, for editors and people."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from pipeline_platform.cli.output import print_json
from pipeline_platform.registry import method_registry


def schema(
    tests: Annotated[bool, typer.Option("--tests", help="That of a file of tests instead.")] = False,
) -> None:
    """Print the JSON Schema of a pipeline file, for editors."""
    from pipeline_platform.config.schema import pipeline_schema
    from pipeline_platform.testing.schema import tests_schema

    if tests:
        print_json(tests_schema())
        return
    print_json(pipeline_schema(method_registry()))


def reference() -> None:
    """Print the reference page of the format, in Markdown."""
    from pipeline_platform.config.reference import reference_page

    sys.stdout.write(reference_page(method_registry()))
