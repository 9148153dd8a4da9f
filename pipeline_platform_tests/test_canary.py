"""No secret anywhere: after successes and failures with marked secrets, all that was left is searched for them."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from devtools.services import seed
from devtools.services.kafka import Kafka
from devtools.services.mariadb import MariaDB
from devtools.services.postgres import Postgres
from devtools.services.process import free_port
from devtools.services.s3 import S3Server
from devtools.services.vault import VaultServer
from pipeline_platform_tests.test_redaction import ENCODINGS

ROOT = Path(__file__).parent.parent
NOTE = 'canary/note "&%+='
NOTE_NAME = "note in the environment"
JAAS = 'canary/jaas "&%+='
S3_KEY = {"credentialPath": "secret/data/s3", "credentialType": "s3"}
POSTGRES = {"credentialPath": "secret/data/postgres"}


@dataclass(frozen=True)
class Traces:
    """What the runs left.

    Args:
        folder: Dagster's storage and logs, Spark's event logs, pages of its UI, the audit log, all output.
        lake: The folder of the bucket, Delta's logs in it.
        ledger: What the database keeps of the loads.
        output: Which run ended how.
    """

    folder: Path
    lake: Path
    ledger: str
    output: str


pytestmark = pytest.mark.timeout(600)


def ending(value: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The pipeline, made to begin in this folder and to end by itself if it is a stream."""
    if value["mode"] == "streaming":
        value["streaming"]["checkpointRoot"] = str(folder / "checkpoints")
        for step in value["steps"]:
            if step["type"] == "load":
                step["config"]["trigger"] = "availableNow"
    return value


@dataclass(frozen=True)
class World:
    """The seeded servers, and pipelines that succeed and fail with their secrets."""

    secrets: Mapping[str, str]
    environment: Mapping[str, str]
    pipelines: Path
    lake: Path
    postgres: Postgres

    def run(self, folder: Path, *arguments: str, pipelines: Path | None = None) -> Traces:
        """Run every pipeline, or those of another folder, in a process of its own."""
        home = folder / "dagster"
        home.mkdir(parents=True)
        shutil.copy(ROOT / "dagster.yaml", home)
        environment = {
            **os.environ,
            **self.environment,
            "DAGSTER_HOME": str(home),
            "PIPELINE_PLATFORM_AUDIT_LOG": str(folder / "audit.jsonl"),
            "CANARY_NOTE": NOTE,
        }
        command = [sys.executable, "-m", "pipeline_platform_tests.canary_run"]
        command += [str(pipelines or self.pipelines), str(folder)]
        done = subprocess.run(
            [*command, *arguments],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=560,
        )
        (folder / "stdout.txt").write_text(done.stdout)
        (folder / "stderr.txt").write_text(done.stderr)
        assert done.returncode == 0, done.stderr[-3000:]
        ledger = self.postgres.query("SELECT * FROM pipeline_platform_loads")
        return Traces(folder, self.lake, str(ledger), done.stdout)


def extract(method: str, **config: Any) -> dict[str, Any]:
    return {"type": "extract", "method": method, "config": config}


def load(method: str, **config: Any) -> dict[str, Any]:
    return {"type": "load", "method": method, "config": config}


def failures() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Pipelines that fail when they hold their secrets, each in another place."""
    customers = extract("fromPostgres", table="customers", **POSTGRES)
    to_lake = load("toDeltaLake", path="s3a://lake/canary", **S3_KEY)
    yield "no_table", [extract("fromPostgres", table="nothing", **POSTGRES), to_lake]
    yield "no_database", [extract("fromPostgres", table="t", credentialPath="secret/data/elsewhere"), to_lake]
    yield "no_server", [extract("fromPostgres", table="t", credentialPath="secret/data/nowhere"), to_lake]
    yield "no_mysql_table", [extract("fromMySQL", table="nothing", credentialPath="secret/data/mysql"), to_lake]
    yield "no_bucket", [customers, load("toS3", bucket="nothing", path="x", format="csv", **S3_KEY)]
    yield "no_topic", [customers, load("toKafka", topic="nothing", credentialPath="secret/data/kafka")]
    yield "refused_row", [customers, load("toPostgres", table="checked_rows", **POSTGRES)]
    yield "no_secret", [extract("fromPostgres", table="customers", credentialPath="secret/data/nothing"), to_lake]
    rule = "email <> '${env:CANARY_NOTE}' OR active"
    broken = {"type": "validate", "method": "validateBusinessRules", "config": {"rules": [f"NOT ({rule})"]}}
    yield "broken_rule", [customers, broken, to_lake]
    wrong = {
        "type": "transform",
        "method": "filterRows",
        "config": {"condition": "name = '${env:CANARY_NOTE}' + nothing"},
    }
    yield "wrong_expression", [customers, wrong, to_lake]


@pytest.fixture(scope="module")
def world(
    postgres: Postgres,
    mysql: MariaDB,
    kafka: Kafka,
    s3: S3Server,
    vault: VaultServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> World:
    jaas = f'org.apache.kafka.common.security.plain.PlainLoginModule required username="u" password="{JAAS}";'
    in_kafka = {**kafka.credentials(), "sasl.jaas.config": jaas}
    secrets = seed.Credentials(postgres.credentials(), mysql.credentials(), in_kafka, s3.credentials())
    seed.seed_postgres(secrets.postgres)
    seed.seed_mysql(secrets.mysql)
    seed.seed_kafka(secrets.kafka)
    seed.seed_s3(secrets.s3)
    seed.seed_vault(vault.client(), secrets)
    vault.write("elsewhere", {**secrets.postgres, "database": "elsewhere"})
    vault.write("nowhere", {**secrets.postgres, "port": free_port()})
    postgres.query("CREATE TABLE IF NOT EXISTS checked_rows (LIKE customers, CHECK (id < 1900))")
    pipelines = tmp_path_factory.mktemp("canary") / "pipelines"
    pipelines.mkdir()
    for path in (ROOT / "pipelines").glob("*.json"):
        value = json.loads(path.read_text())
        if "services" in value["metadata"]["tags"]:
            (pipelines / path.name).write_text(json.dumps(ending(value, pipelines.parent), indent=2))
    for name, steps in failures():
        value = {"name": name, "mode": "batch", "retry": {"maxAttempts": 1}, "steps": steps}
        (pipelines / f"zz_{name}.json").write_text(json.dumps(value, indent=2))
    marked = {
        "password of PostgreSQL": postgres.password,
        "password of MySQL": mysql.password,
        "key of S3": s3.access_key_id,
        "secret of S3": s3.secret_access_key,
        "login of Kafka": JAAS,
        "secret id of Vault": vault.secret_id,
        NOTE_NAME: NOTE,
    }
    lake = s3.server.folder / "data"
    return World(marked, {**vault.environment(), "VAULT_REQUIRED": "true"}, pipelines, lake, postgres)


def spellings(secret: str) -> set[bytes]:
    """A secret in every encoding, in base64 but for its ends, at each offset."""
    raw = secret.encode()
    found = {encode(secret) for name, encode in ENCODINGS.items() if not name.startswith("base64")}
    coded = (base64.b64encode(b"x" * offset + raw)[4:].rstrip(b"=")[:-2] for offset in range(3))
    shifted = {spelled for part in coded for spelled in (part, part.translate(bytes.maketrans(b"+/", b"-_")))}
    return {text.encode() for text in found} | {part for part in shifted if len(part) >= 8}


def leaks(world: World, traces: Traces) -> list[str]:
    """Where which secret was found."""
    files = [path for folder in (traces.folder, traces.lake) for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 50
    contents = [(str(path), path.read_bytes()) for path in files]
    contents.append(("the ledger in PostgreSQL", traces.ledger.encode()))
    return [
        f"{name} in {place}"
        for name, secret in world.secrets.items()
        for place, content in contents
        if any(spelling in content for spelling in spellings(secret)) and not is_plan_of_spark(name, place)
    ]


def is_plan_of_spark(name: str, place: str) -> bool:
    """Whether it is a value that a pipeline's own expression holds, in Spark's own record of its plans.

    What is written into a filter is a literal of the plan; Spark shows it to whoever may open its UI.
    """
    return name == NOTE_NAME and ("/traces/ui-" in place or "/traces/events/" in place)


def test_no_secret_is_left_anywhere_by_examples_and_failures(world: World, tmp_path: Path):
    traces = world.run(tmp_path / "traces")
    outcomes = dict(line.split(": ") for line in traces.output.splitlines() if line.endswith(("SUCCESS", "FAILURE")))
    for name, _ in failures():
        assert outcomes.pop(name) == "FAILURE"
    assert len(outcomes) >= 10
    assert outcomes == dict.fromkeys(outcomes, "SUCCESS")
    assert leaks(world, traces) == []


def test_with_redaction_switched_off_the_search_finds_them(world: World, tmp_path: Path):
    few = tmp_path / "pipelines"
    few.mkdir()
    for name in ("customers_to_lake", "order_lines", "zz_no_server", "zz_broken_rule"):
        shutil.copy(world.pipelines / f"{name}.json", few)
    assert leaks(world, world.run(tmp_path / "traces", "unredacted", pipelines=few))
