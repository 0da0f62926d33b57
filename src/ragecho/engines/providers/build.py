"""The names in RAGECHO_EMBEDDER and RAGECHO_RERANKER to engines: from the catalogue, or `provider:model`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic import SecretStr

from ragecho.engines.models.catalogue import Role
from ragecho.engines.models.local import known_model
from ragecho.engines.models.store import model_folder
from ragecho.engines.providers.settings import ProviderSettings
from ragecho.kernel.errors import ConfigurationError
from ragecho.kernel.passages import EmbeddingSpace
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
# Fewer dimensions that a provider gives on request, from the makers' pages.
_MATRYOSHKA: Final = {
    "text-embedding-3-small": (256, 512, 1024),
    "text-embedding-3-large": (256, 512, 1024, 1536),
    "embed-v4.0": (256, 512, 1024),
    "voyage-3-large": (256, 512),
    "voyage-3.5": (256, 512),
    "voyage-3.5-lite": (256, 512),
}


@dataclass(frozen=True, slots=True)
class SpaceModel:
    """What an embedding space is named by."""

    model: str
    revision: str
    dimensions: int


def space_model(name: str, model_dir: Path, *, dimensions: int | None = None, is_configured: bool = True) -> SpaceModel:
    """Return what makes the space of an embedder, shortened to `dimensions` where it was trained for that.

    The settings of RAGECHO_EMBEDDER count where it `is_configured` there. Loads and asks nothing. Raises
    `ConfigurationError`.
    """
    if ":" not in name:
        spec = known_model(model_dir, name, Role.EMBEDDER)
        wanted = dimensions or spec.dimensions
        _check_shortening(name, wanted, spec.dimensions, spec.matryoshka)
        return SpaceModel(spec.name, spec.revision, wanted)
    settings = ProviderSettings() if is_configured else _neutral(ProviderSettings())
    model = _provider_model(name, settings, dimensions=dimensions)
    whole, _ = _KNOWN.get(_plain(model.model), (0, 0))
    if dimensions is not None and whole and dimensions != settings.embedder_dimensions:
        _check_shortening(name, dimensions, whole, _MATRYOSHKA.get(_plain(model.model), ()))
    return SpaceModel(model.name, model.revision, model.dimensions)


def _neutral(settings: ProviderSettings) -> ProviderSettings:
    """Return the settings without what is said of the model in RAGECHO_EMBEDDER."""
    said = ("embedder_dimensions", "embedder_max_tokens", "embedder_query_prefix", "embedder_passage_prefix")
    return settings.model_copy(update={name: ProviderSettings.model_fields[name].default for name in said})


def _check_shortening(name: str, wanted: int, whole: int, matryoshka: tuple[int, ...]) -> None:
    if wanted == whole or wanted in matryoshka:
        return
    fewer = f" or {', '.join(map(str, matryoshka))}" if matryoshka else ""
    raise ConfigurationError(f"{name} has {whole}{fewer} dimensions, not {wanted}.")


def embedder_of_space(space: EmbeddingSpace, model_dir: Path, *, threads: int) -> Embedder:
    """Return the embedder whose vectors a space holds; a local one with all of its dimensions, to be cut to the space's.

    Weights are looked for, and loaded at first use. Raises `ConfigurationError` when they are not those that the space
    was made with, are not here, or a provider is not configured.
    """
    if ":" in space.model:
        return _provider_embedder(_provider_of_space(space), ProviderSettings())
    from ragecho.engines.models.embedder import OnnxEmbedder

    spec = known_model(model_dir, space.model, Role.EMBEDDER)
    if spec.revision != space.revision:
        raise ConfigurationError(
            f"The weights of {spec.name} here (sha256 {spec.revision[:12]}…) are not the ones that it was used with"
            f" ({space.revision[:12]}…)."
        )
    _check_shortening(spec.name, space.dimensions, spec.dimensions, spec.matryoshka)
    folder = model_folder(model_dir, spec)
    if not all((folder / file.name).is_file() for file in spec.files):
        raise ConfigurationError(f"{spec.name} is not installed; fetch it with `ragecho models fetch {spec.name}`.")
    return OnnxEmbedder(spec, model_dir, threads=threads)


def _provider_of_space(space: EmbeddingSpace) -> "ProviderModel":
    """Return the provider's model with the prefixes that the space was made with: the configured or the known ones, or none."""
    configured = ProviderSettings()
    for settings in (configured, _neutral(configured)):
        model = _provider_model(space.model, settings, dimensions=space.dimensions)
        for candidate in (model, replace(model, query_prefix="", passage_prefix="")):
            if candidate.revision == space.revision:
                return candidate
    raise ConfigurationError(
        "It was used with other prefixes than RAGECHO_EMBEDDER_QUERY_PREFIX and RAGECHO_EMBEDDER_PASSAGE_PREFIX name."
    )


def build_embedder(name: str, model_dir: Path, *, threads: int) -> Embedder:
    """Return the embedder; weights are loaded, and providers asked, at first use. Raises `ConfigurationError`."""
    if ":" not in name:
        from ragecho.engines.models.embedder import OnnxEmbedder

        return OnnxEmbedder(known_model(model_dir, name, Role.EMBEDDER), model_dir, threads=threads)
    settings = ProviderSettings()
    return _provider_embedder(_provider_model(name, settings), settings)


def _provider_embedder(model: "ProviderModel", settings: ProviderSettings) -> Embedder:
    from ragecho.engines.providers.embedders import ProviderEmbedder
    from ragecho.engines.providers.http import ProviderClient

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
    endpoint = _endpoint(provider, ProviderSettings(), "RERANKER")
    # Somebody waits for the answer, and the order as found is one: no long row of retries.
    return ProviderReranker(
        provider, model, ProviderClient(replace(endpoint, max_retries=min(1, endpoint.max_retries)))
    )


def _plain(model: str) -> str:
    return model.split(":", maxsplit=1)[0].rsplit("/", 1)[-1]  # without Ollama's tag and a maker's name


def _provider_model(name: str, settings: ProviderSettings, *, dimensions: int | None = None) -> "ProviderModel":
    from ragecho.engines.providers.embedders import EMBEDDING_PROVIDERS, ProviderModel

    provider, _, model = name.partition(":")
    if provider not in EMBEDDING_PROVIDERS or not model:
        raise ConfigurationError(f"RAGECHO_EMBEDDER names no known provider; known: {', '.join(EMBEDDING_PROVIDERS)}.")
    plain = _plain(model)
    whole, max_tokens = _KNOWN.get(plain, (0, _DEFAULT_MAX_TOKENS))
    wanted = dimensions or settings.embedder_dimensions or whole
    if not wanted:
        raise ConfigurationError("RAGECHO_EMBEDDER_DIMENSIONS is needed for a model that Echo does not know.")
    query_prefix, passage_prefix = _PREFIXES.get(plain, ("", "")) if provider not in ("cohere", "voyage") else ("", "")
    return ProviderModel(
        provider=provider,
        model=model,
        dimensions=wanted,
        max_tokens=settings.embedder_max_tokens or max_tokens,
        query_prefix=settings.embedder_query_prefix or query_prefix,
        passage_prefix=settings.embedder_passage_prefix or passage_prefix,
        sends_dimensions=bool(whole) and wanted != whole,
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
        "rerank-compatible": (settings.reranker_base_url, settings.reranker_api_key, None),
        "tei": (settings.reranker_base_url, settings.reranker_api_key, None),
    }
    base_url, key, needed = places[provider]
    if not base_url:
        address = "OPENAI_COMPATIBLE_BASE_URL" if provider == "openai-compatible" else "RERANKER_BASE_URL"
        raise ConfigurationError(f"RAGECHO_{address} is needed for {setting} `{provider}:MODEL`.")
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
