"""`init`: a project to begin with."""

from __future__ import annotations

import importlib.util
import json
import keyword
import re
import tomllib
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline_platform.cli.output import FAILED
from pipeline_platform.config.defaults import DEFAULTS_FILE
from pipeline_platform.registry import method_registry

_STARTER = resources.files("pipeline_platform") / "starter"
_SCHEMA = "pipeline.schema.json"
_TESTS_SCHEMA = "tests.schema.json"
_MODULE = "MODULE"
"""Stands in the files for the name of the project's Python package."""
_EXAMPLES = {
    "pipelines/orders.json": "orders.json",
    "pipelines/countries.json": "countries.json",
    "pipelines/tests/orders.json": "orders_tests.json",
    "data/orders.csv": "orders.csv",
    "data/customers.csv": "customers.csv",
}
"""The files that go only into a project without pipelines, and where their text is."""
_FILES = {
    f"{_MODULE}/__init__.py": None,
    f"{_MODULE}/definitions.py": "definitions.py.txt",
    f"{_MODULE}/defs/__init__.py": None,
    f"{_MODULE}/defs/pipelines/defs.yaml": "defs.yaml",
    "pyproject.toml": "pyproject.toml.txt",
    "dagster.yaml": "dagster.yaml",
    ".vscode/settings.json": "vscode_settings.json",
    ".gitignore": "gitignore.txt",
    "README.md": "README.md",
}
"""All other files of a project; None for an empty one."""


def init(
    folder: Annotated[Path, typer.Argument(help="The project's folder; made if it does not exist.")] = Path(),
) -> None:
    """Make a project that runs: two pipelines with their data, what Dagster's `dg` needs, and completion for editors.

    What is there already stays as it is, and a folder that has pipelines gets no other ones.
    """
    module = _module_in(folder)
    has_pipelines = any(file.name != DEFAULTS_FILE for file in (folder / "pipelines").glob("*.json"))
    files = {**({} if has_pipelines else _EXAMPLES), **_FILES}
    try:
        if _has_another_package(folder, module):
            typer.echo(
                f"{folder} is a Python project already; in a project of Dagster's, this adds pipelines:\n"
                "  dg scaffold defs pipeline_platform.PipelineComponent pipelines",
                err=True,
            )
            raise typer.Exit(FAILED)
        kept = [path for path, text in _texts(files, module) if not _created(folder, path, text)]
    except OSError as error:
        typer.echo(f"the project can't be made: {error.strerror}: {error.filename}", err=True)
        raise typer.Exit(FAILED) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        typer.echo(f"{folder / 'pyproject.toml'} can't be read: {error}", err=True)
        raise typer.Exit(FAILED) from error
    for path in kept:
        typer.echo(f"kept     {path}, which was there already", err=True)
    if "pyproject.toml" in kept and "[tool.dg" not in (folder / "pyproject.toml").read_text():
        typer.echo(
            "for Dagster, add to pyproject.toml:\n\n"
            f'  [tool.dg]\n  directory_type = "project"\n\n  [tool.dg.project]\n  root_module = "{module}"\n',
            err=True,
        )
    typer.echo("\n".join(_next_steps(folder, has_examples=not has_pipelines)), err=True)


def _texts(files: Mapping[str, str | None], module: str) -> Iterator[tuple[str, str]]:
    """Path and text of each file, and of the JSON Schemas."""
    from pipeline_platform.config.schema import pipeline_schema
    from pipeline_platform.testing.schema import tests_schema

    for path, source in files.items():
        text = (_STARTER / source).read_text() if source is not None else ""
        yield path.replace(_MODULE, module), text.replace(_MODULE, module)
    for path, schema in ((_SCHEMA, pipeline_schema(method_registry())), (_TESTS_SCHEMA, tests_schema())):
        yield path, json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _created(folder: Path, path: str, text: str) -> bool:
    """Whether the file was made, as there was none."""
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with target.open("x") as file:
            file.write(text)
    except FileExistsError:
        return False
    typer.echo(f"created  {path}", err=True)
    return True


def _module_in(folder: Path) -> str:
    """The name of the project's Python package: that of the folder, or one like it that nothing else has."""
    name = re.sub(r"\W+", "_", folder.resolve().name.lower(), flags=re.ASCII).strip("_") or "shop"
    if name[0].isdigit() or keyword.iskeyword(name):
        name = f"project_{name}"
    is_own = (folder / name / "definitions.py").is_file()
    if not is_own and importlib.util.find_spec(name) is not None:
        name = f"{name}_project"
    return name


def _has_another_package(folder: Path, module: str) -> bool:
    """Whether `dg` would look for the project's package somewhere else."""
    # If there is a folder of this name, it looks nowhere else.
    if (folder / "src").is_dir():
        return True
    pyproject = folder / "pyproject.toml"
    written: Any = tomllib.loads(pyproject.read_text()) if pyproject.exists() else {}
    return written.get("tool", {}).get("dg", {}).get("project", {}).get("root_module", module) != module


def _next_steps(folder: Path, *, has_examples: bool) -> Iterator[str]:
    yield ""
    yield "next:"
    if folder.resolve() != Path.cwd():
        yield f"  cd {folder}"
    if has_examples:
        yield "  pipeline-platform run pipelines/orders.json    runs a pipeline; its table is lake/orders"
        yield "  pipeline-platform test                         runs its test, on rows of its own"
    yield "  pipeline-platform list                         lists the pipelines"
    yield "  pipeline-platform methods                      lists what a step can do"
    yield "  dg dev                                         opens them in Dagster, at http://127.0.0.1:3000"
