"""Models of which only the first token is read compute no other in their last layer, and say the same."""

import numpy as np
import pytest

from ragecho.engines.models.catalogue import BGE_SMALL_EN, MS_MARCO_MINILM_L12, LastLayer, ModelSpec
from ragecho.engines.models.onnx_cut import for_first_token
from ragecho.engines.models.store import default_model_dir, installed_folder, missing_files

TEXTS = (
    "heron",
    "The grey heron stands still in shallow water until a fish comes near enough.",
    "Passwords have at least fourteen characters; " * 30,
)


def weights(spec: ModelSpec) -> bytes:
    if missing_files(default_model_dir(), spec):
        pytest.skip(f"{spec.name} is not fetched: ragecho models fetch {spec.name}")
    return (installed_folder(default_model_dir(), spec) / spec.weights.name).read_bytes()


@pytest.mark.parametrize("spec", [BGE_SMALL_EN, MS_MARCO_MINILM_L12], ids=lambda spec: spec.name)
def test_what_is_read_of_the_model_stays_the_same(spec: ModelSpec) -> None:
    import onnxruntime
    from tokenizers import Tokenizer

    assert spec.last_layer is not None
    whole = weights(spec)
    tokenizer = Tokenizer.from_file(str(installed_folder(default_model_dir(), spec) / "tokenizer.json"))
    sessions = [onnxruntime.InferenceSession(one) for one in (whole, for_first_token(whole, spec.last_layer))]
    wanted = {one.name for one in sessions[0].get_inputs()}
    for text in TEXTS:
        encoding = tokenizer.encode(text, None if spec is BGE_SMALL_EN else "What do herons eat?")
        ids = {
            "input_ids": encoding.ids,
            "attention_mask": encoding.attention_mask,
            "token_type_ids": encoding.type_ids,
        }
        feed = {name: np.array([values[:512]], dtype=np.int64) for name, values in ids.items() if name in wanted}
        before, after = (session.run(None, feed)[0] for session in sessions)
        if spec is BGE_SMALL_EN:
            assert (before.shape[1], after.shape[1]) == (len(feed["input_ids"][0]), 1)
            first, cut = before[0, 0], after[0, 0]
            assert first @ cut / np.linalg.norm(first) / np.linalg.norm(cut) > 0.9995
        else:
            assert after == pytest.approx(before, abs=0.15)  # logits from -11 to 11


def test_a_graph_without_the_nodes_is_refused() -> None:
    with pytest.raises(ValueError, match="no such/node, nor/that"):
        for_first_token(weights(BGE_SMALL_EN), LastLayer("a", "b", "no such/node", "nor/that"))
