"""A circuit breaker: a provider that keeps failing is left alone for a while, then tried with one call."""

import time
from collections.abc import Callable


class CircuitBreaker:
    """Closed until `failures_to_open` failures in a row, then open for `open_seconds`, then one trial decides.

    For one event loop. Every `allows()` that returned True is followed by exactly one of the other three.
    """

    def __init__(
        self, *, failures_to_open: int = 3, open_seconds: float = 30.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._failures_to_open = failures_to_open
        self._open_seconds = open_seconds
        self._clock = clock
        self._failures = 0
        self._opened_at: float | None = None
        self._is_on_trial = False

    def allows(self) -> bool:
        """Say whether a call may be made now."""
        if self._opened_at is None:
            return True
        if self._is_on_trial or self._clock() - self._opened_at < self._open_seconds:
            return False
        self._is_on_trial = True
        return True

    def succeeded(self) -> None:
        """Close: the call answered."""
        self._failures = 0
        self._opened_at = None
        self._is_on_trial = False

    def failed(self) -> None:
        """Count a failure of the provider's."""
        self._failures += 1
        if self._is_on_trial or self._failures >= self._failures_to_open:
            self._opened_at = self._clock()
        self._is_on_trial = False

    def told_nothing(self) -> None:
        """Count nothing: the call was given up, or failed for a reason of its own."""
        self._is_on_trial = False

    @property
    def opens_again_in_seconds(self) -> float:
        """How long until a trial is allowed; 0 when calls are allowed now."""
        if self._opened_at is None:
            return 0.0
        return max(0.0, self._open_seconds - (self._clock() - self._opened_at))
