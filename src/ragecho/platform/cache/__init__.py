"""Caches behind the port `Cache`, and running what several ask for at the same moment once."""

from ragecho.platform.cache.memory import MemoryCache
from ragecho.platform.cache.settings import CacheSettings, open_cache
from ragecho.platform.cache.single_flight import SingleFlight

__all__ = ["CacheSettings", "MemoryCache", "SingleFlight", "open_cache"]
