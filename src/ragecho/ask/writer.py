"""Writes an answer sentence by sentence. Nothing is shown before its quotes were compared with the stored text."""

from collections.abc import Awaitable, Callable, Sequence

from ragecho.ask.answers import CheckedSentence, Support
from ragecho.ask.model import Cited, Event, PassageSource, Token
from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import EchoError
from ragecho.kernel.passages import Citation, Passage

Emit = Callable[[Event], Awaitable[None]]


class SourceWithdrawn(EchoError):
    """A passage that the answer was made from may no longer be read by the caller; nothing made from it is shown."""

    code = "source_withdrawn"


class AnswerWriter:
    """Numbers citations in order of appearance and emits checked words.

    Sentences without support are held back until one with support follows: an answer that has none at all is not shown.
    """

    def __init__(self, caller: Caller, passages: Sequence[Passage], source: PassageSource, emit: Emit) -> None:
        self._caller = caller
        self._passages = passages
        self._source = source
        self._emit = emit
        self._numbers: dict[tuple[int, int, int], int] = {}
        self._held: list[Event] = []
        self._gap = ""
        self.text = ""
        self.citations: list[Citation] = []
        self.unsupported: list[str] = []

    @property
    def has_evidence(self) -> bool:
        """Whether at least one verified citation was written."""
        return any(citation.is_verified for citation in self.citations)

    async def write(self, sentence: CheckedSentence) -> None:
        """Add a sentence. Raises `SourceWithdrawn` when a passage of the answer is not the caller's to read any more."""
        if not sentence.text:
            return
        await self._check_grants()
        marks: list[str] = []
        is_verified = False
        for support in sentence.supports:
            citation = await self._citation(support)
            is_verified = is_verified or citation.is_verified
            mark = f"[{citation.n}]"
            if mark not in marks:
                marks.append(mark)
        if (sentence.supports and not is_verified) or not sentence.is_supported:
            self.unsupported.append(sentence.text)
        separator = "\n\n" if sentence.text.lstrip().startswith("|") else " "
        words = self._gap + sentence.text + (separator + "".join(marks) if marks else "")
        self._gap = sentence.trailing
        self.text += words
        self._held.append(Token(words))
        if self.has_evidence:
            await self._release()

    async def _release(self) -> None:
        for event in self._held:
            await self._emit(event)
        self._held.clear()

    async def _check_grants(self) -> None:
        wanted = {passage.chunk_id for passage in self._passages}
        if wanted - await self._source.readable(self._caller, self._passages):
            raise SourceWithdrawn("A document that this answer rests on can no longer be read.")

    async def _citation(self, support: Support) -> Citation:
        key = (support.index, support.start, support.end)
        known = self._numbers.get(key)
        if known is not None:
            return self.citations[known - 1]
        passage = self._passages[support.index]
        start, end = passage.start + support.start, passage.start + support.end
        quote = passage.text[support.start : support.end]
        stored = await self._source.version_text(self._caller, passage.version_id, start=start, end=end)
        if stored is None:
            raise SourceWithdrawn("A document that this answer rests on can no longer be read.")
        citation = Citation(
            n=len(self.citations) + 1,
            document_id=passage.document_id,
            version_id=passage.version_id,
            chunk_id=passage.chunk_id,
            filename=passage.filename,
            page=passage.page_at(start),
            start=start,
            end=end,
            # What is shown is what is stored, whatever the passage said.
            quote=stored,
            is_verified=support.is_supported and stored == quote,
        )
        self._numbers[key] = citation.n
        self.citations.append(citation)
        self._held.append(Cited(citation))
        return citation
