"""Server-sent events (WHATWG HTML, section 9.2), decoded from bytes as they arrive."""

from __future__ import annotations

import json
import re
from typing import Any

from ragecho_sdk.models import AnswerEvent

# Only these end a line. `str.splitlines` would also cut at U+2028, which may stand unescaped inside JSON.
_LINE_END = re.compile(rb"\r\n|\n|\r")


class EventDecoder:
    """Feed it bytes in any pieces; it returns the events that they complete. `last_id` is the newest id among them."""

    def __init__(self) -> None:
        self.last_id: str | None = None
        self._id: str | None = None
        self._rest = b""
        self._name = ""
        self._data: list[str] = []

    def feed(self, piece: bytes) -> list[AnswerEvent]:
        """Return the events completed by `piece`, in order."""
        buffer = self._rest + piece
        # A carriage return at the very end may be the first half of \r\n: it waits for what follows.
        held = buffer[-1:] if buffer.endswith(b"\r") else b""
        *lines, last = _LINE_END.split(buffer[: len(buffer) - len(held)])
        self._rest = last + held
        return [event for line in lines if (event := self._line(line.decode("utf-8", "replace"))) is not None]

    def _line(self, line: str) -> AnswerEvent | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._name = value
        elif name == "data":
            self._data.append(value)
        elif name == "id":
            self._id = value
        return None

    def _dispatch(self) -> AnswerEvent | None:
        name, data = self._name or "message", "\n".join(self._data)
        self.last_id = self._id
        is_empty = not self._data and not self._name
        self._name, self._data = "", []
        return None if is_empty else AnswerEvent(name, _value(data))


def _value(data: str) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return data
