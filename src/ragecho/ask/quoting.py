"""An answer made of quotes, for each part of the question."""

from dataclasses import replace

from ragecho.ask.answers import CheckedSentence
from ragecho.ask.steps.answer_extractively import answer_extractively
from ragecho.ask.steps.contextualize import contextualize
from ragecho.ask.work import Work
from ragecho.ports.reranker import Reranker

PART_UNANSWERED = "part_unanswered"
# What one part of several is answered by at most.
_MOST_FOR_A_PART = 2


async def quotes_of(work: Work, reranker: Reranker | None) -> list[CheckedSentence]:
    """Return the quotes that answer the question, or each of its parts in turn; none of them twice.

    A part without evidence is left out and told of: a warning `part_unanswered:2`.
    """
    if not work.parts:
        asked = contextualize(work.asked.question)
        return await answer_extractively(asked, work.passages, work.windows, reranker=reranker)
    place = {passage.chunk_id: index for index, passage in enumerate(work.passages)}
    quotes: list[CheckedSentence] = []
    for number, part in enumerate(work.parts, start=1):
        if not part.evidence.is_sufficient:
            work.warnings.append(f"{PART_UNANSWERED}:{number}")
            continue
        windows = [
            replace(one, window=one.window.at(place[chunk]))
            for one in part.evidence.windows
            if (chunk := part.passages[one.window.passage].chunk_id) in place
        ]
        found = await answer_extractively(
            contextualize(part.question), work.passages, windows, reranker=reranker, most=_MOST_FOR_A_PART
        )
        quotes += [quote for quote in found if quote.supports not in [known.supports for known in quotes]]
    return quotes
