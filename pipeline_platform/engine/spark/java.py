"""Finds Java and says clearly when it is missing or too old."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

from pipeline_platform.exceptions import PipelineExecutionException

# Spark 4.1 runs on these, https://spark.apache.org/docs/4.1.1/.
SUPPORTED = (17, 21)
ANSWER_SECONDS = 30.0
"""How long a Java program may take to say its version."""
_HINT = "install a Java 17 runtime (Debian: openjdk-17-jre-headless) and set JAVA_HOME if it is not the default"


def require_java() -> str:
    """Return the path of a Java that Spark can use.

    Raises:
        PipelineExecutionException: There is none, or it has another version than 17 or 21.
    """
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=os.path.join(home, "bin")) if home else shutil.which("java")
    if java is None:
        where = f"JAVA_HOME={home}" if home else "the PATH"
        raise PipelineExecutionException(f"Spark needs Java {_supported()}, and {where} has none", hint=_HINT)
    version = java_version(java)
    if version not in SUPPORTED:
        told = version or "of an unknown version"
        raise PipelineExecutionException(f"Spark needs Java {_supported()}, and {java} is Java {told}", hint=_HINT)
    return java


def java_version(java: str) -> int | None:
    """The major version of a Java program, or None if it does not say one.

    Raises:
        PipelineExecutionException: It does not answer.
    """
    match = re.search(r'version "(?:1\.)?(\d+)', version_text(java))
    return int(match[1]) if match else None


def version_text(java: str) -> str:
    """What a Java program says of its version; nothing if it can't be run.

    Raises:
        PipelineExecutionException: It does not answer.
    """
    try:
        said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False, timeout=ANSWER_SECONDS)
    except OSError:
        return ""
    except subprocess.TimeoutExpired:
        raise PipelineExecutionException(
            f"'{java} -version' has not answered for {ANSWER_SECONDS:g} s", hint=_HINT
        ) from None
    return said.stderr + said.stdout


def _supported() -> str:
    return " or ".join(map(str, SUPPORTED))
