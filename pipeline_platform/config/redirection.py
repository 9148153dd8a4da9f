"""Where the sinks of an environment lie: every place gets another one, or is refused."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline_platform.config.uris import S3_SCHEMES, URI

_PATHS_HINT = "say under 'paths' of the environment where it goes"


class NotRedirected(Exception):
    """A sink has no place of its own in an environment.

    Args:
        reason: Why.
        hint: What to do.
    """

    def __init__(self, reason: str, hint: str | None = None) -> None:
        super().__init__(reason)
        self.hint = hint


@dataclass(frozen=True)
class Redirection:
    """Turns the places that production writes into those of an environment.

    Args:
        prefix: What names of tables and topics begin with there, and the first folder of a path.
        paths: Where paths that begin with one of these lead to instead.
    """

    prefix: str
    paths: Mapping[str, str] = field(default_factory=dict[str, str])

    def name(self, written: str) -> str:
        """The name of a table, a topic or a pipeline.

        Args:
            written: The name in production.
        """
        return f"{self.prefix}{written}"

    def path(self, written: str) -> str:
        """A local path or URI.

        Args:
            written: The path in production.

        Raises:
            NotRedirected: It has no folder that could get the prefix, and no entry of `paths` is about it.
        """
        plain = plain_path(written)
        if (mapped := self._mapped(plain)) is not None:
            return mapped
        if plain.startswith("${env:"):
            hint = (
                "make it a variable of the pipeline, whose value the environment gives under 'variables'; or "
                + _PATHS_HINT
            )
            raise NotRedirected(f"where '{written}' begins is known in a run alone", hint)
        uri = URI.fullmatch(plain)
        if plain.startswith("/") or (uri is not None and uri["scheme"] == "file"):
            raise NotRedirected(f"'{written}' is an absolute path", f"{_PATHS_HINT}, as in {self._example(plain)}")
        root = f"{plain[: uri.start('path')]}/" if uri is not None else "../" * plain.count("../")
        rest = plain.removeprefix(root) if uri is None else uri["path"].lstrip("/")
        if rest in ("", ".", ".."):
            raise NotRedirected(f"'{written}' has no folder whose name could get the prefix", _PATHS_HINT)
        return f"{root}{self.prefix}{rest}"

    def _mapped(self, plain: str) -> str | None:
        fitting = {
            source: target
            for known, target in self.paths.items()
            if plain == (source := plain_path(known)) or plain.startswith(f"{source.rstrip('/')}/")
        }
        if not fitting:
            return None
        source = max(fitting, key=len)
        target = fitting[source].rstrip("/")
        rest = plain[len(source.rstrip("/")) :]
        return f"{target}{rest}"

    def _example(self, plain: str) -> str:
        folder = plain.rstrip("/").rpartition("/")[0] or plain
        return f'"paths": {{"{folder}": "{folder.rstrip("/")}_{self.prefix.strip("_")}"}}'


def plain_path(written: str) -> str:
    """One spelling for one local path or URI, which stays relative if it is.

    Args:
        written: The path.
    """
    uri = URI.fullmatch(written)
    if uri is None:
        return os.path.normpath(written)
    scheme = "s3" if uri["scheme"].lower() in S3_SCHEMES else uri["scheme"].lower()
    return f"{scheme}://{uri['authority'] or ''}/{re.sub(r'/+', '/', uri['path']).strip('/')}".rstrip("/")
