"""`discover`: what there is in a system, and the pipeline files for what is chosen."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from pydantic import ValidationError
from typer.core import TyperGroup

from pipeline_platform.cli.output import FAILED, print_json, table_console
from pipeline_platform.config.defaults import DEFAULTS_FILE
from pipeline_platform.config.format_errors import format_errors
from pipeline_platform.config.loader import parse_pipeline
from pipeline_platform.config.methods import json_text
from pipeline_platform.config.reference import rows_of
from pipeline_platform.exceptions import PipelineConfigurationException, PipelineException, StepLocation
from pipeline_platform.redaction import looks_secret
from pipeline_platform.registry import connectors, method_registry
from pipeline_platform.steps.credentialed import Credentialed
from pipeline_platform.steps.discovery import Discovery, Finding, Wishes


class _Systems(TyperGroup):
    """A command for each system that can be asked; other packages' are looked for when the command is used."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [connector.name for connector in connectors() if connector.discovery is not None]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        found = [connector.discovery for connector in connectors() if connector.name == cmd_name]
        return _command(cmd_name, found[0]) if found and found[0] is not None else None


app = typer.Typer(cls=_Systems, no_args_is_help=True)


@app.callback()
def discover() -> None:
    """List what there is in a system, and write the pipeline files for what is chosen.

    The system is entered as by a step of a pipeline: what its options don't say, such as the password, is in Vault or
    in environment variables. It is asked without Spark, and nothing in it is changed.
    """


def _command(system: str, discovery: Discovery[Any]) -> Any:
    """The command of a system, whose options are keys of its extract."""
    meanings = {row.key: " ".join(row.meaning.split()) for row in rows_of(discovery.method)}
    meanings = {key: meanings.get(key, f"The key {key} of the step.") for key in discovery.keys}
    options = {_option(key): key for key in discovery.keys}

    def command(**given: Any) -> None:
        connection = {key: given[option] for option, key in options.items() if given[option] is not None}
        patterns: dict[str, Sequence[str]] = {option: given[_option(option)] or [] for option in discovery.patterns}
        _discover(system, discovery, connection, patterns, given)

    parameters = [
        *(_parameter(option, str | None, meanings[key]) for option, key in options.items()),
        _parameter(
            "config",
            list[str] | None,
            "Another key of the step, such as properties.sslmode=require; may be given repeatedly.",
            metavar="KEY=VALUE",
        ),
        *(
            _parameter(_option(option), list[str] | None, meaning, metavar="PATTERN")
            for option, meaning in discovery.patterns.items()
        ),
        _parameter(
            "write",
            Path | None,
            "Write the pipeline files into this folder, or this *.json file; what is there is kept.",
        ),
        _parameter("overwrite", bool, "Replace files that are there.", default=False),
        _parameter("lake", str, "Where the tables of the pipelines go: a folder or a URI.", default="lake"),
        _parameter("as_json", bool, "Print all that was found as JSON.", default=False, flag="--json"),
    ]
    command.__signature__ = inspect.Signature(parameters)
    alone = typer.Typer(add_completion=False)
    alone.command(system, help=inspect.getdoc(type(discovery)))(command)
    return typer.main.get_command(alone)


def _option(name: str) -> str:
    """The name of an option as Python has it: of `bootstrap.servers` and `credentialPath` too."""
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).translate(
        str.maketrans(".-", "__")
    )


def _parameter(
    name: str, kind: Any, meaning: str, *, default: Any = None, metavar: str | None = None, flag: str | None = None
) -> inspect.Parameter:
    spelled = flag or f"--{name.replace('_', '-')}"
    option = typer.Option(spelled, help=meaning, metavar=metavar)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option])


def _discover(
    system: str,
    discovery: Discovery[Any],
    connection: Mapping[str, Any],
    patterns: Mapping[str, Sequence[str]],
    given: Mapping[str, Any],
) -> None:
    keys = _with_others(connection, given["config"] or [])
    try:
        config = _extract(discovery, keys)
        written = config.as_config()
        wishes = Wishes(patterns, {key: written[key] for key in keys}, given["lake"])
        findings = _asked(system, discovery, config.resolved(), wishes)
        if given["as_json"]:
            print_json([_as_json(finding) for finding in findings])
        else:
            _show(findings)
        if given["write"] is not None:
            _write(findings, given["write"], overwrite=given["overwrite"])
    except PipelineException as error:
        typer.echo(f"{error.message}\n  next: {error.hint}" if error.hint else error.message, err=True)
        raise typer.Exit(FAILED) from error


def _with_others(connection: Mapping[str, Any], others: Sequence[str]) -> dict[str, Any]:
    """The keys of a step, with those that have no option of their own.

    Raises:
        typer.BadParameter: One is a secret, which would stand in the list of processes and in a shell's history, or has
            no value.
    """
    keys = dict(connection)
    for other in others:
        key, is_given, value = other.partition("=")
        if not is_given or not key:
            raise typer.BadParameter(f"expected KEY=VALUE, not '{key}'", param_hint="--config")
        if looks_secret(key):
            raise typer.BadParameter(
                f"'{key}' is a secret: keep it in Vault and give --credential-path, or in the environment",
                param_hint="--config",
            )
        outer, is_nested, inner = key.partition(".")
        if is_nested and outer == "properties":
            keys["properties"] = {**keys.get("properties", {}), inner: value}
        else:
            keys[key] = value
    return keys


def _extract(discovery: Discovery[Any], keys: Mapping[str, Any]) -> Credentialed:
    """An extract with these keys.

    Raises:
        PipelineConfigurationException: They are not what the format allows.
    """
    try:
        return discovery.method.model_validate({**discovery.asked_with, **keys})
    except ValidationError as error:
        wrong = "; ".join(
            f"'{'.'.join(map(str, mistake.keys))}': {mistake.message}" for mistake in format_errors(error)
        )
        raise PipelineConfigurationException(f"the connection is not right: {wrong}") from None


def _asked(system: str, discovery: Discovery[Any], config: Credentialed, wishes: Wishes) -> Sequence[Finding]:
    """What there is.

    Raises:
        PipelineException: The system can't be entered, or nothing matches.
    """
    from pipeline_platform.credentials.run_credentials import RunCredentials

    location = StepLocation(f"discover {system}")
    for extra in config.required_extras():
        extra.require()
    with closing(RunCredentials.from_environment("discover", location)) as credentials:
        need = config.credential_request()
        found = discovery.findings(config, credentials.enter(need, location) if need is not None else None, wishes)
    chosen = next(iter(discovery.patterns))
    if not found:
        asked = ", ".join(wishes.given(chosen))
        raise PipelineConfigurationException(
            f"no {discovery.things} match {asked}" if asked else f"there are no {discovery.things}",
            hint=f"leave out --{chosen} to see all" if asked else "check the connection, and what its user may see",
        )
    return found


def _as_json(finding: Finding) -> dict[str, Any]:
    return {
        **finding.told,
        "care": [{"of": care.of or None, "kind": care.kind, "note": care.note} for care in finding.care],
        "pipeline": finding.pipeline,
        "unwritten": finding.unwritten,
    }


def _show(findings: Sequence[Finding]) -> None:
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE, pad_edge=False)
    for heading in findings[0].shown:
        is_number = all(finding.shown[heading][:1].isdigit() or not finding.shown[heading] for finding in findings)
        table.add_column(heading, overflow="fold", justify="right" if is_number else "left")
    table.add_column("needs care", overflow="fold")
    for finding in findings:
        cells = [*finding.shown.values(), ", ".join(map(str, finding.care))]
        table.add_row(*map(Text, cells))
    console = table_console()
    console.print(table)
    notes = {(care.kind, care.note): None for finding in findings for care in finding.care}
    for kind, note in notes:
        console.print(Text(f"{kind}: {note}"), soft_wrap=True)


def _write(findings: Sequence[Finding], target: Path, *, overwrite: bool) -> None:
    """Write the files of pipelines that `check` accepts.

    Raises:
        PipelineConfigurationException: There is none to write, or a file can't be written.
    """
    is_file = target.suffix == ".json"
    pipelines: list[Mapping[str, Any]] = []
    for finding in findings:
        mistake = _mistake(finding.pipeline, target) if finding.pipeline is not None else finding.unwritten
        if finding.pipeline is None or mistake is not None:
            typer.echo(f"left out {finding.name}: {mistake}", err=True)
        else:
            pipelines.append(finding.pipeline)
    if not pipelines or (is_file and len(pipelines) > 1):
        number = len(pipelines) or "no"
        raise PipelineConfigurationException(
            f"there {'are' if pipelines else 'is'} {number} pipeline{'s' if pipelines else ''} to write to {target}",
            hint="give a folder, or choose one" if pipelines else "choose others",
        )
    texts = {target if is_file else target / f"{pipeline['name']}.json": _text(pipeline) for pipeline in pipelines}
    try:
        for file in texts:
            file.parent.mkdir(parents=True, exist_ok=True)
        for file, text in texts.items():
            typer.echo(_written(file, text, overwrite=overwrite), err=True)
    except OSError as error:
        raise PipelineConfigurationException(
            f"the files can't be written: {error.strerror}: {error.filename}"
        ) from error


def _mistake(pipeline: Mapping[str, Any], target: Path) -> str | None:
    """Why `check` would not accept the file; None if it does."""
    if DEFAULTS_FILE in (target.name, f"{pipeline['name']}.json" if target.suffix != ".json" else ""):
        return f"'{DEFAULTS_FILE}' has the defaults of a folder; give --write the name of another file for it alone"
    try:
        parse_pipeline(_text(pipeline), method_registry(), target / "pipeline.json")
    except PipelineConfigurationException as error:
        return f"it would make a pipeline with a mistake: {error.message}"
    return None


def _written(file: Path, text: str, *, overwrite: bool) -> str:
    """Write a file, and say what was done."""
    try:
        if overwrite:
            part = file.with_name(f".{file.name}.part")
            part.write_text(text, encoding="utf-8")
            part.replace(file)
            return f"wrote    {file}"
        with file.open("x", encoding="utf-8") as written:
            written.write(text)
    except FileExistsError:
        return f"kept     {file}, which was there already"
    return f"created  {file}"


def _text(pipeline: Mapping[str, Any]) -> str:
    """The file as people write it: a key a line, and a step a block."""
    steps = cast("list[dict[str, Any]]", pipeline["steps"])
    lines = [f"  {json_text(key)}: {json_text(value)}," for key, value in pipeline.items() if key != "steps"]
    blocks = ",\n".join(f"    {json_text(step, 4)}" for step in steps)
    return "\n".join(["{", *lines, '  "steps": [', blocks, "  ]", "}", ""])
