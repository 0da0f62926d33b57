"""Settings of the cache."""

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from ragecho.platform.cache.memory import MemoryCache
from ragecho.ports.cache import Cache


class CacheSettings(BaseSettings):
    """Where results of searches are kept. Every hit is checked against the index's version and the caller's permissions."""

    model_config = SettingsConfigDict(env_prefix="RAGECHO_", env_file=".env", extra="ignore")

    redis_url: SecretStr | None = Field(
        None,
        description="Redis or Valkey that all processes share as a cache: redis://[USER:PASSWORD@]HOST:PORT/DB, rediss:// with "
        "TLS; empty means a cache in each process. It holds passages of documents: guard it as the database.",
    )
    cache_mb: int = Field(32, ge=0, description="Size of the cache in each process, without Redis; 0 switches it off.")
    cache_seconds: int = Field(600, ge=1, description="How long a result is kept at most.")


def open_cache(settings: CacheSettings) -> Cache | None:
    """Return the configured cache; None where it is switched off. Raises `ConfigurationError` for a URL that is none."""
    if settings.redis_url is not None:
        from ragecho.platform.cache.redis import RedisCache

        return RedisCache(settings.redis_url.get_secret_value())
    return MemoryCache(max_bytes=settings.cache_mb << 20) if settings.cache_mb else None
