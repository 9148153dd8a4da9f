"""What the format of a pipeline file is, for editors and people."""

from __future__ import annotations

import sys

from pipeline_platform.cli.output import print_json
from pipeline_platform.registry import method_registry


def schema() -> None:
    """Print the JSON Schema of a pipeline file, for editors."""
    from pipeline_platform.config.schema import pipeline_schema

    print_json(pipeline_schema(method_registry()))


def reference() -> None:
    """Print the reference page of the format, in Markdown."""
    from pipeline_platform.config.reference import reference_page

    sys.stdout.write(reference_page(method_registry()))
