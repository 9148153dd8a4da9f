"""The message of a failure: what began it, and where."""

from __future__ import annotations

import re

from pipeline_platform.frames.causes import Failure

_LONGEST = 600
_READING = re.compile(r"(?:while reading file|Could not read file:) (?P<file>\S+?)\.?(?:\s|$)")
# What says more together with what is around it.
_SHORT = 64


def failure_message(failure: Failure) -> str:
    """What a failure says to people: what began it, and where.

    Args:
        failure: The failure.
    """
    causes = [(cause, said) for cause in failure.causes if (said := cause.text)]
    if not causes:
        return ""
    *outer, (_, message) = causes
    around = [said for cause, said in outer if not cause.is_a(*_ENVELOPES)]
    while around and message in around[-1] and len(around[-1]) < _LONGEST // 2:
        message = around.pop()
    if around and len(message) < _SHORT:
        message = f"{around[-1].rstrip('.')}: {message}"
    return _with_place(message, failure)[:_LONGEST]


# They say which query or task failed, which the step and the log do as well.
_ENVELOPES = (
    "org.apache.spark.SparkException",
    "pyspark.errors.exceptions.base.StreamingQueryException",
    "pyspark.errors.exceptions.base.PythonException",
    "org.apache.spark.api.python.PythonException",
    "py4j.protocol.Py4JError",
    "py4j.Py4JException",
)


def _with_place(message: str, failure: Failure) -> str:
    fragments = [fragment for cause in failure.innermost_first() for fragment in cause.fragments]
    if fragments and fragments[0] not in message:
        message += f" (in the expression {fragments[0]})"
    reading = (
        _READING.search(cause.message) for cause in failure.causes if cause.is_a("org.apache.spark.SparkException")
    )
    files = [found["file"] for found in reading if found is not None]
    if files and files[0] not in message:
        message += f" (while reading {files[0]})"
    return message
