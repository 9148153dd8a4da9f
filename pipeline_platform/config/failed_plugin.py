"""What is known of a plug-in that is left out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FailedPlugin:
    """An installed package's entry point that can't be used.

    Args:
        name: Of the entry point; as a rule that of its method.
        package: The package it comes with.
        reason: What is wrong with it.
    """

    name: str
    package: str
    reason: str

    def __str__(self) -> str:
        return f"the plug-in '{self.name}' of the package {self.package} can't be used: {self.reason}"
