"""JSON with mistakes, read as far as one can tell what it says: for what is shown of a file that is no JSON."""

from __future__ import annotations

import json
import re
from typing import Any, cast

# A string that is not closed ends with its line; a comment and a mark of a merge conflict are nothing.
_TOKEN = re.compile(r'"(?:[^"\\\n]|\\.)*"?|[{}\[\]:,]|//[^\n]*|[^\s{}\[\]:,"]+')
# Of a line with an odd number of quotes: a key, or a value at the end, that lacks one.
_KEY = re.compile(r'^(\s*[{\[,]*\s*)"?(\w+)"?(\s*:)')
_VALUE = re.compile(r'(:\s*)([^"\s{\[][^"]*)"(\s*,?\s*)$')
_CLOSED_BY = {"{": "}", "[": "]"}
_DEEPEST = 50


def read_leniently(text: str) -> Any:
    """What a text probably says, whatever commas, quotes and brackets are missing or too many.

    Args:
        text: Of a file that should have been JSON.

    Returns:
        Objects, lists, strings, numbers, booleans and None; of an empty text None.
    """
    quoted = "\n".join(map(_with_quotes, text.splitlines()))
    tokens = [token for token in _TOKEN.findall(quoted) if not token.startswith("//")]
    return _Lenient(tokens).whole() if tokens else None


def _with_quotes(line: str) -> str:
    if line.count('"') % 2:
        line = _KEY.sub(r'\1"\2"\3', line)
    return _VALUE.sub(r'\1"\2"\3', line) if line.count('"') % 2 else line


class _Lenient:
    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self._at = 0
        self._open: list[str] = []

    def _next(self, ahead: int = 0) -> str:
        """The token there; nothing at the end."""
        at = self._at + ahead
        return self._tokens[at] if at < len(self._tokens) else ""

    def whole(self) -> Any:
        if self._next() == "[":
            return self.value()
        # What stands before an object, such as the mark of a merge conflict, is skipped as any other odd token.
        self._at += self._next() == "{"
        self._open.append("")
        return self._object()

    def value(self) -> Any:
        is_bare = self._next(1) == ":" and self._next() not in _CLOSED_BY
        token = "{" if is_bare else self._next()
        is_deep = len(self._open) >= _DEEPEST
        self._at += not is_bare or is_deep
        if token not in _CLOSED_BY or is_deep:
            return _scalar(token)
        self._open.append(_CLOSED_BY[token])
        found = self._object() if token == "{" else self._list()
        self._open.pop()
        return found

    def _is_closed(self) -> bool:
        """Whether the innermost bracket ends here: at its own end, or at that of one around it."""
        token = self._next()
        if token == self._open[-1]:
            self._at += 1
            return True
        return not token or token in self._open

    def _object(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not self._is_closed():
            if self._next() == "{" and "]" in self._open:
                # The next entry of a list: this one was not closed.
                return found
            if self._next(1) == ":" or self._is_key_without_colon():
                key = str(_scalar(self._next()))
                self._at += 2 if self._next(1) == ":" else 1
                found[key] = self.value() if self._next() not in ("", "}", "]", ",") else None
            elif self._next() == "{" and found:
                # The value before was the first of a list that does not begin.
                key = next(reversed(found))
                before = found[key]
                found[key] = [*(cast("list[Any]", before) if isinstance(before, list) else [before]), self.value()]
            else:
                self._at += 1
        return found

    def _is_key_without_colon(self) -> bool:
        is_string, following = self._next().startswith('"'), self._next(1)
        return is_string and (following in _CLOSED_BY or (following.startswith('"') and self._next(2) != ":"))

    def _list(self) -> list[Any]:
        found: list[Any] = []
        while not self._is_closed():
            if self._next() in (",", ":", "}"):
                self._at += 1
            else:
                found.append(self.value())
        return found


def _scalar(token: str) -> Any:
    try:
        return json.loads(token)
    except ValueError:
        return token.strip('",')
