"""Whatever version stands in several places is the same in all of them."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from pipeline_platform.engine.spark.home import spark_home
from pipeline_platform.engine.spark.jar_lock import jar_lock
from pipeline_platform.engine.spark.java import SUPPORTED
from pipeline_platform.registry import CONNECTORS

ROOT = Path(__file__).parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
PINS = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
_TEXTS = (".md", ".yml", ".yaml", ".py", ".sh", "")
COORDINATES = [jar for connector in CONNECTORS for jar in connector.jars]
WRITTEN = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "Makefile", ".github/workflows/ci.yml")),
    *(path for folder in ("docs", "docker", "devtools") for path in sorted((ROOT / folder).rglob("*"))),
]


def shipped(artifact: str) -> str:
    """The version of a jar that pyspark ships."""
    (jar,) = (spark_home() / "jars").glob(f"{artifact}-[0-9]*.jar")
    return jar.stem.removeprefix(f"{artifact}-")


SPARK, DELTA, SCALA = version("pyspark"), version("delta-spark"), shipped("scala-library").rpartition(".")[0]


def artifacts() -> Iterator[tuple[str, str, str]]:
    """Group, artifact and version of each coordinate of a connector."""
    for coordinate in COORDINATES:
        group, artifact, number = coordinate.split(":")
        yield group, artifact, number


def written(pattern: str) -> set[str]:
    """What a pattern finds in the files beside the package."""
    texts = (path.read_text() for path in WRITTEN if path.is_file() and path.suffix in _TEXTS)
    return {found for text in texts for found in re.findall(pattern, text)}


def required(package: str) -> list[str]:
    """What stands behind a package's name, wherever pyproject.toml has it."""
    project, groups = PROJECT["project"], PROJECT["dependency-groups"]
    listed = [project["dependencies"], *project["optional-dependencies"].values(), *groups.values()]
    found = (re.fullmatch(rf"{package}(?:\[\w+\])?(.*)", one) for requirements in listed for one in requirements)
    return [one[1] for one in found if one]


@pytest.mark.parametrize(("package", "installed"), [("pyspark", SPARK), ("delta-spark", DELTA)])
def test_what_is_bound_to_jars_is_pinned_to_one_version(package: str, installed: str) -> None:
    assert {*required(package)} == {f"=={installed}"}
    assert PINS[package] == installed


def test_the_jars_of_spark_have_the_version_of_pyspark() -> None:
    assert shipped(f"spark-core_{SCALA}") == SPARK
    assert {number for group, _, number in artifacts() if group == "org.apache.spark"} == {SPARK}
    locked = re.findall(r"org\.apache\.spark_\S+?-(\d[\d.]*)\.jar", " ".join(jar_lock().sha256))
    assert {*locked} == {SPARK}


def test_the_jars_of_delta_have_the_version_of_its_python_package_and_are_made_for_this_spark() -> None:
    minor = SPARK.rpartition(".")[0]
    assert [one for one in COORDINATES if "delta" in one] == [f"io.delta:delta-spark_{minor}_{SCALA}:{DELTA}"]


def test_all_jars_are_made_for_the_scala_of_pyspark() -> None:
    names = [*(artifact for _, artifact, _ in artifacts()), *jar_lock().sha256]
    assert {found for name in names for found in re.findall(r"_(2\.\d+)(?![\d.]*\.jar)", name)} == {SCALA}


def test_the_client_of_s3_is_made_for_the_hadoop_of_pyspark() -> None:
    numbers = {artifact: number for _, artifact, number in artifacts()}
    assert numbers["hadoop-aws"] == shipped("hadoop-client-api") == shipped("hadoop-client-runtime")
    assert len({number for group, _, number in artifacts() if group == "software.amazon.awssdk"}) == 1


def test_a_library_of_several_jars_is_locked_in_one_version() -> None:
    for family in ("software.amazon.awssdk", "io.delta", "org.apache.kafka"):
        locked = (re.fullmatch(rf"{re.escape(family)}_.*?-(\d[\w.]*)\.jar", name) for name in jar_lock().sha256)
        assert len({found[1] for found in locked if found}) == 1, family


def test_the_files_beside_the_package_name_the_same_spark_and_delta() -> None:
    assert written(r"apache/spark:(\d[\d.]*\d)") | written(r"Spark of the driver, (\d[\d.]*\d)") == {SPARK}
    assert written(r'"pyspark\[connect\]==([^"]+)"') == {SPARK}
    assert written(r"io\.delta:[\w.-]+:[\d.]*\d") == {one for one in COORDINATES if "delta" in one}


def test_java_is_one_that_spark_runs_on_wherever_it_is_installed() -> None:
    installed = written(r"openjdk-(\d+)-jre") | written(r'java-version: "(\d+)"') | written(r"Java (\d+)\b")
    assert {*map(int, installed)} <= {*SUPPORTED}
    assert len(installed) == 1


def test_python_is_the_same_where_the_platform_is_made_and_run() -> None:
    project = PROJECT["project"]
    lowest = project["requires-python"].removeprefix(">=").partition(",")[0]
    assert written(r"python:(\d\.\d+)") | written(r'python-version: "(\d\.\d+)"') == {lowest}
    assert written(r"--python(?:-version)? (\d\.\d+)") == {lowest}
    assert PROJECT["tool"]["basedpyright"]["pythonVersion"] == lowest
    assert PROJECT["tool"]["ruff"]["target-version"] == f"py{lowest.replace('.', '')}"
    supported = [one.rpartition(" ")[2] for one in project["classifiers"] if re.search(r"Python :: 3\.", one)]
    assert supported[0] == lowest
    assert f"Python {' or '.join(supported)}" in (ROOT / "docs" / "tutorial.md").read_text()


def test_uv_is_the_same_in_the_makefile_and_the_image() -> None:
    assert len(written(r'"uv([><=][^"]+)"')) == 1


def test_the_wheel_of_the_tutorial_is_of_this_version() -> None:
    assert written(r"pipeline_platform-(\d[\d.]*\d)-py3") == {PROJECT["project"]["version"]}


def test_kafka_is_the_same_with_docker_and_without() -> None:
    brokers = written(r"apache/kafka:([\d.]+)") | written(r"org\.apache\.kafka:[\w.-]+:([\d.]+)")
    assert len(brokers) == 1
