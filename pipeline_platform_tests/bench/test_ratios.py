"""Ratios of a bench beside those of the baseline."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from devtools.bench import ratios
from devtools.bench.ratios import Ratio, Spread, comparison, keep, report


def test_a_ratio_is_that_of_each_round_and_not_of_the_medians():
    ratio = Ratio.of("ours / theirs", [1.0, 6.0, 3.0], [2.0, 3.0, 3.0])
    assert ratio.rounds == [0.5, 2.0, 1.0]
    assert ratio.spread == (1.0, 0.5, 2.0)


@pytest.mark.parametrize(
    ("found", "before", "change"),
    [
        ((1.3, 1.21, 1.4), (1.0, 0.9, 1.2), "slower"),
        ((1.3, 1.2, 1.4), (1.0, 0.9, 1.2), ""),
        ((0.8, 0.7, 0.9), (1.0, 0.9, 1.2), ""),
        ((0.8, 0.7, 0.89), (1.0, 0.9, 1.2), "faster"),
        ((0.8, 0.7, 0.89), None, "new"),
    ],
)
def test_a_change_is_told_where_no_round_could_have_been_one_of_the_baseline(
    found: Spread, before: Spread | None, change: str
):
    table = comparison({"job": found}, {"job": before} if before is not None else {})
    assert table.splitlines()[-1].split("|")[-2].strip() == change


def test_what_is_kept_replaces_the_benches_that_ran_and_leaves_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(ratios, "BASELINE", tmp_path / "baseline.json")
    monkeypatch.setenv(ratios.RESULTS_VARIABLE, str(tmp_path / "results"))
    (tmp_path / "baseline.json").write_text('{"cold": {"a / b": [1, 1, 1]}, "batch": {"gone / b": [1, 1, 1]}}')
    report("batch", [Ratio("c / d", [0.12345, 2, 3])])
    assert "| c / d | 2.00 | 0.12 | 3.00 |  | new |" in capsys.readouterr().out
    keep(tmp_path / "results")
    kept = json.loads((tmp_path / "baseline.json").read_text())
    assert kept == {"batch": {"c / d": [2, 0.123, 3]}, "cold": {"a / b": [1, 1, 1]}}
