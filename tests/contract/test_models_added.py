"""Models that an installation adds, and models that are converted at set-up: real ONNX files, made here, run for real."""

import json
import struct
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from ragecho.engines.models import bert_safetensors, packed_e5
from ragecho.engines.models.bert_graph import BertWeights
from ragecho.engines.models.catalogue import ModelSpec, Pooling, Role
from ragecho.engines.models.embedder import OnnxEmbedder
from ragecho.engines.models.local import add_model, added_models, known_model
from ragecho.engines.models.onnx_writer import Graph
from ragecho.engines.models.reranker import OnnxReranker
from ragecho.engines.models.store import installed_folder
from ragecho.engines.providers.build import build_embedder, space_model
from ragecho.kernel.errors import ConfigurationError

pytestmark = pytest.mark.anyio
WORDS = ["[UNK]", "[CLS]", "[SEP]", "pump", "filter", "invoice", "water"]
TABLE = np.random.default_rng(3).normal(size=(len(WORDS), 6)).astype(np.float32)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def tokenizer_file(folder: Path) -> Path:
    path = folder / "some-tokenizer.json"
    special = {name: {"id": name, "ids": [WORDS.index(name)], "tokens": [name]} for name in ("[CLS]", "[SEP]")}
    begin, end = ({"SpecialToken": {"id": name, "type_id": 0}} for name in ("[CLS]", "[SEP]"))
    first, second = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
    path.write_text(
        json.dumps(
            {
                "version": "1.0",
                "added_tokens": [],
                "pre_tokenizer": {"type": "Whitespace"},
                "post_processor": {
                    "type": "TemplateProcessing",
                    "single": [begin, first, end],
                    "pair": [begin, first, end, second, end],
                    "special_tokens": special,
                },
                "model": {"type": "WordLevel", "vocab": {w: n for n, w in enumerate(WORDS)}, "unk_token": "[UNK]"},
            }
        )
    )
    return path


def weights_file(folder: Path, *, is_pooled: bool = False, is_reranker: bool = False) -> Path:
    """Write a model that looks words up in `TABLE`: token vectors, their mean, or one number of it."""
    graph = Graph("tiny")
    graph.constant("table", TABLE)
    shape: list[int | str] = ["batch", "tokens", 6]
    last = graph.node("Gather", ["table", "input_ids"], "vectors")
    if is_pooled or is_reranker:
        last = graph.node("ReduceMean", [last], "mean", attributes={"axes": [1], "keepdims": 0})
        shape = ["batch", 6]
    path = folder / f"weights-{is_pooled}-{is_reranker}.onnx"
    content = graph.model(
        inputs={"input_ids": ("int64", ("batch", "tokens"))},
        outputs={last: ("float32", shape)},
        operator_sets={"": 17},
    )
    path.write_bytes(content)
    return path


def spec(name: str = "mine", **changes: object) -> ModelSpec:
    about = {"role": Role.EMBEDDER, "licence": "MIT", "files": (), "sources": (), "max_tokens": 8} | changes
    return ModelSpec(name=name, **about)  # type: ignore[arg-type]  # the changes are the tests' own


def add(tmp_path: Path, one: ModelSpec, **kind: bool) -> ModelSpec:
    files = {"model.onnx": weights_file(tmp_path, **kind), "tokenizer.json": tokenizer_file(tmp_path)}
    return add_model(tmp_path / "models", one, files, origin="files")


@pytest.mark.parametrize(
    ("pooling", "wanted"),
    [(Pooling.CLS, TABLE[1]), (Pooling.LAST, TABLE[2]), (Pooling.MEAN, TABLE[[1, 3, 2]].mean(axis=0))],
)
async def test_an_added_model_embeds_with_its_pooling(tmp_path: Path, pooling: Pooling, wanted: np.ndarray) -> None:
    added = add(tmp_path, spec(pooling=pooling))
    assert added.dimensions == 6
    embedder = build_embedder("mine", tmp_path / "models", threads=1)
    np.testing.assert_allclose(await embedder.embed_query("pump"), wanted / np.linalg.norm(wanted), atol=1e-6)
    assert space_model("mine", tmp_path / "models").revision == added.revision


async def test_a_model_that_pools_itself_and_prefixes(tmp_path: Path) -> None:
    add(tmp_path, spec(pooling=Pooling.NONE, query_prefix="water ", passage_prefix="invoice "), is_pooled=True)
    embedder = build_embedder("mine", tmp_path / "models", threads=1)
    question, (passage,) = await embedder.embed_query("pump"), await embedder.embed_passages(["pump"])
    for vector, words in ((question, [1, 6, 3, 2]), (passage, [1, 5, 3, 2])):
        mean = TABLE[words].mean(axis=0)
        np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), atol=1e-6)


async def test_the_first_dimensions_of_a_matryoshka_model_are_kept_and_scaled(tmp_path: Path) -> None:
    add(tmp_path, spec(pooling=Pooling.CLS, dimensions=4))
    embedder = build_embedder("mine", tmp_path / "models", threads=1)
    wanted = TABLE[1][:4] / np.linalg.norm(TABLE[1][:4])
    np.testing.assert_allclose(await embedder.embed_query("pump"), wanted, atol=1e-6)


async def test_an_added_reranker_scores_pairs(tmp_path: Path) -> None:
    added = add(tmp_path, spec("judge", role=Role.RERANKER), is_reranker=True)
    (score,) = await OnnxReranker(added, tmp_path / "models", threads=1).score("pump", ["filter"])
    logit = TABLE[[1, 3, 2, 4, 2]].mean(axis=0)[0]
    assert score == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-6)


def test_what_was_added_is_pinned_and_known_by_its_role(tmp_path: Path) -> None:
    added = add(tmp_path, spec())
    assert added_models(tmp_path / "models") == {"mine": added}
    assert known_model(tmp_path / "models", "mine", Role.EMBEDDER) == added
    with pytest.raises(ConfigurationError, match="No reranker called 'mine'"):
        known_model(tmp_path / "models", "mine", Role.RERANKER)
    (installed_folder(tmp_path / "models", added) / "model.onnx").write_bytes(b"others")
    with pytest.raises(ConfigurationError, match="missing or changed"):
        OnnxEmbedder(added, tmp_path / "models")._model.load()


@pytest.mark.parametrize("name", ["", "a/b", "openai:x", "a b", "bge-small-en-v1.5"])
def test_names_that_mean_something_else_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError):
        add(tmp_path, spec(name))


def test_what_cannot_be_run_as_described_is_not_added(tmp_path: Path) -> None:
    for one, kind, said in (
        (spec(pooling=Pooling.MEAN), {"is_pooled": True}, "--pooling none"),
        (spec(pooling=Pooling.NONE), {}, "how tokens are pooled"),
        (spec(pooling=Pooling.CLS, dimensions=7), {}, "has 6 dimensions, not 7"),
    ):
        with pytest.raises(ConfigurationError, match=said):
            add(tmp_path, one, **kind)
    with pytest.raises(ConfigurationError, match="cannot be run"):
        add_model(
            tmp_path / "models",
            spec(),
            {"model.onnx": tokenizer_file(tmp_path), "tokenizer.json": tokenizer_file(tmp_path)},
            origin="files",
        )
    with pytest.raises(ConfigurationError, match=r"nowhere\.onnx"):
        add_model(tmp_path / "models", spec(), {"model.onnx": tmp_path / "nowhere.onnx"}, origin="files")
    assert added_models(tmp_path / "models") == {}
    assert not list((tmp_path / "models").glob("*/*/*"))


def packed_file(path: Path) -> Path:
    """Write a file in the packed form: 1 layer, 2 heads, 32 dimensions, six pieces."""
    hidden, wide, pieces = 32, 64, ["<s>", "<pad>", "</s>", "<unk>", "▁pump", "▁filter"]
    chooser = np.random.default_rng(5)

    def matrix(rows: int, columns: int) -> bytes:
        blocks = np.zeros(rows * columns // 32, dtype=packed_e5._BLOCK_TYPE)
        blocks["scale"] = chooser.uniform(0.01, 0.05, len(blocks))
        blocks["nibbles"] = chooser.integers(0, 256, (len(blocks), 16))
        return blocks.tobytes()

    def floats(count: int, value: float | None = None) -> bytes:
        values = chooser.normal(0, 0.1, count) if value is None else np.full(count, value)
        return values.astype("<f4").tobytes()

    tensors = {"emb.word": matrix(len(pieces), hidden), "emb.pos": floats(16 * hidden), "emb.type": floats(hidden)}
    tensors |= {"emb.ln.w": floats(hidden, 1), "emb.ln.b": floats(hidden, 0)}
    for name, rows, columns in (
        ("q", 32, 32),
        ("k", 32, 32),
        ("v", 32, 32),
        ("ao", 32, 32),
        ("fi", 64, 32),
        ("fo", 32, 64),
    ):
        tensors |= {f"l0.{name}.w": matrix(rows, columns), f"l0.{name}.b": floats(rows)}
    for name in ("aln", "oln"):
        tensors |= {f"l0.{name}.w": floats(hidden, 1), f"l0.{name}.b": floats(hidden, 0)}
    blob = "".join(pieces).encode()
    ends = np.cumsum([0, *(len(piece.encode()) for piece in pieces)]).astype("<u4")
    head = b"E5S1" + struct.pack("<I7ifi", 1, hidden, 1, 2, wide, len(pieces), 16, 0, 1e-12, 32)
    head += struct.pack("<5iQ", len(pieces), 0, 2, 1, 3, len(blob)) + ends.tobytes()
    head += np.array([0, 0, 0, 0, -1, -2], "<f4").tobytes() + blob + struct.pack("<iI", 0, 0)
    size = len(head) + 4 + sum(2 + len(name) + 21 for name in tensors)
    directory = struct.pack("<i", len(tensors))
    for name, content in tensors.items():
        directory += struct.pack("<H", len(name)) + name.encode() + struct.pack("<BIQQ", 0, 0, size, len(content))
        size += len(content)
    path.write_bytes(head + directory + b"".join(tensors.values()))
    return path


def reference(bert: BertWeights, ids: list[int]) -> np.ndarray:
    """Compute an encoder of one layer in float: BERT with post-normalisation (Devlin et al. 2019) and the exact GELU."""
    from math import erf, sqrt

    hidden, each = bert.hidden, bert.hidden // bert.heads

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        scaled = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + bert.epsilon)
        return scaled * bert.floats(f"{name}.w") + bert.floats(f"{name}.b")

    def times(x: np.ndarray, name: str, columns: int) -> np.ndarray:
        return x @ bert.matrix(f"l0.{name}.w", columns).T + bert.floats(f"l0.{name}.b")

    places = bert.floats("emb.pos").reshape(-1, hidden)[: len(ids)] + bert.floats("emb.type")[:hidden]
    state = norm(bert.matrix("emb.word", hidden)[ids] + places, "emb.ln")
    q, k, v = (times(state, name, hidden).reshape(-1, bert.heads, each).transpose(1, 0, 2) for name in "qkv")
    weights = np.exp(q @ k.transpose(0, 2, 1) / sqrt(each))
    seen = ((weights / weights.sum(-1, keepdims=True)) @ v).transpose(1, 0, 2).reshape(-1, hidden)
    state = norm(state + times(seen, "ao", hidden), "l0.aln")
    wide = times(state, "fi", hidden)
    bent = 0.5 * wide * (1 + np.vectorize(erf)(wide / np.sqrt(2)))
    return norm(state + times(bent, "fo", bert.feed_forward), "l0.oln")


async def test_a_converted_model_computes_what_the_packed_one_says(tmp_path: Path) -> None:
    source = packed_file(tmp_path / "packed.bin")
    packed_e5.convert(source, tmp_path)
    first = (tmp_path / "model.onnx").read_bytes()
    packed_e5.convert(source, tmp_path)
    assert (tmp_path / "model.onnx").read_bytes() == first
    files = {name: tmp_path / name for name in ("model.onnx", "tokenizer.json")}
    added = add_model(tmp_path / "models", spec("tiny-e5", pooling=Pooling.MEAN), files, origin="files")
    vector = await OnnxEmbedder(added, tmp_path / "models", threads=1).embed_query("pump ﬁlter pump")
    wanted = reference(packed_e5.read_packed(source.read_bytes()), [0, 4, 5, 4, 2]).mean(axis=0)
    assert vector @ wanted / np.linalg.norm(wanted) > 0.995


def tensors_file(path: Path, *, kind: str = "F32") -> Path:
    """Write a safetensors file: BERT with 1 layer and 48 dimensions for 12 heads, six words."""
    chooser, hidden, wide = np.random.default_rng(6), 48, 96
    layer, embeddings = "encoder.layer.0", "embeddings"
    shapes: dict[str, tuple[int, ...]] = {
        f"{embeddings}.word_embeddings.weight": (6, hidden),
        f"{embeddings}.position_embeddings.weight": (16, hidden),
        f"{embeddings}.token_type_embeddings.weight": (2, hidden),
    }
    for name in (f"{layer}.attention.self.{part}" for part in ("query", "key", "value")):
        shapes |= {f"{name}.weight": (hidden, hidden), f"{name}.bias": (hidden,)}
    for name, outputs, inputs in (
        (f"{layer}.attention.output.dense", hidden, hidden),
        (f"{layer}.intermediate.dense", wide, hidden),
        (f"{layer}.output.dense", hidden, wide),
    ):
        shapes |= {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}
    for name in (embeddings, f"{layer}.attention.output", f"{layer}.output"):
        shapes |= {f"{name}.LayerNorm.weight": (hidden,), f"{name}.LayerNorm.bias": (hidden,)}
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    content = b""
    for name, shape in shapes.items():
        mean = 1.0 if name.endswith("LayerNorm.weight") else 0.0
        values = chooser.normal(mean, 0.2, shape).astype("<f4").tobytes()
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [len(content), len(content) + len(values)]}
        content += values
    head = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(head)) + head + content)
    return path


def test_converted_tensors_compute_what_the_published_ones_say(tmp_path: Path) -> None:
    source = tensors_file(tmp_path / "model.safetensors")
    bert_safetensors.convert(source, tmp_path)
    first = (tmp_path / "model.onnx").read_bytes()
    bert_safetensors.convert(source, tmp_path)
    assert (tmp_path / "model.onnx").read_bytes() == first
    ids = [0, 4, 5, 4, 2]
    session = onnxruntime.InferenceSession(first, providers=["CPUExecutionProvider"])
    (states,) = session.run(None, {"input_ids": np.array([ids], np.int64)})[0]
    wanted = reference(bert_safetensors.read_tensors(source.read_bytes()), ids)
    likeness = (states * wanted).sum(-1) / np.linalg.norm(states, axis=-1) / np.linalg.norm(wanted, axis=-1)
    assert likeness.min() > 0.99


def test_tensors_of_another_kind_are_not_converted(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="F16"):
        bert_safetensors.convert(tensors_file(tmp_path / "half", kind="F16"), tmp_path)
    (tmp_path / "other").write_bytes(b"PK\x03\x04" * 100)
    with pytest.raises(ValueError, match="not a safetensors"):
        bert_safetensors.convert(tmp_path / "other", tmp_path)


def test_another_file_is_not_converted(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"PK\x03\x04" * 100)
    with pytest.raises(ValueError, match="not a packed"):
        packed_e5.convert(tmp_path / "other", tmp_path)
