"""The generation gateway: any OpenAI-compatible provider, with ordered fallback and cost accounting."""

from ragecho.engines.generation.breaker import CircuitBreaker
from ragecho.engines.generation.build import build_generators
from ragecho.engines.generation.errors import ProviderBusy
from ragecho.engines.generation.fallback import CallRecord, FallbackGenerator
from ragecho.engines.generation.openai_chat import OpenAIGenerator
from ragecho.engines.generation.prices import Price, PriceTable
from ragecho.engines.generation.scripted import ScriptedGenerator
from ragecho.engines.generation.settings import GenerationSettings

__all__ = [
    "CallRecord",
    "CircuitBreaker",
    "FallbackGenerator",
    "GenerationSettings",
    "OpenAIGenerator",
    "Price",
    "PriceTable",
    "ProviderBusy",
    "ScriptedGenerator",
    "build_generators",
]
