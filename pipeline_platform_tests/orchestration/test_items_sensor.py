"""The sensor that refreshes items, as far as no database is needed."""

from __future__ import annotations

import re

import pytest

from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.orchestration.items_sensor import WEBSERVER_VARIABLE, webserver_url


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        ("localhost:3000", "no URL of a webserver: localhost:3000"),
        ("ftp://localhost", "no URL of a webserver: ftp://localhost"),
        ("https://", "no URL of a webserver"),
        ("https://ada:open-sesame@dagster.example.com", "has a login, which can't be used"),
    ],
)
def test_a_webserver_that_can_t_be_asked_is_told_when_the_project_is_loaded(
    said: str, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(WEBSERVER_VARIABLE, said)
    with pytest.raises(PipelineConfigurationException, match=re.escape(wrong)) as found:
        webserver_url()
    assert "open-sesame" not in str(found.value)


def test_a_webserver_may_be_below_a_path_or_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WEBSERVER_VARIABLE, "https://dagster.example.com/ui")
    assert webserver_url() == "https://dagster.example.com/ui"
    monkeypatch.delenv(WEBSERVER_VARIABLE)
    assert webserver_url() is None
