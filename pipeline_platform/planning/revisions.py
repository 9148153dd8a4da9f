"""The files of another version: a folder, or a revision of Git, which is written into a folder of its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline_platform.exceptions import PipelineConfigurationException

_SHORT = 9
_LINK = "120000"
_FILES = ("100644", "100755")


@dataclass(frozen=True)
class Revision:
    """A version of a folder of pipelines.

    Args:
        folder: Where its files are.
        name: What people call it, such as `main`.
        root: What its files are shown without, if they are not where a person has put them.
        about: What it is, where the name alone does not say.
    """

    folder: Path
    name: str
    root: Path | None = None
    about: str | None = None

    @property
    def title(self) -> str:
        """What it is called, and what it is."""
        return f"{self.name}, {self.about}" if self.about is not None else self.name

    def shown(self, text: str) -> str:
        """A text with the places of its files as people know them, such as `main:pipelines/orders.json`.

        Args:
            text: Any text, or the path of a file.
        """
        return text if self.root is None else text.replace(f"{self.root}{os.sep}", f"{self.name}:")


@contextmanager
def other_version(folder: Path, against: str | None) -> Generator[Revision]:
    """The version that a folder of pipelines is compared with; it is there while the block lasts.

    Args:
        folder: The folder.
        against: A revision of Git or a folder; None for where the branch has left the default branch.

    Raises:
        PipelineConfigurationException: There is no such revision or folder.
    """
    top = _top(folder)
    if top is not None:
        commit, about = _default_revision(top) if against is None else (_commit(top, against), None)
        if commit is not None:
            with TemporaryDirectory(prefix="pipeline-platform-") as place:
                root = Path(place).resolve() / top.name
                name = against or commit[:_SHORT]
                yield replace(_exported(folder, top, commit, root), name=name, about=about)
            return
    if against is not None and Path(against).is_dir():
        yield Revision(Path(against), against)
        return
    if against is None:
        raise PipelineConfigurationException(
            f"the folder '{folder}' is in no Git repository, or in one without a commit, so there is nothing to "
            "compare it with",
            hint="name the folder with the other version: --against FOLDER",
        )
    what = "folder" if top is None else "revision of Git, and no folder,"
    raise PipelineConfigurationException(
        f"there is no {what} '{against}'",
        hint="'git branch --all' lists the branches; a server in CI may have fetched the newest commit alone: fetch "
        "the other one too",
    )


def _exported(folder: Path, top: Path, commit: str, root: Path) -> Revision:
    """Write what may belong to the pipelines: all files of the folder that theirs is in, which none may leave."""
    inside = folder.resolve().relative_to(top)
    project = inside.parent
    for mode, blob, path in _listed(top, commit, project):
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if mode == _LINK:
            target.symlink_to(os.fsdecode(_blob(top, blob)))
    _write_files(top, [(blob, root / path) for mode, blob, path in _listed(top, commit, project) if mode in _FILES])
    (root / inside).mkdir(parents=True, exist_ok=True)
    return Revision(root / inside, commit, root)


def _write_files(top: Path, files: list[tuple[str, Path]]) -> None:
    command = ["git", "-C", str(top), "cat-file", "--batch"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as git:
        assert git.stdin is not None
        assert git.stdout is not None
        for blob, target in files:
            git.stdin.write(f"{blob}\n".encode())
            git.stdin.flush()
            head = git.stdout.readline().split()
            if len(head) != len(("name", "type", "size")):
                raise PipelineConfigurationException(
                    f"Git can't read '{target.name}' of the other version",
                    hint="fetch it: the repository may be a partial or a shallow clone",
                )
            target.write_bytes(git.stdout.read(int(head[2])))
            git.stdout.read(1)


def _listed(top: Path, commit: str, project: Path) -> Iterator[tuple[str, str, str]]:
    """Mode, id and path of each file of a commit that is in a folder."""
    within = [] if project == Path() else [f"{project.as_posix()}/"]
    listed = _git(top, "ls-tree", "-r", "-z", "--full-tree", commit, "--", *within)
    for entry in (listed or "").split("\0"):
        if entry:
            head, _, path = entry.partition("\t")
            mode, _, blob = head.split()
            yield mode, blob, path


def _blob(top: Path, blob: str) -> bytes:
    done = subprocess.run(["git", "-C", str(top), "cat-file", "blob", blob], capture_output=True, check=True)
    return done.stdout


def _default_revision(top: Path) -> tuple[str | None, str | None]:
    """Where the branch has left the default branch; the last commit, where nobody knows which that is."""
    for branch in ("refs/remotes/origin/HEAD", "refs/heads/main", "refs/heads/master"):
        name = (_git(top, "rev-parse", "--abbrev-ref", branch) or "").strip()
        base = (_git(top, "merge-base", "HEAD", branch) or "").strip()
        if base:
            is_head = base == _commit(top, "HEAD")
            return base, "the last commit" if is_head else f"where the branch has left {name or branch}"
    return _commit(top, "HEAD"), "the last commit"


def _commit(top: Path, revision: str) -> str | None:
    found = _git(top, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    return found.strip() if found else None


def _top(folder: Path) -> Path | None:
    found = _git(folder, "rev-parse", "--show-toplevel") if folder.is_dir() else None
    return Path(found.rstrip("\n")).resolve() if found else None


def _git(folder: Path, *arguments: str) -> str | None:
    """What Git prints; None where it fails, or there is none."""
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, check=False)
    except OSError:
        return None
    return os.fsdecode(done.stdout) if done.returncode == 0 else None
