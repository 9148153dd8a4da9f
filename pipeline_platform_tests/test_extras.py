"""What belongs to one system is an extra: without it all else works, and what is missing is named."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path
from typing import Any, ClassVar

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pipeline_platform.config.loader import parse_pipeline
from pipeline_platform.config.method_registry import Methods
from pipeline_platform.connectors.jdbc.mysql.database import MYSQL_EXTRA
from pipeline_platform.connectors.jdbc.postgres.database import POSTGRES_EXTRA
from pipeline_platform.connectors.kafka.cluster import KAFKA_EXTRA
from pipeline_platform.connectors.kafka.registry import REGISTRY_EXTRA
from pipeline_platform.connectors.storage.location import S3_EXTRA
from pipeline_platform.credentials.vault import VAULT_EXTRA
from pipeline_platform.engine.spark.connect import CONNECT_EXTRA
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.extras import Extra, install_hint
from pipeline_platform.metrics.exporter import METRICS_VARIABLE, OPENLINEAGE_EXTRA
from pipeline_platform.registry import method_registry
from pipeline_platform.resources.slack import SLACK_EXTRA
from pipeline_platform.steps.extract import Extract

ROOT = Path(__file__).parent.parent
PLATFORM = "pipeline-platform"
EXTRAS = (
    POSTGRES_EXTRA,
    MYSQL_EXTRA,
    KAFKA_EXTRA,
    REGISTRY_EXTRA,
    S3_EXTRA,
    VAULT_EXTRA,
    OPENLINEAGE_EXTRA,
    CONNECT_EXTRA,
    SLACK_EXTRA,
)
# Dagster's own configuration, or a person's asset, names what is in these.
OF_DAGSTER = {"deployment", "kubernetes", "polars"}


@cache
def needed(*extras: str) -> frozenset[str]:
    """The distributions that the platform needs with these extras, itself included."""
    found: dict[str, set[str]] = {}
    pending = [(PLATFORM, extra) for extra in ("", *extras)]
    while pending:
        name, extra = pending.pop()
        if extra in found.setdefault(name, set()):
            continue
        found[name].add(extra)
        for text in distribution(name).requires or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                other = canonicalize_name(requirement.name)
                pending += [(other, wanted) for wanted in ("", *requirement.extras)]
    return frozenset(found)


def files_of(one: Distribution) -> Iterator[tuple[str, ...]]:
    for file in one.files or ():
        if file.parts[0] not in ("..", "/") and "__pycache__" not in file.parts:
            yield file.parts


@cache
def owners() -> dict[str, dict[tuple[str, ...], str]]:
    """By what lies at the top of the folder of packages: which distribution each file in it is of."""
    found: dict[str, dict[tuple[str, ...], str]] = {}
    for one in distributions():
        # Each time it is asked for, its metadata are read anew.
        name = canonicalize_name(one.name)
        for parts in files_of(one):
            found.setdefault(parts[0], {})[parts] = name
    return found


@cache
def has_module(module: str, among: frozenset[str]) -> bool:
    *above, name = module.split(".")
    in_folder, in_file = (*above, name), (*above, f"{name}.py")
    return any(
        of in among and (parts[: len(in_folder)] == in_folder or parts == in_file)
        for top in {in_folder[0], in_file[0]}
        for parts, of in owners().get(top, {}).items()
    )


@pytest.fixture(scope="module")
def without_extras(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages with what the platform needs without any extra, and nothing else."""
    folder, among = tmp_path_factory.mktemp("packages"), needed()
    source = Path(str(distribution("dagster").locate_file("")))
    for top, files in owners().items():
        if among.issuperset(files.values()):
            (folder / top).symlink_to(source / top)
            continue
        for parts in (parts for parts, of in files.items() if of in among):
            link = folder.joinpath(*parts)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(source.joinpath(*parts))
    return folder


def python(packages: Path, code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Python with these packages, and the platform of this folder."""
    environment = {**os.environ, "PYTHONPATH": f"{packages}{os.pathsep}{ROOT}", **variables}
    command = [sys.executable, "-S", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, check=False)


def imports() -> Iterator[str]:
    """What each module of the platform imports that is neither its own nor Python's."""
    for path in sorted((ROOT / "pipeline_platform").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            for name in names:
                if name.split(".")[0] not in {*sys.stdlib_module_names, "pipeline_platform"}:
                    yield name


def test_whatever_is_imported_comes_with_the_platform_or_an_extra_of_it() -> None:
    packages = {name.split(".")[0] for name in imports()}
    optional = {name for name in packages if not has_module(name, needed())}
    assert {name for name in optional if not has_module(name, needed("all"))} == set()
    asked_for = {module.split(".")[0] for extra in EXTRAS for module in extra.modules}
    # s3fs is made of botocore; a person's asset that asks for a Polars frame has Polars.
    assert optional - asked_for == {"botocore", "polars"}


@pytest.mark.parametrize("extra", EXTRAS, ids=lambda extra: extra.name)
def test_an_extra_has_the_modules_that_are_asked_for_and_the_platform_alone_lacks_one(extra: Extra) -> None:
    assert extra.missing() == ()
    assert [module for module in extra.modules if not has_module(module, needed(extra.name))] == []
    assert not all(has_module(module, needed()) for module in extra.modules)


def test_the_extra_all_is_all_others_and_each_of_them_is_asked_for_by_what_needs_it() -> None:
    listed: dict[str, list[str]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    (whole,) = (Requirement(text) for text in listed.pop("all"))
    assert whole.name == PLATFORM
    assert whole.extras == {*listed}
    assert {*listed} == {extra.name for extra in EXTRAS} | OF_DAGSTER
    assert all(listed.values())


def step(kind: str, method: str, **config: Any) -> dict[str, Any]:
    return {"type": kind, "method": method, "config": config}


GENERATED = step("extract", "fromRate", rowsPerSecond=1)
TABLE = {"table": "t", "host": "nowhere.invalid", "database": "d", "username": "u"}
# What each pipeline needs that is not there, and its message.
LACKING = {
    "reads_postgres": (
        [step("extract", "fromPostgres", **TABLE), step("load", "toDeltaLake", path="lake")],
        "step 1 (extract fromPostgres), {file}:5: Python packages are not installed: "
        "PostgreSQL (step 1) needs psycopg, pandas, numpy",
        "pip install 'pipeline-platform[postgres]'",
    ),
    "writes_mysql": (
        [GENERATED, step("load", "toDeltaLake", path="lake"), step("load", "toMySQL", **TABLE)],
        "step 3 (load toMySQL), {file}:7: Python packages are not installed: "
        "MySQL (step 3) needs pymysql, pandas, numpy",
        "pip install 'pipeline-platform[mysql]'",
    ),
    "delta_on_s3": (
        [GENERATED, step("load", "toDeltaLake", path="s3a://lake/t")],
        "step 2 (load toDeltaLake), {file}:6: Python packages are not installed: a path on S3 (step 2) needs s3fs",
        "pip install 'pipeline-platform[s3]'",
    ),
    "watches_kafka": (
        [
            step("extract", "fromKafka", topic="t", **{"bootstrap.servers": "nowhere.invalid:9092"}, watch=True),
            step("load", "toDeltaLake", path="lake"),
        ],
        "step 1 (extract fromKafka), {file}:5: Python packages are not installed: "
        "asking Kafka without Spark (step 1) needs confluent_kafka",
        "pip install 'pipeline-platform[kafka]'",
    ),
    "kafka_by_vault": (
        [
            GENERATED,
            step("load", "toKafka", topic="t", credentialPath="secret/kafka"),
            step("load", "toS3", bucket="lake", path="t", format="csv", credentialPath="secret/s3"),
        ],
        "step 2 (load toKafka), {file}:6: Python packages are not installed: "
        "a credential in Vault (steps 2 and 3) needs hvac; a path on S3 (step 3) needs s3fs",
        "pip install 'pipeline-platform[vault,s3]'",
    ),
}


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a pipeline for each system, and one that needs none."""
    folder = tmp_path_factory.mktemp("project") / "pipelines"
    folder.mkdir()
    needs_none = [
        step("extract", "fromFiles", path="in", format="csv"),
        step("extract", "fromKafka", topic="t", **{"bootstrap.servers": "nowhere.invalid:9092"}, registerAs="k"),
        step("load", "toDeltaLake", path="lake"),
    ]
    for name, steps in {"needs_none": needs_none, **{name: steps for name, (steps, *_) in LACKING.items()}}.items():
        lines = ",\n".join(json.dumps(written) for written in steps)
        text = f'{{\n"name": "{name}",\n"mode": "batch",\n"steps": [\n{lines}\n]\n}}\n'
        (folder / f"{name}.json").write_text(text)
    return folder


@pytest.fixture(scope="module")
def said(without_extras: Path, pipelines: Path) -> dict[str, tuple[int, str]]:
    """Exit code and words of `check` of all pipelines, and of a run of each."""
    files = {file.stem: str(file) for file in sorted(pipelines.glob("*.json"))}
    commands = {"check": ["check", *files.values()], **{name: ["run", file] for name, file in files.items()}}
    code = f"""
import contextlib, io, json, os, sys
from pipeline_platform.cli import app
said = {{}}
for name, command in {commands!r}.items():
    # The one whose steps need none.
    os.environ[{METRICS_VARIABLE!r}] = "openlineage" if name == "needs_none" else ""
    with contextlib.redirect_stderr(io.StringIO()) as told:
        said[name] = app(command, standalone_mode=False), told.getvalue()
assert "pyspark" not in sys.modules
print(json.dumps(said))
"""
    done = python(without_extras, code, COLUMNS="1000")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_without_extras_files_are_checked_and_what_would_be_missing_in_a_run_is_warned_of(
    pipelines: Path, said: dict[str, tuple[int, str]]
) -> None:
    expected = [
        f"warning: pipeline '{name}', {message.format(file=pipelines / f'{name}.json')}\n  next: {hint}\n"
        for name, (_, message, hint) in sorted(LACKING.items())
    ]
    assert said["check"] == [None, "".join(expected)]


def test_without_extras_dagster_loads_every_pipeline(without_extras: Path, pipelines: Path) -> None:
    code = "from pipeline_platform.definitions import defs; print(*(job.name for job in defs.jobs))"
    done = python(without_extras, code, PIPELINES_DIR=str(pipelines), PIPELINE_PLATFORM_STRICT="1")
    assert done.returncode == 0, done.stderr
    assert {*done.stdout.split()} >= {"needs_none", *LACKING}


@pytest.mark.parametrize("name", LACKING)
def test_a_run_that_lacks_an_extra_ends_before_spark_is_started(
    pipelines: Path, said: dict[str, tuple[int, str]], name: str
) -> None:
    _, message, hint = LACKING[name]
    code, told = said[name]
    assert code == 1
    assert f"{message.format(file=pipelines / f'{name}.json')}\n  next: {hint}\n" in told


def test_an_exporter_whose_package_is_missing_is_named_before_spark_is_started(
    said: dict[str, tuple[int, str]],
) -> None:
    code, told = said["needs_none"]
    assert code == 1
    assert f"'openlineage' in {METRICS_VARIABLE} needs Python packages that are not installed: openlineage" in told
    assert "pip install 'pipeline-platform[openlineage]'" in told


class FromSqlite(Extract):
    """A method of another package."""

    method: ClassVar[str] = "fromSqlite"

    def required_extras(self) -> Sequence[Extra]:
        return (Extra("sqlite", "SQLite", ("no_such_module.sqlite", "json"), distribution="shop-systems"),)


def test_a_method_of_another_package_names_an_extra_of_that_package() -> None:
    methods: Methods = {**method_registry(), "extract": {FromSqlite.method: FromSqlite}}
    load = step("load", "toPostgres", **TABLE)
    text = json.dumps({"name": "sold", "mode": "batch", "steps": [step("extract", "fromSqlite"), load]})
    pipeline = parse_pipeline(text, methods)
    pipeline.require_extras({1})
    with pytest.raises(PipelineConfigurationException) as raised:
        pipeline.require_extras()
    assert raised.value.message == "Python packages are not installed: SQLite (step 1) needs no_such_module.sqlite"
    assert raised.value.hint == "pip install 'shop-systems[sqlite]'"
    assert raised.value.location == pipeline.steps[0].location


@pytest.mark.parametrize("path", ["s3a://[lake/t", "s3://b\u2100/t", "s3a://", "//[x", "s3:/t"])
def test_a_path_that_is_no_uri_is_asked_for_its_extras_without_an_error(path: str) -> None:
    steps = [GENERATED, step("load", "toDeltaLake", path=path)]
    parse_pipeline(json.dumps({"name": "odd", "mode": "batch", "steps": steps}), method_registry()).require_extras()


def test_the_hint_names_each_distribution_once() -> None:
    others = Extra("sqlite", "SQLite", ("apsw",), distribution="shop-systems")
    assert install_hint([S3_EXTRA, others, VAULT_EXTRA, S3_EXTRA]) == (
        "pip install 'pipeline-platform[s3,vault]' 'shop-systems[sqlite]'"
    )
