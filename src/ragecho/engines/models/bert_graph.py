"""The graph of a BERT encoder (Devlin et al. 2019) with int8 weights, written from tensors of any format.

Matrices become int8 with one scale per output, word vectors one scale per row. Everything is plain IEEE arithmetic in one
order, so equal tensors give equal bytes, and the results are named by their SHA-256 like any other weights.

The graph takes one unpadded text: `input_ids` (1, tokens) int64 to `last_hidden_state` (1, tokens, hidden) float32.
"""

from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from ragecho.engines.models.onnx_writer import Graph

_CONTRIB: Final = "com.microsoft"
_WORD_MAX: Final = 127
# Seven bits of eight: processors with AVX2 alone saturate sums of two products of a full unsigned and a full signed byte.
# It costs nothing (multilingual-e5-small, mean cosine to the unquantized graph: .9967, with eight bits .9971).
_MATRIX_MAX: Final = 63

Floats = NDArray[np.float32]


class BertWeights(Protocol):
    """An encoder's sizes and tensors.

    Names: `emb.word`, `emb.pos`, `emb.type`, `emb.ln`; in layer n `ln.q`, `ln.k`, `ln.v`, `ln.ao` (attention's output), `ln.aln` (the
    norm after it), `ln.fi`, `ln.fo` (feed forward, in and out), `ln.oln`; each with `.w` and `.b`, but for the first three.
    """

    @property
    def hidden(self) -> int:
        """Dimensions of a token's state."""
        ...

    @property
    def layers(self) -> int:
        """Number of layers."""
        ...

    @property
    def heads(self) -> int:
        """Heads of attention in each."""
        ...

    @property
    def feed_forward(self) -> int:
        """Dimensions in between."""
        ...

    @property
    def epsilon(self) -> float:
        """What layer normalisation adds to the variance."""
        ...

    def floats(self, name: str) -> Floats:
        """Return a tensor, flat."""
        ...

    def matrix(self, name: str, columns: int) -> Floats:
        """Return a tensor, (rows, columns)."""
        ...


def bert_graph(name: str, bert: BertWeights) -> bytes:
    """Return the ONNX file of an encoder."""
    graph = Graph(name)
    state = _embeddings(graph, bert)
    for layer in range(bert.layers):
        state = _layer(graph, bert, layer, state)
    graph.node("Identity", [state], "last_hidden_state")
    return graph.model(
        inputs={"input_ids": ("int64", ("batch", "tokens"))},
        outputs={"last_hidden_state": ("float32", ("batch", "tokens", bert.hidden))},
        operator_sets={"": 17, _CONTRIB: 1},
    )


def _embeddings(graph: Graph, bert: BertWeights) -> str:
    words = bert.matrix("emb.word", bert.hidden)
    scales = np.maximum(np.abs(words).max(axis=1, keepdims=True), np.float32(1e-12)) / np.float32(_WORD_MAX)
    graph.constant("words", np.rint(words / scales).astype(np.int8))
    graph.constant("word_scales", scales)
    places = bert.floats("emb.pos").reshape(-1, bert.hidden) + bert.floats("emb.type").reshape(-1)[: bert.hidden]
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
    graph.constant("norm.w", bert.floats("emb.ln.w"))
    graph.constant("norm.b", bert.floats("emb.ln.b"))
    return graph.node(
        "LayerNormalization",
        [added, "norm.w", "norm.b"],
        "state",
        attributes={"axis": -1, "epsilon": float(bert.epsilon)},
    )


def _layer(graph: Graph, bert: BertWeights, layer: int, state: str) -> str:
    at, hidden = f"l{layer}", bert.hidden
    matrices = [bert.matrix(f"{at}.{name}.w", hidden) for name in "qkv"]
    bias = np.concatenate([bert.floats(f"{at}.{name}.b") for name in "qkv"])
    joined = _product(graph, f"{at}.qkv", state, np.concatenate(matrices), bias)
    parts = [f"{at}.{name}" for name in "qkv"]
    graph.node("Split", [joined], parts, attributes={"axis": -1})
    seen = graph.node("MultiHeadAttention", parts, f"{at}.seen", domain=_CONTRIB, attributes={"num_heads": bert.heads})
    out = _product(graph, f"{at}.ao", seen, bert.matrix(f"{at}.ao.w", hidden), bert.floats(f"{at}.ao.b"))
    state = _add_and_norm(graph, bert, f"{at}.aln", state, out)
    wide = _product(graph, f"{at}.fi", state, bert.matrix(f"{at}.fi.w", hidden), bert.floats(f"{at}.fi.b"))
    bent = graph.node("Gelu", [wide], f"{at}.gelu", domain=_CONTRIB)
    narrow = bert.matrix(f"{at}.fo.w", bert.feed_forward)
    out = _product(graph, f"{at}.fo", bent, narrow, bert.floats(f"{at}.fo.b"))
    return _add_and_norm(graph, bert, f"{at}.oln", state, out)


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


def _add_and_norm(graph: Graph, bert: BertWeights, name: str, state: str, added: str) -> str:
    graph.constant(f"{name}.w", bert.floats(f"{name}.w"))
    graph.constant(f"{name}.b", bert.floats(f"{name}.b"))
    return graph.node(
        "SkipLayerNormalization",
        [state, added, f"{name}.w", f"{name}.b"],
        f"{name}.out",
        domain=_CONTRIB,
        attributes={"epsilon": float(bert.epsilon)},
    )
