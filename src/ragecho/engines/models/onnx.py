"""One ONNX model with its tokenizer: loaded on first use, verified, run one text at a time.

Why one text at a time: the int8 models quantise activations with one scale per tensor, so a text's vector would depend
on its neighbours in the batch (measured with bge-small: cosine down to 0.995), and padding costs more than batching
gains at the lengths of chunks (2 cores, 40-512 tokens: one by one 30.9 passages/s, budgets of 512 tokens 31.5, of 2 048
tokens 25.4, of 4 096 tokens 15.1). One by one, the same text always gives the same vector, bit for bit. Parallelism is
many runs of one shared session, each on one thread, which beats one run on many threads (30.9 against 23.7 passages/s).
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from ragecho.engines.models.catalogue import ModelSpec
from ragecho.engines.models.onnx_cut import for_first_token
from ragecho.engines.models.store import installed_folder

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Far more text than `max_tokens` can hold is not tokenised at all: a token of WordPiece is at most 100 characters.
CHARACTERS_PER_TOKEN: Final = 100
_ERRORS_ONLY: Final = 3


@lru_cache(maxsize=4)
def load_tokenizer(folder: Path) -> "Tokenizer":
    """Return the tokenizer without truncation and padding, one for the whole process.

    These settings are mutable: whoever changes them takes a copy. One of a multilingual vocabulary is 280 MB in memory.
    """
    from tokenizers import Tokenizer

    tokenizer: Tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a model reads of one text or pair, cut to its length."""

    ids: list[int]
    type_ids: list[int]


class OnnxTokenCounter:
    """The model's tokenizer, without special tokens and truncation. Loaded on first use."""

    def __init__(self, spec: ModelSpec, model_dir: Path) -> None:
        self._spec = spec
        self._model_dir = model_dir
        self._tokenizer: Tokenizer | None = None

    def offsets(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        """Return each text's tokens as (start, end) in code points."""
        return [one.offsets for one in self._loaded().encode_batch(list(texts), add_special_tokens=False)]

    def counts(self, texts: Sequence[str]) -> list[int]:
        """Return the number of each text's tokens. Where they lie is not worked out, which saves a third."""
        return [len(one) for one in self._loaded().encode_batch_fast(list(texts), add_special_tokens=False)]

    def _loaded(self) -> "Tokenizer":
        if self._tokenizer is None:
            self._tokenizer = load_tokenizer(installed_folder(self._model_dir, self._spec))
        return self._tokenizer


class OnnxModel:
    """A session and a tokenizer. Cheap to make; `load` (or the first run) reads and verifies the files. Thread-safe.

    One run takes `threads` of the processor's cores; from two on they wait for one another in a loop while it lasts.
    """

    def __init__(self, spec: ModelSpec, model_dir: Path, *, threads: int = 1) -> None:
        self.spec = spec
        self._model_dir = model_dir
        self._threads = threads
        self._lock = threading.Lock()
        self._loaded: tuple[Any, Tokenizer, frozenset[str]] | None = None

    @property
    def is_loaded(self) -> bool:
        """Whether a run begins at once."""
        return self._loaded is not None

    def load(self) -> None:
        """Read the files. Raises `ConfigurationError` when they are missing or not what the catalogue names."""
        self._parts()

    def encode(self, text: str, pair: str | None = None) -> Tokens:
        """Return the tokens of `text` (and `pair`), cut to the model's length at the end, before a closing special token."""
        _, tokenizer, _ = self._parts()
        limit = self.spec.max_tokens * CHARACTERS_PER_TOKEN
        encoding = tokenizer.encode(text[:limit], pair if pair is None else pair[:limit])
        ids, type_ids, most = encoding.ids, encoding.type_ids, self.spec.max_tokens
        if len(ids) > most:
            closing = 1 if encoding.special_tokens_mask[-1] else 0
            ids = ids[: most - closing] + ids[len(ids) - closing :]
            type_ids = type_ids[: most - closing] + type_ids[len(type_ids) - closing :]
        return Tokens(ids, type_ids)

    def run(self, tokens: Tokens) -> NDArray[np.float32]:
        """Return the model's first output for one encoding, without the batch axis. A single thread is the caller's own."""
        session, _, inputs = self._parts()
        feed = {
            "input_ids": tokens.ids,
            "attention_mask": [1] * len(tokens.ids),
            "token_type_ids": tokens.type_ids,
        }
        arrays = {name: np.asarray([values], dtype=np.int64) for name, values in feed.items() if name in inputs}
        output: NDArray[np.float32] = session.run(None, arrays)[0][0]
        return output

    def _parts(self) -> tuple[Any, "Tokenizer", frozenset[str]]:
        if self._loaded is not None:
            return self._loaded
        with self._lock:
            if self._loaded is None:
                folder = installed_folder(self._model_dir, self.spec)
                tokenizer = load_tokenizer(folder)
                session = _open_session(folder / self.spec.weights.name, self.spec, self._threads)
                self._loaded = session, tokenizer, frozenset(entry.name for entry in session.get_inputs())
            return self._loaded


def _open_session(path: Path, spec: ModelSpec, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    # The arena stays on: with single texts of at most `max_tokens` it settles at some 40 MB per thread, and is quicker
    # and no larger than the C library's allocator (measured: 254 MB against 430 MB of resident memory on two threads).
    options.add_session_config_entry("session.intra_op.allow_spinning", "0" if threads == 1 else "1")
    # Between two runs nobody spins.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    model = str(path) if spec.last_layer is None else for_first_token(path.read_bytes(), spec.last_layer)
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    # It would keep the bytes, 34 MB, to begin anew on another provider; there is only this one.
    session._model_bytes = None
    return session
