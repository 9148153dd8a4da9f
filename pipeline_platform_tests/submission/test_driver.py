"""What the driver of a submitted run does beside its run."""

from __future__ import annotations

import time

import pytest
from upath import UPath

from pipeline_platform.submission import driver
from pipeline_platform.submission.driver import stopping_when_asked


def test_a_driver_that_could_not_look_for_a_moment_still_stops_when_asked(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    answers = iter([ConnectionError("no answer"), False, True])

    def asked(_: UPath) -> bool:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(driver, "is_asked_to_stop", asked)
    monkeypatch.setattr(driver, "_LOOK_SECONDS", 0.01)
    with pytest.raises(KeyboardInterrupt), stopping_when_asked(UPath("memory://told")):
        time.sleep(10)
    assert "no answer" in caplog.text
