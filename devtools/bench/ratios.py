"""Ratios of one run of a bench, held against those of the baseline."""

from __future__ import annotations

import json
import os
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

BASELINE = Path(__file__).with_name("baseline.json")
"""The ratios of the last run that was kept."""
RESULTS_VARIABLE = "PIPELINE_PLATFORM_BENCH_RESULTS"
"""Names a file to which each bench adds its ratios, a line each."""
Spread = tuple[float, float, float]
"""Median, least and most of the rounds."""


@dataclass(frozen=True)
class Ratio:
    """What one thing takes, as a multiple of another, in each round.

    Args:
        name: Both, as `one / other`.
        rounds: A ratio for each round.
    """

    name: str
    rounds: Sequence[float]

    @classmethod
    def of(cls, name: str, taken: Sequence[float], to: Sequence[float]) -> Ratio:
        """From the times of each round.

        Args:
            name: Both, as `one / other`.
            taken: Times of the one, in any unit.
            to: Times of the other, in the same unit.
        """
        return cls(name, [one / other for one, other in zip(taken, to, strict=True)])

    @property
    def spread(self) -> Spread:
        """Median, least and most of the rounds."""
        return statistics.median(self.rounds), min(self.rounds), max(self.rounds)


def report(bench: str, ratios: Iterable[Ratio]) -> None:
    """Print the ratios beside those of the baseline, and add them to the results of this run.

    Args:
        bench: Its name.
        ratios: What it has found.
    """
    found = {ratio.name: ratio.spread for ratio in ratios}
    sys.stdout.write("\n" + comparison(found, baseline().get(bench, {})) + "\n")
    if (file := os.environ.get(RESULTS_VARIABLE)) is not None:
        with Path(file).open("a") as results:
            results.write(json.dumps({bench: found}) + "\n")


def comparison(found: Mapping[str, Spread], before: Mapping[str, Spread]) -> str:
    """A table of ratios, their spreads, and what has changed.

    A difference counts only where the rounds of the two runs have no value in common.

    Args:
        found: Of this run, by name.
        before: Of the baseline, by name.
    """
    lines = ["| ratio, median of the rounds | | min | max | baseline | |", "|---|---|---|---|---|---|"]
    for name, (median, least, most) in found.items():
        then = before.get(name)
        told = f"{then[0]:.2f} ({then[1]:.2f} to {then[2]:.2f})" if then is not None else ""
        lines.append(f"| {name} | {median:.2f} | {least:.2f} | {most:.2f} | {told} | {_change(least, most, then)} |")
    return "\n".join(lines)


def _change(least: float, most: float, then: Spread | None) -> str:
    if then is None:
        return "new"
    if least > then[2]:
        return "slower"
    return "faster" if most < then[1] else ""


def baseline() -> dict[str, dict[str, Spread]]:
    """The ratios that were kept, by bench and name; none if there is no baseline yet."""
    return json.loads(BASELINE.read_text()) if BASELINE.exists() else {}


def keep(results: Path) -> None:
    """Make the results of a run the baseline of those benches that it had.

    Args:
        results: The file that `RESULTS_VARIABLE` has named.
    """
    kept = baseline()
    for line in results.read_text().splitlines():
        kept |= json.loads(line)
    rounded = {
        bench: {name: [round(value, 3) for value in spread] for name, spread in ratios.items()}
        for bench, ratios in sorted(kept.items())
    }
    BASELINE.write_text(json.dumps(rounded, indent=2) + "\n")
