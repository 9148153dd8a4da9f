"""Servers and tools that are built from Go modules, once, into the cache."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from devtools.services.process import ServerUnavailableError, program
from pipeline_platform.engine.spark.home import cache_folder
from pipeline_platform.engine.spark.jars import say

VAULT = "1.21.0"
"""The last version whose modules are all published."""
VERSITYGW = "1.8.0"
COMPOSE = "2.9.0"
"""Of the library with which Docker Compose reads its files."""
_VAULT_SDK = "0.20.0"
_VAULT_SERVER = Path(__file__).with_name("vault_server")
"""A main of Vault's own packages, and what stands in for those that it has to compile and never calls."""
_S3_SERVER = Path(__file__).with_name("s3_server")
"""A main of the gateway's own packages."""
_UNUSED = {"github.com/hashicorp/go-discover": "discover", "github.com/okta/okta-sdk-golang/v5": "okta"}
# Compiled without optimizations and without what a debugger needs: tests ask little of them.
_QUICKLY = ("-gcflags=all=-N -l", "-ldflags=-s -w")
_COMPOSE_MAIN = """\
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/compose-spec/compose-go/v2/cli"
)

func main() {
	options, err := cli.NewProjectOptions(os.Args[1:], cli.WithOsEnv)
	if err == nil {
		project, failed := options.LoadProject(context.Background())
		if err = failed; err == nil {
			read, _ := project.MarshalYAML()
			fmt.Println(string(read))
			return
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
"""


def vault_program() -> str:
    """Vault: the one on the PATH, or one that is built, with what the tests use of it, and kept.

    Raises:
        ServerUnavailableError: It can't be built.
    """
    return shutil.which("vault") or _kept("vault", f"{VAULT}-{_digest(_VAULT_SERVER)}", _build_vault)


def s3_program() -> str:
    """Versity's S3 gateway: the one on the PATH, or one that is built, with what the tests use of it, and kept.

    Raises:
        ServerUnavailableError: It can't be built.
    """
    return shutil.which("versitygw") or _kept("versitygw", f"{VERSITYGW}-{_digest(_S3_SERVER)}", _build_versitygw)


def compose_program() -> str:
    """What reads a compose file as Docker Compose does, needs no Docker, and is built and kept.

    Raises:
        ServerUnavailableError: It can't be built.
    """
    return _kept("compose", COMPOSE, _build_compose)


def _digest(folder: Path) -> str:
    sources = sorted(path for path in folder.rglob("*") if path.is_file())
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:8]


def _kept(name: str, version: str, build: Callable[[Path], None]) -> str:
    folder = cache_folder() / "services" / f"{name}-{version}"
    folder.mkdir(parents=True, exist_ok=True)
    built = folder / name
    with FileLock(folder / "lock"):
        if not built.exists():
            say(f"building {name} {version}, once, into {folder} ...")
            work = folder / "work"
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir()
            build(work)
            (work / name).rename(built)
            shutil.rmtree(work)
    return str(built)


def _build_versitygw(work: Path) -> None:
    shutil.copytree(_S3_SERVER, work, dirs_exist_ok=True)
    _build_main(work, "versitygw", f"github.com/versity/versitygw@v{VERSITYGW}")


def _build_compose(work: Path) -> None:
    (work / "main.go").write_text(_COMPOSE_MAIN)
    _build_main(work, "compose", f"github.com/compose-spec/compose-go/v2@v{COMPOSE}")


def _build_main(work: Path, name: str, module: str) -> None:
    """Build a main that uses one module."""
    _go(work, "mod", "init", f"{name}-main")
    _go(work, "get", module)
    _go(work, "build", *_QUICKLY, "-o", name, ".")


def _build_vault(work: Path) -> None:
    module = json.loads(_go(work, "mod", "download", "-json", f"github.com/hashicorp/vault@v{VAULT}"))
    wanted = (Path(module["Dir"]) / "go.mod").read_text()
    wanted = re.sub(r"^module .*$", "module vault-server", wanted, count=1, flags=re.MULTILINE)
    # They name folders of Vault's own checkout.
    wanted = re.sub(r"^.* => \./.*\n", "", wanted, flags=re.MULTILINE)
    (work / "go.mod").write_text(wanted)
    shutil.copytree(_VAULT_SERVER, work, dirs_exist_ok=True)
    _go(work, "mod", "edit", "-require", f"github.com/hashicorp/vault@v{VAULT}")
    _go(work, "mod", "edit", "-require", f"github.com/hashicorp/vault/sdk@v{_VAULT_SDK}")
    for unused, stand_in in _UNUSED.items():
        _go(work, "mod", "edit", "-replace", f"{unused}=./unused/{stand_in}")
    _go(work, "build", *_QUICKLY, "-o", "vault", ".")


def _go(work: Path, *arguments: str, **variables: str) -> str:
    go = program("go", "/usr/local/go/bin", "/usr/lib/go/bin")
    environment = {**os.environ, "GOFLAGS": "-mod=mod -buildvcs=false", **variables}
    done = subprocess.run([go, *arguments], cwd=work, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ServerUnavailableError(f"go {arguments[0]} failed: {done.stderr[-1500:]}")
    return done.stdout
