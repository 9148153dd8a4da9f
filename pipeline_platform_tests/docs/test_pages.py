"""Every command and every file of the documentation, carried out in the order of each page."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import hvac
import pytest

from devtools.services.built import vault_program
from devtools.services.hive_metastore import HiveMetastore
from devtools.services.postgres import Postgres
from devtools.services.process import free_port
from devtools.services.spark_server import STATE_VARIABLE, spark_server
from devtools.services.vault import VaultServer
from pipeline_platform.config.loader import parse_pipeline
from pipeline_platform.connectors.delta.catalogs.hive import METASTORE_VARIABLE
from pipeline_platform.registry import method_registry
from pipeline_platform_tests.docs.page import Command, PageFile, acts, fences
from pipeline_platform_tests.docs.terminal import Terminal, reader_environment
from pipeline_platform_tests.wheel import AS_INSTALLED, UV, Installed

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
GENERATED = {"reference.md", "commands.md"}
WITH_SERVERS = {
    "how-to/load-what-is-new.md",
    "how-to/register-tables.md",
    "how-to/rotate-a-secret.md",
    "how-to/start-from-a-database.md",
}
PAGES = sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))
PLAIN_PAGES = [
    page for page in PAGES if page not in {"tutorial.md", *GENERATED, *WITH_SERVERS} and [*acts(DOCS / page)]
]
NOT_RUN = "not run by a test"
WRITTEN_BY_HAND = [
    *(DOCS / page for page in PAGES if page not in GENERATED),
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
]


def carried_out(page: str, folder: Path, environment: dict[str, str]) -> None:
    """Do what a page says."""
    done = list(acts(DOCS / page))
    with Terminal(folder, environment) as terminal:
        for act, following in zip(done, [*done[1:], None], strict=True):
            if isinstance(act, PageFile):
                terminal.write(act)
            else:
                may_fail = isinstance(following, Command) and following.text == "echo $?"
                terminal.run(act, may_fail=may_fail)
        if [*folder.glob("pipelines/*.json")]:
            terminal.run(Command(0, "pipeline-platform check pipelines/*.json"), may_fail=False)


@pytest.fixture
def with_uv(tmp_path: Path) -> Path:
    """A folder in which uv is the only program."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / UV.name).symlink_to(UV)
    return programs


@pytest.fixture
def reader(installed: Installed, with_uv: Path, server_state: Path) -> Iterator[dict[str, str]]:
    """The variables of a reader who has installed the wheel, and has Spark running; what a page adds to the environment
    is taken out again.
    """
    environment = reader_environment(installed.programs, with_uv)
    ports = {name: str(free_port()) for name in ("SPARK_MASTER_PORT", "SPARK_CONNECT_PORT")}
    state = {STATE_VARIABLE: str(server_state)}
    yield {**environment, **ports, **AS_INSTALLED, **state, "VIRTUAL_ENV": str(installed.programs.parent)}
    python = installed.programs / "python"
    subprocess.run([UV, "pip", "uninstall", "--quiet", "--python", python, "shop-methods", "shop-sqlite"], check=True)


@pytest.fixture(scope="module")
def server_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where a Spark server is noted, for the batches of the pages; the reader of the tutorial has none."""
    folder = tmp_path_factory.mktemp("state")
    with spark_server(folder, "2g"):
        yield folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder."""
    made = tmp_path / "shop"
    made.mkdir()
    return made


@pytest.mark.timeout(900)
def test_the_tutorial_leads_from_an_empty_folder_to_a_running_stream(folder: Path, installed: Installed, with_uv: Path):
    shutil.copy(installed.wheel, folder.parent)
    environment = {**reader_environment(with_uv), STATE_VARIABLE: str(folder.parent / "state")}
    carried_out("tutorial.md", folder, {**environment, **AS_INSTALLED})


@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", PLAIN_PAGES)
def test_what_a_page_says_can_be_done(page: str, folder: Path, reader: dict[str, str]):
    # That page starts and ends one of its own.
    state = {STATE_VARIABLE: str(folder / "state")} if page == "how-to/keep-spark-running.md" else {}
    carried_out(page, folder, {**reader, **state})


@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", ["how-to/load-what-is-new.md", "how-to/start-from-a-database.md"])
def test_a_database_is_loaded_as_the_page_says(page: str, folder: Path, reader: dict[str, str], postgres: Postgres):
    carried_out(page, folder, {**reader, **of_server(postgres)})


@pytest.mark.timeout(600)
def test_a_table_is_registered_as_the_page_says(folder: Path, reader: dict[str, str], hive_metastore: HiveMetastore):
    carried_out("how-to/register-tables.md", folder, {**reader, METASTORE_VARIABLE: hive_metastore.address})


def of_server(postgres: Postgres) -> dict[str, str]:
    """The variables of a user of the database."""
    return {
        "PGHOST": postgres.host,
        "PGPORT": str(postgres.port),
        "PGDATABASE": postgres.database,
        "PGUSER": postgres.username,
        "PGPASSWORD": postgres.password,
    }


@pytest.mark.timeout(600)
def test_a_secret_is_rotated_as_the_page_says(
    folder: Path, reader: dict[str, str], vault: VaultServer, postgres: Postgres
):
    server = {
        **of_server(postgres),
        "VAULT_ADDR": vault.address,
        "VAULT_TOKEN": vault.root_token,
        "PATH": os.pathsep.join([reader["PATH"], str(Path(vault_program()).parent)]),
    }
    carried_out("how-to/rotate-a-secret.md", folder, {**reader, **server})
    assert (
        hvac.Client(vault.address, token=vault.root_token).secrets.kv.v2.read_secret_version(
            "sales/db", raise_on_deleted_version=True
        )["data"]["data"]["password"]
        == "second-password"
    )


def test_the_tutorial_shows_the_pipelines_that_init_makes():
    shown = {act.path: act.text for act in acts(DOCS / "tutorial.md") if isinstance(act, PageFile)}
    for name in ("orders.json", "countries.json"):
        assert shown[f"pipelines/{name}"] == (ROOT / "pipeline_platform" / "starter" / name).read_text()


@pytest.mark.parametrize("page", WRITTEN_BY_HAND, ids=lambda page: page.name)
def test_every_json_of_a_page_is_a_file_that_a_reader_writes(page: Path):
    untitled = [fence.line for fence in fences(page) if fence.language == "json" and fence.title is None]
    assert not untitled, "give it a title"


def test_the_pipeline_of_the_readme_is_right():
    (pipeline,) = (fence for fence in fences(ROOT / "README.md") if fence.language == "json")
    assert parse_pipeline(pipeline.text, method_registry()).steps


@pytest.mark.parametrize("page", WRITTEN_BY_HAND, ids=lambda page: page.name)
def test_a_page_says_which_of_its_commands_no_test_runs(page: Path):
    left = [fence.line for fence in fences(page) if fence.language in ("sh", "bash", "shell")]
    assert not left or NOT_RUN in page.read_text(), f"line {left}"
