"""Write an ONNX file without the `onnx` package: the few messages of onnx.proto3 (Apache-2.0) that a graph needs.

A conversion at set-up must not pull in a tool chain, and its bytes must be the same on every machine because they are
named by their SHA-256. So fields are written in one order, and nothing depends on a library's version.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_TYPES: Final = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6, "int64": 7}
_IR_VERSION: Final = 8
_VARINT, _BYTES, _FIXED32 = 0, 2, 5
_ATTRIBUTE_FLOAT, _ATTRIBUTE_INT, _ATTRIBUTE_INTS = 1, 2, 7


@dataclass(slots=True)
class Graph:
    """A graph in the making. `node` returns the names of what it computes; `constant` the name of a stored tensor."""

    name: str
    _nodes: list[bytes] = field(default_factory=list)
    _tensors: list[bytes] = field(default_factory=list)

    def constant(self, name: str, values: NDArray[Any]) -> str:
        """Store a tensor."""
        self._tensors.append(tensor_message(name, values))
        return name

    def node(
        self,
        operator: str,
        inputs: Sequence[str],
        output: str | Sequence[str],
        *,
        domain: str = "",
        attributes: Mapping[str, float | int | Sequence[int]] | None = None,
    ) -> str:
        """Add an operator; return the name of its first output."""
        outputs = [output] if isinstance(output, str) else list(output)
        message = node_message(operator, inputs, outputs)
        message += b"".join(
            bytes_field(5, _attribute(name, value)) for name, value in sorted((attributes or {}).items())
        )
        self._nodes.append(message + (_text(7, domain) if domain else b""))
        return outputs[0]

    def model(
        self,
        *,
        inputs: Mapping[str, tuple[str, Sequence[int | str]]],
        outputs: Mapping[str, tuple[str, Sequence[int | str]]],
        operator_sets: Mapping[str, int],
    ) -> bytes:
        """Return the file. Inputs and outputs are name → (numpy type, shape with numbers or names)."""
        graph = b"".join(bytes_field(1, node) for node in self._nodes) + _text(2, self.name)
        graph += b"".join(bytes_field(5, tensor) for tensor in self._tensors)
        graph += b"".join(bytes_field(11, _value(name, *about)) for name, about in inputs.items())
        graph += b"".join(bytes_field(12, _value(name, *about)) for name, about in outputs.items())
        sets = b"".join(bytes_field(8, _text(1, name) + _number(2, version)) for name, version in operator_sets.items())
        return _number(1, _IR_VERSION) + _text(2, "ragecho") + bytes_field(7, graph) + sets


def tensor_message(name: str, values: NDArray[Any]) -> bytes:
    """Return a stored tensor, as `TensorProto`."""
    dims = b"".join(_number(1, size) for size in values.shape)
    raw = np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
    return dims + _number(2, _TYPES[values.dtype.name]) + _text(8, name) + bytes_field(9, raw)


def node_message(operator: str, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    """Return an operator without attributes, as `NodeProto`; it is named after its first output."""
    message = b"".join(_text(1, name) for name in inputs) + b"".join(_text(2, name) for name in outputs)
    return message + _text(3, outputs[0]) + _text(4, operator)


def varint(value: int) -> bytes:
    """Return a number as protobuf writes it."""
    value &= (1 << 64) - 1  # negative numbers are written as 64-bit two's complement
    written = bytearray()
    while value >> 7:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)


def _number(tag: int, value: int) -> bytes:
    return varint(tag << 3 | _VARINT) + varint(value)


def bytes_field(tag: int, value: bytes) -> bytes:
    """Return a field of bytes, a text or a message."""
    return varint(tag << 3 | _BYTES) + varint(len(value)) + value


def _text(tag: int, value: str) -> bytes:
    return bytes_field(tag, value.encode())


def _attribute(name: str, value: float | Sequence[int]) -> bytes:
    if isinstance(value, int):
        return _text(1, name) + _number(3, value) + _number(20, _ATTRIBUTE_INT)
    if isinstance(value, float):
        number = varint(2 << 3 | _FIXED32) + struct.pack("<f", value)
        return _text(1, name) + number + _number(20, _ATTRIBUTE_FLOAT)
    return _text(1, name) + b"".join(_number(8, one) for one in value) + _number(20, _ATTRIBUTE_INTS)


def _value(name: str, kind: str, shape: Sequence[int | str]) -> bytes:
    dims = b"".join(bytes_field(1, _number(1, size) if isinstance(size, int) else _text(2, size)) for size in shape)
    tensor = _number(1, _TYPES[kind]) + bytes_field(2, dims)
    return _text(1, name) + bytes_field(2, bytes_field(1, tensor))
