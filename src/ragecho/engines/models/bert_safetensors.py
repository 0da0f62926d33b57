"""Convert all-MiniLM-L6-v2 from the tensors that sentence-transformers publishes (safetensors, float32) to ONNX int8.

A safetensors file is a length (u64), as many bytes of JSON (name to type, shape and place), and the tensors' bytes.
"""

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from ragecho.engines.models.bert_graph import Floats, bert_graph

# What the file does not say, from the model's config.json.
_HEADS: Final = 12
_EPSILON: Final = 1e-12
_HEADER_MOST: Final = 100 << 20  # the format's own limit
_SUFFIXES: Final = {"w": "weight", "b": "bias"}
_NAMES: Final = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
}
_PARTS: Final = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}


@dataclass(frozen=True, slots=True)
class Tensors:
    """The opened file, as `BertWeights`."""

    content: bytes
    header: dict[str, Any]
    start: int
    heads: int = _HEADS
    epsilon: float = _EPSILON

    @property
    def hidden(self) -> int:
        """Dimensions of a token's state."""
        return int(self.header[_NAMES["emb.word"]]["shape"][1])

    @property
    def layers(self) -> int:
        """Number of layers."""
        return sum(name.endswith("attention.self.query.weight") for name in self.header)

    @property
    def feed_forward(self) -> int:
        """Dimensions in between."""
        return int(self.header["encoder.layer.0.intermediate.dense.weight"]["shape"][0])

    def floats(self, name: str) -> Floats:
        """Return a tensor, flat. Raises `KeyError` for one that is not there, `ValueError` for another type than float32."""
        about = self.header[_published(name)]
        if about["dtype"] != "F32":
            raise ValueError(f"{name} is {about['dtype']}, not F32")
        first, end = about["data_offsets"]
        return np.frombuffer(self.content, "<f4", (end - first) // 4, self.start + first).astype(np.float32)

    def matrix(self, name: str, columns: int) -> Floats:
        """Return a tensor, (rows, columns)."""
        return self.floats(name).reshape(-1, columns)


def convert(tensors_file: Path, folder: Path) -> None:
    """Write `model.onnx` into `folder`. Raises `ValueError` for a file of another kind."""
    tensors = read_tensors(tensors_file.read_bytes())
    (folder / "model.onnx").write_bytes(bert_graph("all-MiniLM-L6-v2", tensors))


def read_tensors(content: bytes) -> Tensors:
    """Return what the file holds. Raises `ValueError` when it is none."""
    (length,) = struct.unpack_from("<Q", content)
    if not 0 < length <= min(len(content) - 8, _HEADER_MOST):
        raise ValueError("this is not a safetensors file")
    header = json.loads(content[8 : 8 + length])
    header.pop("__metadata__", None)
    return Tensors(content, header, 8 + length)


def _published(name: str) -> str:
    """Return the published name of a tensor: `l3.fo.w` is `encoder.layer.3.output.dense.weight`."""
    if name in _NAMES:
        return _NAMES[name]
    place, part, suffix = name.split(".")
    if place == "emb":
        return f"embeddings.LayerNorm.{_SUFFIXES[suffix]}"
    return f"encoder.layer.{int(place.removeprefix('l'))}.{_PARTS[part]}.{_SUFFIXES[suffix]}"
