"""Alerts as messages in a channel of Slack."""

from __future__ import annotations

import os

from pipeline_platform.extras import Extra
from pipeline_platform.redaction import remember_secret
from pipeline_platform.resources.alert_model import Alert, environment_setting

SLACK_EXTRA = Extra("slack", "an alert to Slack", ("slack_sdk",))
TOKEN_VARIABLE = "PIPELINE_PLATFORM_SLACK_TOKEN"
API_VARIABLE = "PIPELINE_PLATFORM_SLACK_API"
_API = "https://slack.com/api/"
_TIMEOUT_SECONDS = 5
_RETRIES = 2


class SlackNotifier:
    """Posts a message, as the app whose token is in `PIPELINE_PLATFORM_SLACK_TOKEN`.

    Args:
        channel: The channel's name with `#`, or its id. The app has to be a member of it.

    Raises:
        PipelineConfigurationException: There is no token, or the extra `slack` is not installed.
    """

    def __init__(self, channel: str) -> None:
        SLACK_EXTRA.require()
        from slack_sdk import WebClient
        from slack_sdk.http_retry.builtin_handlers import (
            ConnectionErrorRetryHandler,
            RateLimitErrorRetryHandler,
            ServerErrorRetryHandler,
        )

        token = environment_setting(TOKEN_VARIABLE, SLACK_EXTRA.needed_for, "the 'Bot User OAuth Token' of your app")
        remember_secret(token)
        self._channel = channel
        self._client = WebClient(
            token,
            base_url=os.environ.get(API_VARIABLE) or _API,
            timeout=_TIMEOUT_SECONDS,
            retry_handlers=[
                ConnectionErrorRetryHandler(max_retry_count=_RETRIES),
                RateLimitErrorRetryHandler(max_retry_count=_RETRIES),
                ServerErrorRetryHandler(max_retry_count=_RETRIES),
            ],
        )

    def notify(self, alert: Alert) -> None:
        """Post it; Slack's client tries again if Slack is away or busy.

        Raises:
            slack_sdk.errors.SlackClientError: Slack did not take it, such as for a channel that does not exist.
        """
        link = f"\n<{alert.url}|Open in Dagster>" if alert.url else ""
        self._client.chat_postMessage(  # pyright: ignore[reportUnknownMemberType]
            channel=self._channel,
            text=f"*{_escaped(alert.title)}*\n```{_escaped(alert.text)}```{link}",
            unfurl_links=False,
        )


def _escaped(text: str) -> str:
    """The text, with what would be a link or a mention to Slack as plain characters."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("```", "'''")
