"""A reader at a terminal: a shell of their own, in a folder of their own."""

from __future__ import annotations

import doctest
import os
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import pexpect
import psutil

from devtools.services.process import STOP_SECONDS, free_port
from pipeline_platform_tests.docs.page import Command, PageFile

PATIENCE_SECONDS = 240
_PROMPT = "reader-is-next> "
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[=>]")
_COMPARISON = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
_SET_BY_TESTS = (
    "VIRTUAL_ENV",
    # Without their bytecode each of the programs takes seconds longer to start.
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONPATH",
    "DAGSTER_HOME",
    "PIPELINES_DIR",
    "SPARK_",
    "PIPELINE_PLATFORM_",
    "VAULT_",
    "AWS_",
    # Where a developer's own Spark server is noted.
    "XDG_STATE_HOME",
)
# Where jars are kept, and how Java is started: nothing that a page is about.
_LEFT_ALONE = ("PIPELINE_PLATFORM_CACHE", "SPARK_SUBMIT_OPTS")
_ASKS_FOR_EXIT_CODE = "echo $?"


class Terminal:
    """A shell in which the commands of a page are given, one after the other.

    Args:
        folder: Where it starts.
        environment: Its variables.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self._shell = pexpect.spawn(
            "bash",
            ["--norc", "--noprofile", "--noediting"],
            cwd=str(folder),
            env={**environment, "PS1": _PROMPT, "PS2": "", "VIRTUAL_ENV_DISABLE_PROMPT": "1", "TERM": "xterm"},
            encoding="utf-8",
            codec_errors="replace",
            echo=False,
            dimensions=(50, 120),
            timeout=PATIENCE_SECONDS,
        )

    def __enter__(self) -> Self:
        self._shell.expect_exact(_PROMPT)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        left = psutil.Process(self._shell.pid).children(recursive=True)
        self._shell.close(force=True)
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.terminate()
        for process in psutil.wait_procs(left, timeout=STOP_SECONDS)[1]:
            process.kill()

    def write(self, written: PageFile) -> None:
        """Write a file as an editor does."""
        path = self.folder / written.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(written.text)

    def run(self, command: Command, *, may_fail: bool) -> None:
        """Give a command and hold what it prints against the page.

        Args:
            command: What the page says.
            may_fail: The page goes on with asking for the exit code.
        """
        printed = self._give_and_interrupt(command) if command.interrupted else self._give(command.text)
        if command.text != _ASKS_FOR_EXIT_CODE:
            code = self._give(_ASKS_FOR_EXIT_CODE).strip()
            # So that the page can ask for it as well.
            self._give(f"(exit {code})")
            assert may_fail or code == "0", f"line {command.line}: `{command.text}` ended with {code}\n{printed}"
        wanted = "\n".join(filter(None, (command.printed, command.printed_after)))
        assert not wanted or _fits(wanted, printed), f"line {command.line}: `{command.text}` printed\n{printed}"

    def _give(self, text: str) -> str:
        self._shell.sendline(text)
        return self._until_the_prompt(text)

    def _give_and_interrupt(self, command: Command) -> str:
        self._shell.sendline(command.text)
        last = [line for line in command.printed.splitlines() if line.strip() != "..."][-1]
        self._shell.expect(r"\s+".join(".*?".join(map(re.escape, word.split("..."))) for word in last.split()))
        before = str(self._shell.before) + str(self._shell.after)
        self._shell.sendintr()
        return _plain(before) + self._until_the_prompt(command.text)

    def _until_the_prompt(self, given: str) -> str:
        try:
            self._shell.expect_exact(_PROMPT)
        except pexpect.TIMEOUT as error:
            printed = _plain(str(self._shell.before))
            logs = "".join(f"\n{log.name}:\n{log.read_text()}" for log in self.folder.glob("*.log"))
            raise AssertionError(f"`{given}` goes on and on: {printed}{logs}"[-20_000:]) from error
        return _plain(str(self._shell.before))


def _plain(text: str) -> str:
    return _ESCAPE.sub("", text).replace("\r\n", "\n").replace("\r", "\n")


def _fits(wanted: str, printed: str) -> bool:
    # What is left out may be nothing at all.
    wanted = re.sub(r"\s*\.\.\.\s*", "...", wanted)
    return doctest.OutputChecker().check_output(wanted, printed.strip(), _COMPARISON)


def reader_environment(*programs: Path) -> dict[str, str]:
    """Variables of a reader who has set nothing but where to look for programs.

    Args:
        programs: Folders of programs that come before the machine's; this process's own are left out.
    """
    own = str(Path(sys.executable).parent)
    others = [folder for folder in os.environ["PATH"].split(os.pathsep) if folder != own]
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(_SET_BY_TESTS) or name in _LEFT_ALONE
    }
    return {
        **kept,
        "PATH": os.pathsep.join([*map(str, programs), *others]),
        "DAGSTER_CLI_DEV_PORT": str(free_port()),
    }
