"""What generation raises besides the kernel's errors."""

from ragecho.kernel.errors import GenerationFailed, RateLimited


class ProviderBusy(RateLimited, GenerationFailed):
    """The provider asks to slow down; `facts['retry_after_seconds']` says for how long.

    A `GenerationFailed`, as the port promises, so that callers fall back; a `RateLimited` for who has nothing left to
    fall back to: 429 with Retry-After.
    """
