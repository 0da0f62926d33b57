"""What follows the hot statement: exact forms first, slips corrected, repetitions folded, broad questions answered as such.

A plain question costs none of it but a look at its words. Whatever more is asked of the database is asked as the same caller
under the same policies, and everything that is told rests on passages which that caller may read.
"""

import asyncio
import re
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol
from uuid import UUID

from ragecho.kernel.caller import Caller
from ragecho.kernel.ids import ChunkId, DocumentId
from ragecho.kernel.passages import Passage
from ragecho.library import analysis, diversity, store_passages
from ragecho.library.caching import Kept
from ragecho.library.model import SearchFilter
from ragecho.library.neighbours import Piece, joined, stretch_of, stretched
from ragecho.library.query import broad, exactness, typos
from ragecho.library.query.exactness import Form
from ragecho.library.query.options import Duplicate, ExactForm, Expand, Facts, Scope, SearchOptions
from ragecho.platform.database import Database

Spans = tuple[tuple[int, int], ...]
DEEP: Final = 50
_MOST_FOUND: Final = 20
_MOST_CANDIDATES: Final = 12
_REACH: Final = 60
_THIS = re.compile(
    r"(?i)\b(?:this|the|that|dieses?[rs]?|das|die|der|ce|cet|le|la|el|este|esta|il|questo|o|het|dit|этот|эта)\s+(?:whole\s+|entire\s+)?"
    r"(?:document|file|text|pdf|book|paper|report|article|dokument|datei|bericht|fichier|rapport|livre|documento|archivo|"
    r"informe|libro|relazione|livro|arquivo|relatório|bestand|документ|файл|книга)\b|[这這该該本][份个個篇]?(?:文件|文档|文檔|文章|报告|書|书)|このファイル|この文書"
)


class Find(Protocol):
    """The hot path, for one text."""

    async def __call__(self, text: str, *, k: int, mode: str, wanted: SearchFilter, is_word: bool = False) -> Kept:
        """Return the best `k` passages and the index's state; `mode` is hybrid, vector or lexical.

        Other wordings of the question are searched with it unless `is_word`: then it is a single word to look up.
        """
        ...


class Embed(Protocol):
    """A question as a vector in PostgreSQL's text form."""

    def __call__(self, text: str, space_id: UUID) -> Awaitable[str]:
        """Return the vector of `text` in a space."""
        ...


class Knows(Protocol):
    """Whether a model was taught a word whole."""

    def __call__(self, word: str, space_id: UUID) -> Awaitable[bool]:
        """Return whether the word is one token to the embedding model of a space."""
        ...


class Stemmings(Protocol):
    """The ways of stemming of the workspace's index, as the last search of this caller saw it."""

    def __call__(self) -> tuple[str, ...]:
        """Return their names."""
        ...


@dataclass(frozen=True, slots=True)
class Request:
    """One search as it was asked for."""

    caller: Caller
    query: str
    k: int
    mode: str
    wanted: SearchFilter
    options: SearchOptions


class Refining:
    """The steps around the hot path of one search."""

    def __init__(self, database: Database, *, find: Find, embed: Embed, knows: Knows, stemmings: Stemmings) -> None:
        self._database = database
        self._find = find
        self._embed = embed
        self._knows = knows
        self._stemmings = stemmings

    async def search(self, request: Request) -> Kept:
        """Return what is found for the request, with the facts about it."""
        about = broad.broad_of(request.query) if request.options.broad else None
        if about is not None and about.scope is Scope.DOCUMENT:
            overview = await self._overview(request)
            if overview is not None:
                return overview
        scope = None
        if about is not None and about.topic is not None:
            scope = Scope.DOCUMENTS
            request = replace(request, query=about.topic, options=replace(request.options, max_per_document=1))
        forms = exactness.forms_of(request.query) if request.options.exact else ()
        kept = await self._find(request.query, k=_depth(request, forms), mode=request.mode, wanted=request.wanted)
        exact: tuple[ExactForm, ...] = ()
        corrected: dict[str, str] = {}
        if request.options.correct and request.mode != "vector":
            kept, corrected = await self._corrected(request, kept, forms)
        if forms:
            kept, exact = await self._exact(request, kept, forms)
        done = _finished(request, kept, Facts(corrected, exact, scope))
        if len(done.passages) == request.k and diversity.repeats(done.passages) and request.options.fold_duplicates:
            # Something else may stand further down.
            text = typos.corrected(request.query, corrected)
            deep = await self._find(text, k=max(5 * request.k, DEEP), mode=request.mode, wanted=request.wanted)
            known = {passage.chunk_id for passage in kept.passages}
            more = [*kept.passages, *(one for one in deep.passages if one.chunk_id not in known)]
            more = exactness.lift(forms, more)[0] if forms else more
            done = _finished(request, replace(deep, passages=more), Facts(corrected, exact, scope))
        return done

    async def _exact(self, request: Request, kept: Kept, forms: Sequence[Form]) -> tuple[Kept, tuple[ExactForm, ...]]:
        """Put what holds the forms first; a form that nothing holds so far is looked for in all that may be read."""
        passages = kept.passages
        named = await self._in_named_files(request, forms)
        passages = [*passages, *(one for one in named if one.chunk_id not in {p.chunk_id for p in passages})]
        lifted, found = exactness.lift(forms, passages)
        missing = [form for form in forms if form.bonus >= exactness.CERTAIN and not found[form.text]]
        if missing and (more := await self._holding(request, kept, missing)):
            known = {passage.chunk_id for passage in passages}
            lifted, found = exactness.lift(forms, [*passages, *(one for one in more if one.chunk_id not in known)])
        told = tuple(ExactForm(form.text, found[form.text]) for form in forms if form.bonus >= exactness.CERTAIN)
        return replace(kept, passages=lifted), told

    async def _holding(self, request: Request, kept: Kept, forms: Sequence[Form]) -> list[Passage]:
        ids = analysis.TermIds(request.caller.workspace_id)
        alternatives = {
            tuple(sorted(set(ids.of(analysis.terms_of(form.text, stemming)))))
            for form in forms
            for stemming in self._stemmings()
        }
        alternatives.discard(())
        if not alternatives:
            return []
        query = store_passages.chunks_holding(
            request.caller,
            space_id=kept.index.space_id,
            alternatives=sorted(alternatives),
            patterns=[exactness.sql_pattern(form) for form in forms],
            vector=await self._vector(request, kept),
            wanted=request.wanted,
            limit=max(request.k, _MOST_FOUND),
        )
        (rows,) = await self._database.read(request.caller, query)
        return [passage_of(row) for row in rows]

    async def _in_named_files(self, request: Request, forms: Sequence[Form]) -> list[Passage]:
        """Return the best passages of the documents whose file names stand in the question."""
        names = [exactness.folded(form.text) for form in forms if form.is_file_name]
        if not names:
            return []
        query = store_passages.documents_named(
            request.caller, names=names, question="", in_words=False, wanted=request.wanted
        )
        (rows,) = await self._database.read(request.caller, query)
        if not rows:
            return []
        wanted = replace(request.wanted, documents=tuple(DocumentId(row["id"]) for row in rows))
        return (await self._find(request.query, k=request.k, mode=request.mode, wanted=wanted)).passages

    async def _corrected(self, request: Request, kept: Kept, forms: Sequence[Form]) -> tuple[Kept, dict[str, str]]:
        """Search again with the words that were meant, where nothing that may be read holds those that were written."""
        beside = [form.text for form in forms if form.is_phrase or form.bonus >= exactness.CERTAIN]
        text = typos.text_of(kept.passages[: typos.LOOKED_AT])
        missing = typos.missing_words(request.query, text, beside=beside)
        if not missing:
            return kept, {}
        near = typos.meant(missing, text)
        is_unheard = typos.is_short(request.query) or not any("lexical" in one.scores for one in kept.passages)
        if not near and not is_unheard:
            return kept, {}
        suspects = missing[: typos.MAX_WORDS] if is_unheard else list(near)
        # "fever" is no slip for "never" only because no document is about fever: the model was taught frequent words whole.
        suspects = [word for word in suspects if not await self._knows(word.casefold(), kept.index.space_id)]
        everywhere = SearchFilter()
        alone = await asyncio.gather(
            *(self._find(word, k=1, mode="lexical", wanted=everywhere, is_word=True) for word in suspects)
        )
        unheard = [word for word, found in zip(suspects, alone, strict=True) if not found.passages]
        if is_unheard and (left := [word for word in unheard if word not in near]):
            near |= await self._meant_anywhere(request, kept, left)
        unknown = {word: near[word] for word in unheard if word in near}
        if not unknown:
            return kept, {}
        again = typos.corrected(request.query, unknown)
        found = await self._find(again, k=_depth(request, forms), mode=request.mode, wanted=request.wanted)
        return found, unknown

    async def _meant_anywhere(self, request: Request, kept: Kept, words: Sequence[str]) -> dict[str, str]:
        """Return what was meant by words that nothing near holds: one slip away from a term of the index.

        The index's terms are hashes and everybody's. So they only lead to a search by the caller, and what is told is a
        word of a passage that this search found.
        """
        candidates: dict[int, str] = {}
        ids = analysis.TermIds(request.caller.workspace_id)
        for word in words:
            edits = typos.edits(word.casefold())
            for stemming in self._stemmings():
                candidates.update(zip(ids.of(analysis.stems_of(edits, stemming)), edits, strict=True))
        query = store_passages.known_terms(
            request.caller, kept.index.space_id, list(candidates), limit=_MOST_CANDIDATES
        )
        (rows,) = await self._database.read(request.caller, query)
        if not rows:
            return {}
        text = " ".join(candidates[row["term"]] for row in rows)
        found = await self._find(text, k=DEEP, mode="lexical", wanted=SearchFilter(), is_word=True)
        return typos.meant(words, typos.text_of(found.passages))

    async def _overview(self, request: Request) -> Kept | None:
        """Return a document's opening and what is spread over it, when the question is about one document as a whole."""
        document = await self._meant_document(request)
        if document is None:
            return None
        # The index's state goes with every result; one passage is enough to learn it.
        kept = await self._find(request.query, k=1, mode=request.mode, wanted=SearchFilter(documents=(document,)))
        (places,) = await self._database.read(
            request.caller, store_passages.sections(request.caller, document, kept.index.space_id)
        )
        chosen = broad.spread_out([tuple(row["heading_path"]) for row in places], request.k)
        ids = [ChunkId(places[place]["id"]) for place in chosen]
        (rows,) = await self._database.read(
            request.caller, store_passages.chunks(request.caller, ids, await self._vector(request, kept))
        )
        passages = [replace(passage_of(row), score=(len(rows) - place) / len(rows)) for place, row in enumerate(rows)]
        return replace(kept, passages=passages, facts=Facts(scope=Scope.DOCUMENT)) if passages else None

    async def _meant_document(self, request: Request) -> DocumentId | None:
        caller, wanted = request.caller, request.wanted
        question = exactness.folded(request.query)
        if wanted.documents is not None and len(wanted.documents) == 1 and broad.is_about_all(question):
            return wanted.documents[0]
        named = store_passages.documents_named(caller, names=[], question=question, in_words=True, wanted=wanted)
        (rows,) = await self._database.read(caller, named)
        for row in rows:
            names = [row["filename"], row["filename"].rpartition(".")[0], row["title"] or ""]
            held = [name for name in map(exactness.folded, names) if len(name) > _SHORT_NAME and name in question]
            if any(broad.is_about_all(question, name) for name in held):
                return DocumentId(row["id"])
        if not rows and _THIS.search(question) and broad.is_about_all(question):
            (sole,) = await self._database.read(caller, store_passages.sole_document(caller, wanted))
            return DocumentId(sole[0]["id"]) if len(sole) == 1 else None
        return None

    async def _vector(self, request: Request, kept: Kept) -> str | None:
        return await self._embed(request.query, kept.index.space_id) if request.mode != "lexical" else None


_SHORT_NAME: Final = 3


def _depth(request: Request, forms: Sequence[Form]) -> int:
    """Return how many passages the steps need to choose `k` from."""
    options = request.options
    is_choosing = options.max_per_document is not None or options.diversity > 0
    if is_choosing or any(form.bonus >= exactness.PROBABLE for form in forms):
        return max(2 * request.k, DEEP)
    return request.k


def _finished(request: Request, kept: Kept, facts: Facts) -> Kept:
    """Fold, cap and spread the passages, and keep `k`."""
    options = request.options
    passages = kept.passages
    folded: list[Duplicate] = []
    if options.fold_duplicates:
        passages, folded = diversity.fold(passages, k=request.k)
    if options.max_per_document is not None:
        passages = diversity.capped(passages, options.max_per_document)
    passages = diversity.spread(passages, request.k, options.diversity)
    shown = {passage.chunk_id for passage in passages}
    duplicates = tuple(one for one in folded if one.of in shown)
    return replace(kept, passages=passages, facts=replace(facts, duplicates=duplicates))


async def expanded(
    database: Database, caller: Caller, passages: Sequence[Passage], how: Expand
) -> tuple[list[Passage], dict[ChunkId, Spans]]:
    """Return the passages with what stands around them, and where in each what was found lies, best first.

    Every passage's text is code points `start` to `end` of its version's stored text; passages that meet become one.
    """
    if how is Expand.NONE or not passages:
        return list(passages), {}
    reach = 1 if how is Expand.NEIGHBOURS else _REACH
    ids = [passage.chunk_id for passage in passages]
    (rows,) = await database.read(caller, store_passages.around(caller, ids, reach=reach))
    pieces: dict[ChunkId, list[Piece]] = {}
    for row in rows:
        pieces.setdefault(row["hit"], []).append(_piece(row))
    stretches = [stretch_of(one.chunk_id, pieces.get(one.chunk_id, []), how) for one in passages]
    shown = joined(passages, stretches)
    wanted = {at: (one, stretch) for at, (one, stretch) in enumerate(shown) if stretch is not None}
    (found,) = await database.read(caller, store_passages.texts(caller, wanted))
    texts = {row["place"]: row["text"] for row in found if row["text"]}
    whole = [
        stretched(one, stretch, texts[at]) if stretch is not None and at in texts else one
        for at, (one, stretch) in enumerate(shown)
    ]
    return whole, {one.chunk_id: _spans_in(one, passages) for one in whole}


def _spans_in(whole: Passage, hits: Sequence[Passage]) -> Spans:
    return tuple(
        (hit.start, hit.end)
        for hit in hits
        if hit.version_id == whole.version_id and whole.start <= hit.start and hit.end <= whole.end
    )


def _piece(row: Mapping[str, Any]) -> Piece:
    return Piece(
        ChunkId(row["id"]),
        row["ordinal"],
        row["start_offset"],
        row["end_offset"],
        row["page"],
        tuple(row["page_breaks"]),
        tuple(row["heading_path"]),
    )


def passage_of(row: Mapping[str, Any]) -> Passage:
    """Return the passage of a row with the hot statement's columns."""
    scores = {name: float(row[name]) for name in ("vector", "lexical") if row[name] is not None}
    return Passage(
        chunk_id=row["chunk_id"],
        document_id=row["document_id"],
        version_id=row["version_id"],
        filename=row["filename"],
        title=row["title"],
        heading_path=tuple(row["heading_path"]),
        page=row["page"],
        page_breaks=tuple(row["page_breaks"]),
        start=row["start_offset"],
        end=row["end_offset"],
        text=row["text"],
        content_sha256=row["content_sha256"],
        score=float(row["score"]),
        scores=scores | {"fused": float(row["score"])},
    )
