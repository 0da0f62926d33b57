"""The names in RAGECHO_EMBEDDER and RAGECHO_RERANKER to engines: from the catalogue, or `provider:model`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic import SecretStr

from ragecho.engines.models.catalogue import Role
from ragecho.engines.models.local import known_model
from ragecho.engines.providers.settings import ProviderSettings
from ragecho.kernel.errors import ConfigurationError
from ragecho.ports.embedder import Embedder
from ragecho.ports.generator import Generator
from ragecho.ports.reranker import Reranker

if TYPE_CHECKING:
    from ragecho.engines.providers.embedders import ProviderModel
    from ragecho.engines.providers.http import Endpoint

LLM: Final = "llm"
NONE: Final = "none"
_OPENAI_URL: Final = "https://api.openai.com/v1"
# (dimensions, longest input in tokens) of models that are often used, from their makers' pages.
_KNOWN: Final = {
    "text-embedding-3-small": (1536, 8191),
    "text-embedding-3-large": (3072, 8191),
    "text-embedding-ada-002": (1536, 8191),
    "embed-v4.0": (1536, 128_000),
    "embed-english-v3.0": (1024, 512),
    "embed-multilingual-v3.0": (1024, 512),
    "embed-english-light-v3.0": (384, 512),
    "embed-multilingual-light-v3.0": (384, 512),
    "voyage-3": (1024, 32_000),
    "voyage-3-lite": (512, 32_000),
    "voyage-3-large": (1024, 32_000),
    "voyage-3.5": (1024, 32_000),
    "voyage-3.5-lite": (1024, 32_000),
    "nomic-embed-text": (768, 2048),
    "mxbai-embed-large": (1024, 512),
    "all-minilm": (384, 256),
    "bge-m3": (1024, 8192),
}
# Models of other makers that want prefixes; Cohere and Voyage have a parameter for it.
_PREFIXES: Final = {
    "nomic-embed-text": ("search_query: ", "search_document: "),
    "mxbai-embed-large": ("Represent this sentence for searching relevant passages: ", ""),
}
_DEFAULT_MAX_TOKENS: Final = 512


@dataclass(frozen=True, slots=True)
class SpaceModel:
    """What an embedding space is named by."""

    model: str
    revision: str
    dimensions: int


def space_model(name: str, model_dir: Path) -> SpaceModel:
    """Return what makes the space of an embedder; loads and asks nothing. Raises `ConfigurationError`."""
    if ":" not in name:
        spec = known_model(model_dir, name, Role.EMBEDDER)
        return SpaceModel(spec.name, spec.revision, spec.dimensions)
    model = _provider_model(name, ProviderSettings())
    return SpaceModel(model.name, model.revision, model.dimensions)


def build_embedder(name: str, model_dir: Path, *, threads: int) -> Embedder:
    """Return the embedder; weights are loaded, and providers asked, at first use. Raises `ConfigurationError`."""
    if ":" not in name:
        from ragecho.engines.models.embedder import OnnxEmbedder

        return OnnxEmbedder(known_model(model_dir, name, Role.EMBEDDER), model_dir, threads=threads)
    from ragecho.engines.providers.embedders import ProviderEmbedder
    from ragecho.engines.providers.http import ProviderClient

    settings = ProviderSettings()
    model = _provider_model(name, settings)
    return ProviderEmbedder(
        model, ProviderClient(_endpoint(model.provider, settings, "EMBEDDER")), batch=settings.provider_batch
    )


def build_reranker(
    name: str, model_dir: Path, *, threads: int, generators: Callable[[], Sequence[Generator]]
) -> Reranker | None:
    """Return the reranker, None for `none`; `llm` asks the first of `generators`. Raises `ConfigurationError`."""
    if name == NONE:
        return None
    from ragecho.engines.providers.rerankers import RERANKING_PROVIDERS, ListwiseReranker, ProviderReranker

    if name == LLM:
        found = generators()
        if not found:
            raise ConfigurationError("RAGECHO_RERANKER=llm needs a model in RAGECHO_GENERATOR.")
        return ListwiseReranker(found[0])
    if ":" not in name:
        from ragecho.engines.models.reranker import OnnxReranker

        return OnnxReranker(known_model(model_dir, name, Role.RERANKER), model_dir, threads=threads)
    from ragecho.engines.providers.http import ProviderClient

    provider, _, model = name.partition(":")
    if provider not in RERANKING_PROVIDERS or not model:
        raise ConfigurationError(
            f"RAGECHO_RERANKER names no known provider; known: {', '.join(RERANKING_PROVIDERS)}, {LLM}."
        )
    return ProviderReranker(provider, model, ProviderClient(_endpoint(provider, ProviderSettings(), "RERANKER")))


def _provider_model(name: str, settings: ProviderSettings) -> "ProviderModel":
    from ragecho.engines.providers.embedders import EMBEDDING_PROVIDERS, ProviderModel

    provider, _, model = name.partition(":")
    if provider not in EMBEDDING_PROVIDERS or not model:
        raise ConfigurationError(f"RAGECHO_EMBEDDER names no known provider; known: {', '.join(EMBEDDING_PROVIDERS)}.")
    plain = model.split(":")[0].rsplit("/", 1)[-1]  # without Ollama's tag and a maker's name
    dimensions, max_tokens = _KNOWN.get(plain, (0, _DEFAULT_MAX_TOKENS))
    if not (settings.embedder_dimensions or dimensions):
        raise ConfigurationError("RAGECHO_EMBEDDER_DIMENSIONS is needed for a model that Echo does not know.")
    query_prefix, passage_prefix = _PREFIXES.get(plain, ("", "")) if provider not in ("cohere", "voyage") else ("", "")
    wanted = settings.embedder_dimensions or dimensions
    return ProviderModel(
        provider=provider,
        model=model,
        dimensions=wanted,
        max_tokens=settings.embedder_max_tokens or max_tokens,
        query_prefix=settings.embedder_query_prefix or query_prefix,
        passage_prefix=settings.embedder_passage_prefix or passage_prefix,
        sends_dimensions=bool(dimensions) and wanted != dimensions,
    )


def _endpoint(provider: str, settings: ProviderSettings, setting: str) -> "Endpoint":
    """Return where the provider is. A key is only ever sent to the address it was set for."""
    from ragecho.engines.generation.settings import GenerationSettings
    from ragecho.engines.providers.http import Endpoint

    generation = GenerationSettings()
    places: dict[str, tuple[str | None, SecretStr | None, str | None]] = {
        "openai": (generation.openai_base_url or _OPENAI_URL, generation.openai_api_key, "OPENAI_API_KEY"),
        "openai-compatible": (generation.openai_compatible_base_url, generation.openai_compatible_api_key, None),
        "ollama": (generation.ollama_base_url.rstrip("/").removesuffix("/v1"), None, None),
        "cohere": (settings.cohere_base_url, settings.cohere_api_key, "COHERE_API_KEY"),
        "voyage": (settings.voyage_base_url, settings.voyage_api_key, "VOYAGE_API_KEY"),
        "jina": (settings.jina_base_url, settings.jina_api_key, "JINA_API_KEY"),
    }
    base_url, key, needed = places[provider]
    if not base_url:
        raise ConfigurationError(f"RAGECHO_OPENAI_COMPATIBLE_BASE_URL is needed for {setting} `{provider}:MODEL`.")
    if needed and (key is None or not key.get_secret_value()):
        raise ConfigurationError(f"RAGECHO_{needed} is needed for RAGECHO_{setting} `{provider}:MODEL`.")
    return Endpoint(
        provider=provider,
        base_url=base_url,
        api_key=key.get_secret_value() if key else None,
        timeout_seconds=settings.provider_timeout_seconds,
        max_retries=settings.provider_max_retries,
        concurrency=settings.provider_concurrency,
        requests_per_minute=settings.provider_requests_per_minute,
    )
