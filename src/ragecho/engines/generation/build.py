"""The names in RAGECHO_GENERATOR to generators."""

from collections.abc import Sequence

from ragecho.engines.generation.openai_chat import OpenAIGenerator
from ragecho.engines.generation.prices import PriceTable
from ragecho.engines.generation.settings import GenerationSettings
from ragecho.kernel.errors import ConfigurationError

# Handled by the ask feature: it needs the passages, not a prompt.
EXTRACTIVE = "extractive"
PROVIDERS = ("openai", "openai-compatible", "ollama")


def build_generators(names: Sequence[str], settings: GenerationSettings | None = None) -> list[OpenAIGenerator]:
    """Return one generator per `provider:model` of `names`, in order; `extractive` is passed over.

    Raises `ConfigurationError` that names the setting, for an unknown provider or a missing key or address.
    """
    found = settings or GenerationSettings()
    wanted = [name.strip() for name in names if name.strip() and name.strip() != EXTRACTIVE]
    prices = PriceTable.load(found.model_prices)
    return [_build(name, found, prices) for name in wanted]


def _build(name: str, settings: GenerationSettings, prices: PriceTable) -> OpenAIGenerator:
    provider, separator, model = name.partition(":")
    if not separator or not model or provider not in PROVIDERS:
        known = ", ".join(f"{known}:MODEL" for known in PROVIDERS)
        raise ConfigurationError(f"RAGECHO_GENERATOR has an entry that is none of {EXTRACTIVE}, {known}.")
    api_key, base_url = _endpoint(provider, settings)
    return OpenAIGenerator(
        model,
        provider=provider,
        api_key=api_key,
        base_url=base_url,
        timeout_seconds=settings.generator_timeout_seconds,
        total_seconds=settings.generator_total_seconds,
        max_retries=settings.generator_max_retries,
        prices=prices,
    )


def _endpoint(provider: str, settings: GenerationSettings) -> tuple[str | None, str | None]:
    """Return key and address. A key is only ever sent to the address it was set for."""
    if provider == "ollama":
        return None, settings.ollama_base_url
    if provider == "openai-compatible":
        if not settings.openai_compatible_base_url:
            raise ConfigurationError("RAGECHO_OPENAI_COMPATIBLE_BASE_URL is needed for `openai-compatible:MODEL`.")
        key = settings.openai_compatible_api_key
        return (key.get_secret_value() if key else None), settings.openai_compatible_base_url
    if settings.openai_api_key is None or not settings.openai_api_key.get_secret_value():
        raise ConfigurationError("RAGECHO_OPENAI_API_KEY is needed for `openai:MODEL`.")
    return settings.openai_api_key.get_secret_value(), settings.openai_base_url
