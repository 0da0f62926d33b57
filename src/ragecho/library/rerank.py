"""Order passages by a cross-encoder's judgement."""

import time
from dataclasses import replace

from ragecho.kernel.passages import Passage
from ragecho.library.search import Found
from ragecho.platform.telemetry import span
from ragecho.ports.reranker import Reranker

# Twenty pairs cost a second or two of one core; what lies deeper keeps its fused order behind them.
RERANK_DEPTH = 20


async def rerank(reranker: Reranker, question: str, found: Found) -> tuple[list[Passage], dict[str, float]]:
    """Return the passages in the reranker's order (first `RERANK_DEPTH` of them) and the timings with `rerank` added."""
    started = time.perf_counter()
    head, tail = found.passages[:RERANK_DEPTH], found.passages[RERANK_DEPTH:]
    with span("search.rerank", pairs=len(head)):
        scores = await reranker.score(question, [passage.text for passage in head])
    scored = [
        replace(passage, score=score, scores={**passage.scores, "rerank": score})
        for passage, score in zip(head, scores, strict=True)
    ]
    ordered = sorted(scored, key=lambda passage: -passage.score)
    spent = (time.perf_counter() - started) * 1e3
    timings = {**found.timings_ms, "rerank": round(spent, 3), "total": round(found.timings_ms["total"] + spent, 3)}
    return [*ordered, *tail], timings
