"""Documents that have been read to pieces of one embedding space: cut, embedded and analysed, ready to be stored."""

import asyncio
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePath

from ragecho.ingest.settings import IngestSettings
from ragecho.ingest.steps.analyse import analyse
from ragecho.ingest.steps.chunk import CHUNKING_VERSION, chunk
from ragecho.ingest.steps.embed import Advance, Embedded, cache_model, embed
from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import ParseFailed
from ragecho.kernel.ids import DocumentId, VersionId
from ragecho.kernel.parsed import ParsedDocument
from ragecho.kernel.passages import ChunkSpan, EmbeddingSpace
from ragecho.library.analysis import ANALYSIS_VERSION
from ragecho.library.model import IndexedVersion, Version
from ragecho.platform.database import Database
from ragecho.platform.jobs.steps import StepLimits
from ragecho.platform.telemetry import attach, span
from ragecho.platform.telemetry.metrics import observe_ingest_stage
from ragecho.ports.embedder import Embedder, Embedders
from ragecho.ports.language_detector import LanguageDetector

_SIZES = re.compile(r":(\d+)/(\d+):")


def chunking_of(settings: IngestSettings) -> str:
    """Return what names the way of cutting and analysing in a space: by these settings and this version of Echo."""
    return f"{CHUNKING_VERSION}:{settings.chunk_tokens}/{settings.chunk_overlap_tokens}:{ANALYSIS_VERSION}"


@dataclass(frozen=True, slots=True)
class Unread:
    """A version's parsed form, and the trace that its work belongs to."""

    version: Version
    parsed: ParsedDocument
    trace: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class ReadVersion:
    """A version that has been read, and the language that it is in."""

    version: Version
    parsed: ParsedDocument
    language: str | None


@dataclass(frozen=True, slots=True)
class CutVersion:
    """The chunks of a version, cut for one space."""

    read: ReadVersion
    chunks: tuple[ChunkSpan, ...]


@dataclass(frozen=True, slots=True)
class Pieces:
    """Versions as one space holds them, without readers; `embedded` is for the cache, kept under `model`."""

    space: EmbeddingSpace
    versions: Mapping[VersionId, IndexedVersion]
    embedded: Embedded
    model: str


class PieceMaker:
    """Makes pieces for any space. Stateless apart from its collaborators."""

    def __init__(
        self,
        database: Database,
        embedders: Embedders,
        languages: LanguageDetector,
        settings: IngestSettings,
        steps: StepLimits | None = None,
    ) -> None:
        self._database = database
        self._embedders = embedders
        self._languages = languages
        self._settings = settings
        self._steps = steps or StepLimits()

    async def read_and_cut(self, space: EmbeddingSpace, unread: Sequence[Unread]) -> list[CutVersion | Exception]:
        """Return each version's chunks, or why it has none. Raises `Unavailable` without the space's model."""
        if not unread:
            return []
        embedder = self._embedders.of(space)

        def read_and_cut() -> list[CutVersion | Exception]:
            found: list[CutVersion | Exception] = []
            for one in unread:
                # Each document's own trace goes on here, whichever batch it came into.
                with attach(one.trace, name="ingest.read", version_id=str(one.version.id)):
                    try:
                        found.append(self._cut_whole(space, embedder, self._read(one)))
                    except Exception as error:  # noqa: BLE001 - one document's failure, told to the caller in its place
                        found.append(error)
            return found

        # One hop for all of them: each hop waits for its turn with the interpreter, which small documents are not worth.
        return await asyncio.to_thread(read_and_cut)

    async def cut_all(self, space: EmbeddingSpace, read: Sequence[ReadVersion]) -> list[CutVersion]:
        """Return versions' chunks in another space. Raises `ParseFailed` where there are none, and `Unavailable`."""
        embedder = self._embedders.of(space)
        return await asyncio.to_thread(lambda: [self._cut_whole(space, embedder, one) for one in read])

    def _read(self, one: Unread) -> ReadVersion:
        # What its file names, else what its words say.
        return ReadVersion(one.version, one.parsed, one.parsed.language or self._languages.detect(one.parsed.text))

    def _cut_whole(self, space: EmbeddingSpace, embedder: Embedder, read: ReadVersion) -> CutVersion:
        with stage("chunking"):
            chunks = self._cut(space, embedder, read)
            if not chunks:
                raise ParseFailed("no_text", "The document holds no text that could be found later.")
        return CutVersion(read, tuple(chunks))

    def _cut(self, space: EmbeddingSpace, embedder: Embedder, read: ReadVersion) -> list[ChunkSpan]:
        # A space keeps the sizes it was made with, whatever the settings say now: `ragecho reindex` applies those.
        sizes = _SIZES.search(space.chunking)
        most = int(sizes[1]) if sizes else self._settings.chunk_tokens
        overlap = int(sizes[2]) if sizes else self._settings.chunk_overlap_tokens
        most = min(most, embedder.max_tokens)
        return chunk(
            read.parsed,
            title=read.parsed.title or PurePath(read.version.filename).stem,
            tokens=embedder.tokens,
            max_tokens=most,
            overlap_tokens=min(overlap, most // 2 - 1),
        )

    async def make(
        self, caller: Caller, space: EmbeddingSpace, cut: Sequence[CutVersion], *, advance: Advance
    ) -> Pieces:
        """Embed and analyse what was cut for `space`. `advance` is told the share that is done, 0 to 1."""
        embedder = self._embedders.of(space)
        texts = [piece.embedded_text for one in cut for piece in one.chunks]
        async with self._steps.holding("embed"):
            with stage("embedding"):
                embedded = await embed(self._database, caller, embedder, texts, advance=advance)
        versions = await asyncio.to_thread(_analysed, caller, cut, embedded.vectors)
        return Pieces(space, versions, embedded, cache_model(embedder))


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Measure the block as a stage of ingestion, in a span of its own."""
    started = time.perf_counter()
    outcome = "error"
    try:
        with span(f"ingest.{name}"):
            yield
        outcome = "ok"
    except ParseFailed as error:
        outcome = error.reason
        raise
    finally:
        observe_ingest_stage(name, time.perf_counter() - started, outcome=outcome)


def _analysed(caller: Caller, cut: Sequence[CutVersion], vectors: Sequence[str]) -> dict[VersionId, IndexedVersion]:
    found, first = {}, 0
    for one in cut:
        version, parsed = one.read.version, one.read.parsed
        past = first + len(one.chunks)
        rows = analyse(caller.workspace_id, one.chunks, vectors[first:past], parsed.pages, language=one.read.language)
        found[version.id] = IndexedVersion(
            DocumentId(version.document_id),
            version.id,
            (),
            tuple(rows),
            title=parsed.title,
            pages=len(parsed.pages) or None,
            language=one.read.language,
            authors=tuple(parsed.authors),
            written_at=parsed.created,
        )
        first = past
    return found
