"""How often the delivery of an alert is tried."""

from __future__ import annotations

from collections.abc import Callable

from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

_ATTEMPTS = 3


def delivery_attempts(may_pass: Callable[[BaseException], bool]) -> Retrying:
    """Attempts with pauses between them; the last failure is raised.

    Args:
        may_pass: Whether a second attempt may not meet an error.
    """
    return Retrying(
        stop=stop_after_attempt(_ATTEMPTS),
        wait=wait_exponential(multiplier=0.5),
        retry=retry_if_exception(may_pass),
        reraise=True,
    )
