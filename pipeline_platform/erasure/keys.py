"""Whose rows are erased: the values of keys, as they were given."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TextIO

from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.redaction import remember_secret

# What it costs to try one value: some 50 ms, so that a proof does not give away a number that has few digits.
_COST = {"n": 2**14, "r": 8, "p": 1, "dklen": 32}


@dataclass(frozen=True)
class Keys:
    """The values of each key.

    Args:
        values: By the name of the key, such as `customer_id`: the values, as text.
    """

    values: Mapping[str, frozenset[str]]

    @property
    def texts(self) -> frozenset[str]:
        """All values."""
        return frozenset[str]().union(*self.values.values())

    @property
    def names(self) -> str:
        """The names of the keys, for people."""
        return ", ".join(self.values)

    def hashed(self, salt: str) -> str:
        """What tells these keys from others, without saying which they are.

        Args:
            salt: In hexadecimal digits.
        """
        told = json.dumps({name: sorted(values) for name, values in sorted(self.values.items())})
        return hashlib.scrypt(told.encode(), salt=bytes.fromhex(salt), **_COST).hex()


def new_salt() -> str:
    """A salt for `Keys.hashed`."""
    return os.urandom(16).hex()


def keys_of(options: Sequence[str], file: TextIO | None) -> Keys:
    """The keys that a command was given; from now on no message shows their values.

    Args:
        options: Each `NAME=VALUE`.
        file: A CSV file with one column, whose header names the key.

    Raises:
        PipelineConfigurationException: There are none, or a value is empty.
    """
    found: dict[str, set[str]] = {}
    for option in options:
        name, is_given, value = option.partition("=")
        if not is_given or not name:
            # Not told: it may be the value.
            raise PipelineConfigurationException("--key needs the form NAME=VALUE", hint="as in --key customer_id=4711")
        found.setdefault(name, set()).add(value)
    if file is not None:
        name, values = _of_file(file)
        found.setdefault(name, set()).update(values)
    if not found:
        raise PipelineConfigurationException(
            "no key says whose rows are meant", hint="give --key NAME=VALUE, or --keys-from FILE.csv"
        )
    for name, values in found.items():
        if "" in values or any(value != value.strip() for value in values):
            raise PipelineConfigurationException(
                f"a value of '{name}' is empty, or has blanks around it", hint="NULL is the key of nobody"
            )
        for value in values:
            remember_secret(value)
    return Keys({name: frozenset(values) for name, values in found.items()})


def _of_file(file: TextIO) -> tuple[str, list[str]]:
    rows = [row for row in csv.reader(file) if row]
    if len(rows) < 2 or any(len(row) != 1 for row in rows):
        raise PipelineConfigurationException(
            "the file of keys needs one column: a header that names the key, and a value in each line",
            hint="for keys of several names, give --key, or run the command for each",
        )
    return rows[0][0].strip().lstrip("\ufeff"), [row[0].strip() for row in rows[1:]]
