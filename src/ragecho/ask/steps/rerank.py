"""Passages in the order of their best windows."""

from collections.abc import Sequence
from dataclasses import replace

from ragecho.ask.windows import ScoredWindow
from ragecho.kernel.passages import Passage


def rerank(
    passages: Sequence[Passage], windows: Sequence[ScoredWindow], *, is_reread: bool
) -> tuple[list[Passage], list[ScoredWindow]]:
    """Return the passages by their best window's score, and the windows pointing into the new order.

    Passages without a window keep their order behind the others. Only a cross-encoder's score (`is_reread`) reorders
    and is added to `scores`; coverage alone is a weaker signal than the search's own.
    """
    if not is_reread:
        return list(passages), list(windows)
    best: dict[int, float] = {}
    for scored in windows:
        best[scored.window.passage] = max(best.get(scored.window.passage, 0.0), scored.score)
    order = sorted(range(len(passages)), key=lambda i: (i not in best, -best.get(i, 0.0), i))
    place = {old: new for new, old in enumerate(order)}
    ordered = [
        replace(passages[i], scores={**passages[i].scores, "rerank": best[i]}) if i in best else passages[i]
        for i in order
    ]
    moved = [replace(s, window=s.window.at(place[s.window.passage])) for s in windows]
    return ordered, moved
