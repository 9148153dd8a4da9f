"""The login that Kafka's property `sasl.jaas.config` holds, read as Kafka's Java client reads it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_SPACE = r"(?:\s|//[^\n]*|/\*.*?\*/)*+"
_WORD = r"[\w.$-]+"
_QUOTED = r'"(?:[^"\\\n]|\\.)*"' + r"|'(?:[^'\\\n]|\\.)*'"
_OPTION = re.compile(rf"{_SPACE}(?P<name>{_WORD}){_SPACE}={_SPACE}(?P<value>{_QUOTED}|[^\W\d][\w.$-]*)", re.DOTALL)
_LOGIN = re.compile(
    rf"{_SPACE}(?P<module>{_WORD}){_SPACE}(?:required|requisite|sufficient|optional)(?=[\s/;])"
    rf"(?P<options>(?:{_OPTION.pattern.replace('?P<name>', '?:').replace('?P<value>', '?:')})*+){_SPACE};{_SPACE}",
    re.DOTALL | re.IGNORECASE,
)
# Java's `StreamTokenizer`; any other character after a backslash stands for itself.
_ESCAPE = re.compile(r"\\([0-3]?[0-7]{1,2}|.)", re.DOTALL)
_ESCAPED = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


@dataclass(frozen=True)
class Login:
    """A login of Kafka's.

    Args:
        module: Class of the login module, without its package.
        options: Its options by name, such as `username` and `password`.
    """

    module: str
    options: Mapping[str, str] = field(repr=False)


def login_of(text: str) -> Login | None:
    """What the text of `sasl.jaas.config` says; None if it is no login that Kafka could read.

    Args:
        text: Such as `org.apache.kafka.common.security.plain.PlainLoginModule required username="u" password="p";`.
    """
    found = _LOGIN.fullmatch(text)
    if found is None:
        return None
    options = {one["name"]: _unquoted(one["value"]) for one in _OPTION.finditer(found["options"])}
    return Login(found["module"].rpartition(".")[2], options)


def _unquoted(value: str) -> str:
    return _ESCAPE.sub(_character, value[1:-1]) if value[0] in "\"'" else value


def _character(escape: re.Match[str]) -> str:
    text = escape[1]
    return chr(int(text, 8)) if text[0] in "01234567" else _ESCAPED.get(text, text)
