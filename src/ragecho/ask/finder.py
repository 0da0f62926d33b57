"""From a question to passages, in order, and a judgement whether they hold an answer."""

from collections.abc import Sequence
from dataclasses import replace

from ragecho.ask.model import PassageSource, Status
from ragecho.ask.settings import AskSettings
from ragecho.ask.steps.contextualize import contextualize
from ragecho.ask.steps.judge_evidence import Evidence, judge_evidence
from ragecho.ask.steps.parts import parts_of
from ragecho.ask.steps.rerank import rerank as put_in_order
from ragecho.ask.windows import ScoredWindow
from ragecho.ask.work import Part, Work
from ragecho.kernel.passages import Passage
from ragecho.library.query.queries import Query, Way
from ragecho.library.query.rewrite import Asked, QueryRewriter
from ragecho.library.rerank import is_remote, policy_for, rerank
from ragecho.ports.reranker import Reranker


class Finder:
    """Finds and judges. Stateless apart from its collaborators."""

    def __init__(
        self,
        search: PassageSource,
        reranker: Reranker | None,
        rewriter: QueryRewriter | None,
        settings: AskSettings,
    ) -> None:
        self._search = search
        self._reranker = reranker
        self._rewriter = rewriter
        self._settings = settings
        # A provider or a language model puts passages in order; whether they hold an answer, its numbers do not tell.
        self._orders_alone = reranker is not None and is_remote(reranker)
        self.judge = None if self._orders_alone else reranker

    async def find(self, work: Work) -> None:
        """Set what the question means, the passages in order, their space, and the evidence."""
        await self._understand(work)
        await work.emit(Status("retrieve"))
        as_found, ordered = await self._retrieve(work)
        await work.emit(Status("judge"))
        with work.step("judge"):
            await self._judge(work, as_found)
        assert work.evidence is not None
        with work.step("rerank"):
            work.passages, work.windows = put_in_order(
                as_found, work.evidence.windows, is_reread=work.evidence.is_reread
            )
            if ordered is not None:
                work.passages, work.windows = _as_ordered(ordered, work.passages, work.windows)

    async def _judge(self, work: Work, passages: Sequence[Passage]) -> None:
        """Set the evidence: for the question, or the best there is for its parts.

        Parts are those that the question's own words show, not what a model made of it: what is quoted answers what was
        asked. Each is judged by what a search for it alone finds, as far as that is among the `passages`.
        """
        parts = parts_of(work.asked.question) if passages and work.request.is_rewritten else ()
        judged = [await self._part(work, part, passages) for part in parts]
        if not any(part.evidence.is_sufficient for part in judged):
            work.evidence = await self._evidence(work, work.asked.question, passages)
            return
        best = max((part.evidence for part in judged), key=lambda evidence: evidence.confidence)
        place = {passage.chunk_id: index for index, passage in enumerate(passages)}
        windows = [
            replace(one, window=one.window.at(place[part.passages[one.window.passage].chunk_id]))
            for part in judged
            for one in part.evidence.windows
        ]
        work.evidence = replace(best, windows=tuple(sorted(windows, key=lambda one: -one.score)))
        work.parts = judged

    async def _part(self, work: Work, question: str, passages: Sequence[Passage]) -> Part:
        request = work.request
        found = await self._search.search(
            work.caller, query=question, k=len(passages) or 1, mode=request.mode, wanted=request.wanted
        )
        known = {passage.chunk_id for passage in passages}
        own = [passage for passage in found.passages if passage.chunk_id in known]
        return Part(question, await self._evidence(work, question, own), own)

    async def _evidence(self, work: Work, question: str, passages: Sequence[Passage]) -> Evidence:
        return await judge_evidence(
            contextualize(question),
            passages,
            reranker=self.judge,
            embedder_model=work.space.model if work.space else None,
            min_confidence=self._settings.ask_min_confidence,
        )

    async def _understand(self, work: Work) -> None:
        """Let the rewriter word the question anew; what it says is searched and judged by, and goes no further.

        Where no model took the question apart, its own words may show its parts.
        """
        if not work.request.is_rewritten:
            return
        if self._rewriter is not None:
            await self._reword(work, self._rewriter)
        if not any(query.way is Way.DECOMPOSE for query in work.asked.queries):
            parts = tuple(Query(part, Way.DECOMPOSE) for part in parts_of(work.asked.question))
            work.asked = replace(work.asked, queries=(*work.asked.queries, *parts))

    async def _reword(self, work: Work, rewriter: QueryRewriter) -> None:
        await work.emit(Status("understand"))
        with work.step("understand"):
            work.asked = await rewriter.rewrite(Asked(work.question, work.request.history))
        work.add(work.asked.usage)
        work.warnings += [f"rewrite_failed:{way}" for way in work.asked.failed]

    async def _retrieve(self, work: Work) -> tuple[list[Passage], list[Passage] | None]:
        """Return the passages that the answer is made from as they were found, and in a provider's order if one gave it.

        What the first passages look like is evidence only in the search's own order: that is what was measured.
        """
        request, reranker = work.request, self._reranker
        k = request.k or self._settings.ask_passages
        policy = policy_for(reranker) if reranker is not None and self._orders_alone else None
        depth = max(k, policy.depth) if policy else k
        with work.step("retrieve"):
            if len(work.asked.queries) > 1:
                found = await self._search.search_all(
                    work.caller, queries=work.asked.queries, k=depth, mode=request.mode, wanted=request.wanted
                )
            else:
                found = await self._search.search(
                    work.caller, query=work.asked.question, k=depth, mode=request.mode, wanted=request.wanted
                )
        work.space = found.space
        if reranker is None or policy is None or not found.passages:
            return found.passages, None
        with work.step("rerank"):
            done = await rerank(reranker, work.asked.question, found, policy)
        work.warnings += [done.warning] if done.warning else []
        ordered = done.passages[:k]
        chosen = {passage.chunk_id for passage in ordered}
        return [passage for passage in found.passages if passage.chunk_id in chosen], ordered


def _as_ordered(
    order: Sequence[Passage], passages: Sequence[Passage], windows: Sequence[ScoredWindow]
) -> tuple[list[Passage], list[ScoredWindow]]:
    """Return the passages in `order`, and the windows pointing into it."""
    place = {passage.chunk_id: index for index, passage in enumerate(order)}
    moved = [replace(one, window=one.window.at(place[passages[one.window.passage].chunk_id])) for one in windows]
    return list(order), moved
