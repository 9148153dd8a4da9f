"""The pages as a site."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
BIN = Path(sys.executable).parent


def ran(*command: str) -> subprocess.CompletedProcess[str]:
    program, *arguments = command
    return subprocess.run(
        [str(BIN / program), *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )


def test_the_site_is_built_without_a_warning(tmp_path: Path):
    built = ran("mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path))
    assert built.returncode == 0, built.stderr
    assert "mermaid" in (tmp_path / "architecture.html").read_text()
    assert "validateReferentialIntegrity" in (tmp_path / "reference.html").read_text()


@pytest.mark.parametrize("link", ["nowhere.md", "#nowhere"])
def test_a_link_to_nowhere_breaks_the_site(tmp_path: Path, link: str):
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "index.md").write_text(f"# Home\n\n[There]({link})\n")
    settings = (ROOT / "mkdocs.yml").read_text().partition("nav:\n")[0]
    (tmp_path / "mkdocs.yml").write_text(settings)
    built = ran("mkdocs", "build", "--strict", "--config-file", str(tmp_path / "mkdocs.yml"))
    assert built.returncode != 0
    assert "nowhere" in built.stderr


def test_the_committed_commands_are_not_stale():
    made = ran("typer", "pipeline_platform.cli", "utils", "docs", "--name", "pipeline-platform", "--title", "Commands")
    assert made.returncode == 0, made.stderr
    assert made.stdout.strip() == (ROOT / "docs" / "commands.md").read_text().strip(), "run: make docs"
