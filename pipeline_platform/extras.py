"""Optional packages: an extra of a distribution has them, and only what deals with one system needs them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec

from pipeline_platform.exceptions import PipelineConfigurationException


@dataclass(frozen=True)
class Extra:
    """An extra that a connector, a credential or an exporter can't do without.

    Args:
        name: Of the extra, as it stands in `[project.optional-dependencies]`.
        needed_for: What can't be done without it, as people write it, such as `PostgreSQL`.
        modules: What is imported of its packages.
        distribution: The distribution whose extra it is.
    """

    name: str
    needed_for: str
    modules: tuple[str, ...]
    distribution: str = "pipeline-platform"

    def missing(self) -> tuple[str, ...]:
        """Those of the modules that are not installed."""
        return tuple(module for module in self.modules if not _is_installed(module))

    def require(self) -> None:
        """Make sure that the extra is installed.

        Raises:
            PipelineConfigurationException: It is not; it names the modules that are missing, and the extra.
        """
        if missing := self.missing():
            raise PipelineConfigurationException(
                f"{self.needed_for} needs Python packages that are not installed: {', '.join(missing)}",
                hint=install_hint([self]),
            )


def install_hint(extras: Iterable[Extra]) -> str:
    """The command that installs these extras.

    Args:
        extras: One or more.
    """
    names: dict[str, dict[str, None]] = {}
    for extra in extras:
        names.setdefault(extra.distribution, {})[extra.name] = None
    wanted = (f"'{distribution}[{','.join(of_it)}]'" for distribution, of_it in names.items())
    return f"pip install {' '.join(wanted)}"


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        # The package that it is in is not there either.
        return False
