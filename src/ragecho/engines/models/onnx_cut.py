"""Let the last layer of a BERT work for the first token alone, whose state is all that is read of it.

Models that pool by their first token compute the last layer's queries, projections and feed-forward part for every token,
and throw all but one row away: a fourteenth of the time. Two slices in front of the last layer end that. Only the named
nodes' inputs are changed, on the level of protobuf's wire format; everything else keeps its bytes. The result differs in
the fourth digit (cosine .9999), because the layer's 8-bit scales now are the one row's own.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np

from ragecho.engines.models.catalogue import LastLayer
from ragecho.engines.models.onnx_writer import bytes_field, node_message, tensor_message, varint

_GRAPH, _NODE, _TENSOR, _INPUT, _NAME = 7, 1, 5, 1, 3
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_FIXED_SIZES: Final = {_FIXED64: 8, _FIXED32: 4}
_START, _END = "first_token_start", "first_token_end"


def for_first_token(model: bytes, last: LastLayer) -> bytes:
    """Return the model with its last layer cut to the first token. Raises `ValueError` where the nodes are not there."""
    replaced = {last.query: last.quantized, last.residual: last.states}
    parts: list[bytes | memoryview] = []
    found: set[str] = set()
    for tag, whole, content in _fields(memoryview(model)):
        if tag != _GRAPH:
            parts.append(whole)
            continue
        graph: list[bytes | memoryview] = []
        for inner_tag, inner, message in _fields(content):
            name = _name_of(message) if inner_tag == _NODE else None
            if name is None or name not in replaced:
                graph.append(inner)
                continue
            if not found:  # before whoever reads them first
                graph += [bytes_field(_NODE, _slice(one)) for one in (last.quantized, last.states)]
            found.add(name)
            graph.append(bytes_field(_NODE, _reading_first(message, replaced[name])))
        graph += [
            bytes_field(_TENSOR, tensor_message(_START, np.array([0], dtype=np.int64))),
            bytes_field(_TENSOR, tensor_message(_END, np.array([1], dtype=np.int64))),
        ]
        parts += [varint(_GRAPH << 3 | _LENGTH), varint(sum(map(len, graph))), *graph]
    if found != replaced.keys():
        raise ValueError(f"the graph has no {', '.join(sorted(replaced.keys() - found))}")
    return b"".join(parts)


def _slice(states: str) -> bytes:
    return node_message("Slice", [states, _START, _END, _END], [_first(states)])


def _first(states: str) -> str:
    return f"{states}_first_token"


def _reading_first(node: memoryview, states: str) -> bytes:
    """Return a node that reads the first token of `states`."""
    renamed = bytes_field(_INPUT, _first(states).encode())
    wanted = states.encode()
    return b"".join(renamed if tag == _INPUT and content == wanted else whole for tag, whole, content in _fields(node))


def _name_of(node: memoryview) -> str | None:
    return next((bytes(content).decode() for tag, _, content in _fields(node) if tag == _NAME), None)


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview, memoryview]]:
    """Yield each field's tag, its bytes with the tag, and its content."""
    at = 0
    while at < len(message):
        start = at
        key, at = _varint_at(message, at)
        kind = key & 7
        if kind == _VARINT:
            first = at
            _, at = _varint_at(message, at)
        else:
            size, first = _varint_at(message, at) if kind == _LENGTH else (_FIXED_SIZES[kind], at)
            at = first + size
        yield key >> 3, message[start:at], message[first:at]


def _varint_at(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:  # noqa: PLR2004 - protobuf's continuation bit
            return value, at
