"""What a call costs, from a table in a file."""

import json
import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Self

from ragecho.kernel.errors import ConfigurationError

_PER = 1_000_000
# Providers name the snapshot that answered: gpt-4o-mini-2024-07-18 costs what gpt-4o-mini does.
_SNAPSHOT = re.compile(r"-(\d{4}-\d{2}-\d{2}|\d{8}|latest)$")


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens."""

    input: float
    output: float
    cached_input: float | None = None

    def cost(self, *, input_tokens: int, output_tokens: int, cached_tokens: int = 0) -> float:
        """Return the cost in US dollars; `cached_tokens` are part of `input_tokens`."""
        cached_price = self.input if self.cached_input is None else self.cached_input
        fresh_tokens = max(0, input_tokens - cached_tokens)
        return (fresh_tokens * self.input + cached_tokens * cached_price + output_tokens * self.output) / _PER


class PriceTable:
    """Prices by model name."""

    def __init__(self, prices: dict[str, Price]) -> None:
        self._prices = prices

    @classmethod
    def load(cls, extra: Path | None = None) -> Self:
        """Return the built-in table, with `extra` added. Raises `ConfigurationError` if that file is not readable."""
        prices = _parse(resources.files(__package__).joinpath("prices.json").read_text("utf-8"))
        if extra is not None:
            try:
                prices |= _parse(extra.read_text("utf-8"))
            except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
                raise ConfigurationError("RAGECHO_MODEL_PRICES names a file that is not a price table.") from error
        return cls(prices)

    def find(self, model: str) -> Price | None:
        """Return the price of `model` or of what it is a snapshot of; None when it is not in the table."""
        return self._prices.get(model) or self._prices.get(_SNAPSHOT.sub("", model))


def _parse(text: str) -> dict[str, Price]:
    models = json.loads(text)["models"]
    return {
        name: Price(
            float(entry["input"]),
            float(entry["output"]),
            float(entry["cached_input"]) if entry.get("cached_input") is not None else None,
        )
        for name, entry in models.items()
    }
