"""How much of the fused score the vectors give, per embedding model: data, chosen by measurement.

Each side's scores are laid on 0 to 1 per question: vectors between their hundredth and best candidate, words as a share of
the best candidate's BM25 (which is 0 where no word is found). The fused score is `share * vector + (1 - share) * lexical`, a
convex combination (Bruch, Gai, Ingber 2023). docs/how-to/evaluate.md holds what was tried and what it gave.
"""

from typing import Final

SPREAD: Final = 100
"""Candidates between whose scores the vectors are laid; 50 and 200 gave the same within noise."""
BEYOND_SPREAD: Final = 100
"""What lies below the last of those is divided by this, so that it keeps its order just below 0."""
_DEFAULT_SHARE: Final = 0.5
# A question in one language finds few words in documents of another, and its best word is a poor guide: on Spanish
# questions to English documents .6 gives nDCG@10 .908 where .5 gives .823, and nothing is lost within one language.
_SHARES: Final = {"multilingual-e5-small": 0.6}


def vector_share(model: str) -> float:
    """Return the vectors' share, 0 to 1, for an embedding model; models that were not measured get one half."""
    return _SHARES.get(model, _DEFAULT_SHARE)
