"""A limit to how long a server may be silent, for a driver that has none: psycopg waits for ever.

This module is used in Python processes of Spark's, too: it imports nothing that is heavy.
"""

from __future__ import annotations

import math
import os
import socket
import threading
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, suppress


class SilentServerError(Exception):
    """The server was silent for too long, and its connection was cut."""


@contextmanager
def silence_limited(descriptor: int, seconds: float) -> Generator[Callable[[], AbstractContextManager[None]]]:
    """Cut a connection whose server does not let the block go on for so long; what waits for it then fails at once.

    Args:
        descriptor: The connection's socket.
        seconds: How long the server may be silent.

    Yields:
        Makes a block within which the server is not waited for; after it, the time begins anew.

    Raises:
        SilentServerError: The connection was cut.
    """
    ended = threading.Event()
    begun = time.monotonic()
    cut = False

    def watch() -> None:
        nonlocal cut
        while not ended.wait(min(max(begun + seconds - time.monotonic(), 0.01), seconds)):
            if time.monotonic() >= begun + seconds:
                cut = True
                with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as connection:
                    connection.shutdown(socket.SHUT_RDWR)
                return

    @contextmanager
    def paused() -> Generator[None]:
        nonlocal begun
        begun = math.inf
        yield
        begun = time.monotonic()

    watching = threading.Thread(target=watch, name="silence-limit", daemon=True)
    watching.start()
    try:
        yield paused
    except Exception as error:
        if cut:
            said = f"the server was silent for {seconds:g} s; 'timeoutSeconds' says how long it may be"
            raise SilentServerError(said) from error
        raise
    finally:
        ended.set()
        watching.join()
