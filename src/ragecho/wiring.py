"""Builds every object. The only place that knows engines; everything else gets its collaborators handed in."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit
from uuid import UUID, uuid5

from ragecho.kernel.errors import ConfigurationError, InvalidInput
from ragecho.kernel.passages import EmbeddingSpace
from ragecho.platform.database import APP_ROLE, IDENTITY_ROLE, Database
from ragecho.platform.memory import memory_limit_bytes
from ragecho.platform.settings import Settings
from ragecho.ports.blobs import BlobStore
from ragecho.ports.embedder import Embedder, Embedders
from ragecho.ports.generator import Generator
from ragecho.ports.page_renderer import PageRenderer
from ragecho.ports.reranker import Reranker
from ragecho.ports.sealer import SealBrokenError, Sealer
from ragecho.ports.source import Source, SourceRefused
from ragecho.ports.token_verifier import TokenVerifier

if TYPE_CHECKING:
    from ragecho.ask.flow import AskFlow
    from ragecho.engines.sources.build import FetchLimits
    from ragecho.identity.api import IdentityServices
    from ragecho.identity.vault import Vault
    from ragecho.ingest.flow import IngestFlow
    from ragecho.ingest.index_repair import Index
    from ragecho.ingest.maintenance import Maintenance
    from ragecho.ingest.reindex import Reindexing
    from ragecho.ingest.resumable import ResumableUploads
    from ragecho.ingest.service import Uploads
    from ragecho.ingest.settings import IngestSettings
    from ragecho.ingest.sources.by_url import UrlUploads
    from ragecho.ingest.sources.intake import Intake
    from ragecho.ingest.sources.model import StoredSource
    from ragecho.ingest.sources.service import Sources
    from ragecho.ingest.sources.sync import Connect
    from ragecho.ingest.sources.work import SourceWork
    from ragecho.library.query.rewrite import QueryRewriter
    from ragecho.library.residency import ResidentIndexes
    from ragecho.library.search import PassageSearch
    from ragecho.web.service import Gateway

# The space of a model by name (None: the configured one), cut to so many dimensions. It raises what `space_chooser` says.
SpaceFor = Callable[[str | None, int | None], EmbeddingSpace]
SPACES = UUID("01900000-0000-7000-8000-00000000e3b0")
# A model's call ends before those who wait for it leave: that it was slow is the provider's failure, and counts as one.
_SHARE = 0.9
# Of the memory, for indexes that are searched often, where nothing is configured.
_RESIDENT_SHARE, _LEAST_RESIDENT_BYTES = 8, 256 << 20


@dataclass(frozen=True, slots=True)
class Services:
    """What the API needs."""

    settings: Settings
    database: Database
    blobs: BlobStore
    embedders: Embedders
    reranker: Reranker | None
    rewriter: "QueryRewriter | None"
    space: EmbeddingSpace
    space_for: SpaceFor
    search: "PassageSearch"
    ask: "AskFlow"
    uploads: "Uploads"
    resumable: "ResumableUploads"
    url_uploads: "UrlUploads"
    sources: "Sources"
    index: "Index"
    reindexing: "Reindexing"
    renderer: PageRenderer
    sealer: Sealer
    verifiers: tuple[TokenVerifier, ...]
    identity: "IdentityServices"
    gateway: "Gateway"


def space_of(settings: Settings, *, model: str | None = None, dimensions: int | None = None) -> EmbeddingSpace:
    """Return the space that an embedder (the configured one, unless named) and the settings of chunking make.

    Loads no weights. Raises `ConfigurationError`.
    """
    from ragecho.engines.providers.build import space_model
    from ragecho.ingest.pieces import chunking_of
    from ragecho.ingest.settings import IngestSettings

    name = model or settings.embedder
    space = space_model(name, settings.model_dir, dimensions=dimensions, is_configured=name == settings.embedder)
    chunking = chunking_of(IngestSettings())
    identity = f"{space.model}/{space.revision}/{space.dimensions}/{chunking}"
    return EmbeddingSpace(uuid5(SPACES, identity), space.model, space.revision, space.dimensions, chunking)


def space_chooser(settings: Settings, embedders: Embedders) -> SpaceFor:
    """Return what names the space of a model that people ask for, None for the configured one.

    It raises `InvalidInput` for a model that there is not, and `Unavailable` for one that cannot be used here now.
    """

    def space_for(model: str | None, dimensions: int | None) -> EmbeddingSpace:
        try:
            space = space_of(settings, model=model, dimensions=dimensions)
        except ConfigurationError as error:
            raise InvalidInput(error.message) from error
        if model is not None:
            embedders.of(space)
        return space

    return space_for


def build_database(
    settings: Settings, *, role: str, database_role: str = APP_ROLE, readers: int | None = None
) -> Database:
    """Return the pool of the configured database. Raises `ConfigurationError` without one."""
    from ragecho.platform.telemetry import instrument_engine

    if settings.database_url is None:
        raise ConfigurationError("RAGECHO_DATABASE_URL is not set; 'ragecho serve' brings its own database.")
    database = Database(
        settings.database_url.get_secret_value(),
        role=database_role,
        pool_size=settings.database_pool_size,
        readers=readers,
        application_name=f"ragecho {role}",
        is_preparing=settings.database_prepare,
    )
    instrument_engine(database.engine)
    return database


def build_identity(settings: Settings) -> "IdentityServices":
    """Return the identity service over a pool of its own role. Raises `ConfigurationError`."""
    from ragecho.identity.api import build_identity_services

    return build_identity_services(settings, build_database(settings, role="identity", database_role=IDENTITY_ROLE))


def build_gateway(settings: Settings, identity: "IdentityServices", database: Database) -> "Gateway":
    """Return the browser app's sessions. `attach` and `close` its provider."""
    from ragecho.identity.clients import WEB_CLIENT
    from ragecho.identity.settings import issuer_of
    from ragecho.kernel.authorization import Scope
    from ragecho.kernel.caller import Caller
    from ragecho.tenancy.callers import Callers
    from ragecho.web.model import WebSession
    from ragecho.web.provider import IdentityProvider
    from ragecho.web.service import Gateway
    from ragecho.web.settings import IdentityAddress

    callers = Callers(database)

    async def caller_of(session: WebSession, workspace: str | None) -> Caller:
        return await callers.of_subject(
            user_id=session.user_id,
            client_id=WEB_CLIENT,
            grant_id=session.grant_id,
            workspace=workspace,
            scopes=frozenset(Scope),
        )

    provider = IdentityProvider(issuer_of(settings), url=IdentityAddress().internal_url)
    return Gateway(identity.database, identity.vault, provider, settings, caller_of=caller_of)


def build_blobs(settings: Settings) -> BlobStore:
    """Return the store of original files. Raises `ConfigurationError` for a kind of URL that is not supported."""
    from ragecho.engines.blobs import FileBlobStore

    if settings.blob_url is None:
        return FileBlobStore(settings.data_dir / "blobs")
    parts = urlsplit(settings.blob_url)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        raise ConfigurationError("RAGECHO_BLOB_URL must be file:///path; other stores are not supported yet.")
    return FileBlobStore(Path(unquote(parts.path)))


def build_embedder(settings: Settings) -> Embedder:
    """Return the configured embedder; its weights are loaded at first use. Raises `ConfigurationError`."""
    from ragecho.engines.providers import build

    return build.build_embedder(settings.embedder, settings.model_dir, threads=settings.model_threads)


def build_embedders(settings: Settings) -> Embedders:
    """Return the embedders of all spaces; each is made, and its weights loaded, at first use."""
    from ragecho.engines.providers.registry import EmbedderRegistry

    return EmbedderRegistry(settings.model_dir, threads=settings.model_threads)


def build_reranker(settings: Settings) -> Reranker | None:
    """Return the configured reranker, or None for `none`. Raises `ConfigurationError`."""
    from ragecho.engines.providers import build
    from ragecho.library.settings import SearchSettings

    budget_seconds = SearchSettings().rerank_remote_budget_ms / 1e3
    return build.build_reranker(
        settings.reranker,
        settings.model_dir,
        threads=settings.model_threads,
        generators=lambda: build_answer_generators(settings, seconds=_SHARE * budget_seconds),
    )


def build_rewriter(settings: Settings) -> "QueryRewriter | None":
    """Return what words questions anew, None where it is off. Raises `ConfigurationError`."""
    from ragecho.library.query.rewrite import QueryRewriter
    from ragecho.library.settings import SearchSettings

    found = SearchSettings()
    if not found.query_rewriter:
        return None
    names = (found.query_rewriter_model,) if found.query_rewriter_model else settings.generator
    generators = build_answer_generators(settings, names=names, seconds=_SHARE * found.query_rewriter_seconds)
    if not generators:
        raise ConfigurationError(
            "RAGECHO_QUERY_REWRITER needs a model in RAGECHO_QUERY_REWRITER_MODEL or RAGECHO_GENERATOR."
        )
    return QueryRewriter(
        generators[0],
        found.query_rewriter,
        languages=found.query_rewriter_languages,
        timeout_seconds=found.query_rewriter_seconds,
    )


def build_answer_generators(
    settings: Settings, *, names: Sequence[str] | None = None, seconds: float | None = None
) -> list[Generator]:
    """Return the configured generators, in order, each behind its own circuit breaker and counted in the metrics.

    `names` instead of the configured ones. With `seconds` a call that takes longer has failed, and is not tried again: for
    what somebody waits for and can be done without.
    """
    from ragecho.engines.generation import CallRecord, FallbackGenerator, build_generators
    from ragecho.engines.generation.settings import GenerationSettings
    from ragecho.platform.telemetry.metrics import observe_model_call

    def count(call: CallRecord) -> None:
        observe_model_call(
            call.model,
            outcome=call.outcome,
            seconds=call.seconds,
            input_tokens=call.usage.input_tokens,
            output_tokens=call.usage.output_tokens,
            cost_usd=call.usage.cost_usd,
        )

    found = GenerationSettings()
    if seconds is not None:
        limits = {"generator_timeout_seconds": seconds, "generator_total_seconds": seconds, "generator_max_retries": 0}
        found = found.model_copy(update=limits)
    return [
        FallbackGenerator(
            [generator],
            failures_to_open=found.generator_failures_to_open,
            open_seconds=found.generator_open_seconds,
            on_call=count,
        )
        for generator in build_generators(settings.generator if names is None else names, found)
    ]


def _open_vault(settings: Settings) -> "Vault":
    from ragecho.identity.settings import IdentitySettings
    from ragecho.identity.vault import open_vault

    return open_vault(settings, IdentitySettings())


class VaultSealer:
    """The installation's vault as ingestion sees it; opened at first use, which few workers ever come to."""

    def __init__(self, opened: "Callable[[], Vault]") -> None:
        self._opened = opened

    def seal(self, plaintext: str, *, purpose: str) -> str:
        """Return the encrypted form."""
        return self._opened().encrypt(plaintext, purpose=purpose)

    def open(self, sealed: str, *, purpose: str) -> str:
        """Return what was sealed. Raises `SealBrokenError`."""
        from ragecho.identity.vault import VaultError

        try:
            return self._opened().decrypt(sealed, purpose=purpose).decode()
        except VaultError as error:
            raise SealBrokenError(str(error)) from None


def build_resident_indexes(database: Database, processes: int = 1) -> "ResidentIndexes | None":
    """Return what holds often searched indexes in memory; None where that is switched off.

    Where nothing is configured, each of `processes` on this machine has an eighth of the memory, and all together a quarter.
    """
    from ragecho.library.residency import ResidentIndexes
    from ragecho.library.settings import SearchSettings

    megabytes = SearchSettings().resident_index_mb
    if megabytes is None:
        share = memory_limit_bytes() // max(_RESIDENT_SHARE, _RESIDENT_SHARE // 2 * processes)
        return ResidentIndexes(database, budget_bytes=max(share, _LEAST_RESIDENT_BYTES))
    return ResidentIndexes(database, budget_bytes=megabytes << 20) if megabytes else None


def build_uploads(
    database: Database, blobs: BlobStore, ingest: "IngestSettings", sealer: Sealer | None = None
) -> "Uploads":
    """Return what takes files in, within the installation's limits."""
    from ragecho.ingest.allowance import Allowance
    from ragecho.ingest.service import Uploads

    allowance = Allowance(ingest.max_workspace_documents, ingest.max_workspace_bytes, ingest.max_waiting_documents)
    return Uploads(database, blobs, max_file_bytes=ingest.max_file_bytes, allowance=allowance, sealer=sealer)


def build_resumable(
    database: Database, blobs: BlobStore, uploads: "Uploads", ingest: "IngestSettings"
) -> "ResumableUploads":
    """Return what takes large files in, piece by piece."""
    from ragecho.ingest.resumable import ResumableUploads

    return ResumableUploads(
        database, blobs, uploads, expiry_hours=ingest.upload_expiry_hours, max_open=ingest.max_open_uploads
    )


def build_maintenance(settings: Settings, database: Database) -> "Maintenance":
    """Return what removes what is over; a worker runs it beside its jobs."""
    from ragecho.engines.blobs import FileBlobStore
    from ragecho.ingest.maintenance import Maintenance
    from ragecho.ingest.settings import IngestSettings

    ingest, blobs = IngestSettings(), build_blobs(settings)
    resumable = build_resumable(database, blobs, build_uploads(database, blobs, ingest), ingest)
    return Maintenance(
        database,
        blobs,
        resumable,
        retention_days=ingest.retention_days,
        sweep_leftovers=blobs.sweep if isinstance(blobs, FileBlobStore) else None,
    )


def build_services(settings: Settings) -> Services:
    """Build what the API needs; connects and loads at first use. `services.database` is to be closed."""
    from ragecho.ask.caching import AnswerCache
    from ragecho.ask.flow import AskFlow
    from ragecho.audit.store import AnswerRecords
    from ragecho.engines.parsing import SandboxedParser
    from ragecho.identity.settings import audience_of, issuer_of
    from ragecho.identity.verifier import AccessTokenVerifier
    from ragecho.ingest.index_repair import Index
    from ragecho.ingest.reindex import Reindexing
    from ragecho.ingest.settings import IngestSettings
    from ragecho.ingest.sources.by_url import UrlUploads
    from ragecho.ingest.sources.service import Sources
    from ragecho.library.search import PassageSearch
    from ragecho.platform.cache import CacheSettings, open_cache
    from ragecho.tenancy.callers import ApiKeyVerifier

    database = build_database(settings, role="api")
    embedders, reranker, blobs = build_embedders(settings), build_reranker(settings), build_blobs(settings)
    choose = space_chooser(settings, embedders)
    caching = CacheSettings()
    cache, rewriter = open_cache(caching), build_rewriter(settings)
    search = PassageSearch(
        database,
        embedders,
        cache=cache,
        cache_seconds=caching.cache_seconds,
        resident=build_resident_indexes(database, max(1, settings.api_processes)),
    )
    identity = build_identity(settings)
    sealer = VaultSealer(lambda: identity.vault)
    uploads = build_uploads(database, blobs, IngestSettings(), sealer)
    return Services(
        settings=settings,
        database=database,
        blobs=blobs,
        embedders=embedders,
        reranker=reranker,
        rewriter=rewriter,
        space=space_of(settings),
        space_for=choose,
        search=search,
        ask=AskFlow(
            search,
            AnswerRecords(database),
            embedders,
            reranker,
            build_answer_generators(settings),
            rewriter=rewriter,
            cache=AnswerCache(cache, ttl_seconds=caching.cache_seconds) if cache is not None else None,
        ),
        uploads=uploads,
        resumable=build_resumable(database, blobs, uploads, IngestSettings()),
        url_uploads=UrlUploads(
            database, blobs, build_intake(IngestSettings()), allow_private=settings.allow_private_addresses
        ),
        sources=Sources(database, sealer),
        index=Index(database, blobs, uploads),
        reindexing=Reindexing(database, embedders, choose),
        renderer=SandboxedParser(max_concurrency=1),
        sealer=sealer,
        verifiers=(
            ApiKeyVerifier(database),
            AccessTokenVerifier(database, issuer=issuer_of(settings), audience=audience_of(settings)),
        ),
        identity=identity,
        gateway=build_gateway(settings, identity, database),
    )


@asynccontextmanager
async def ingest_flow(settings: Settings) -> AsyncIterator[tuple[Database, "IngestFlow"]]:
    """Build what a worker needs and take it down again."""
    from ragecho.engines.language import StatisticalDetector
    from ragecho.engines.ocr.settings import OcrMode, OcrSettings
    from ragecho.engines.parsing import Ocr, SandboxedParser
    from ragecho.ingest.flow import IngestFlow
    from ragecho.ingest.settings import IngestSettings
    from ragecho.platform.jobs.steps import StepLimits

    ingest = IngestSettings()
    database = build_database(settings, role="worker", readers=1)
    recognition = OcrSettings()
    ocr = Ocr(is_on=recognition.ocr is not OcrMode.OFF, languages=recognition.ocr_languages)
    async with SandboxedParser(max_concurrency=ingest.parser_processes, ocr=ocr) as parser:
        try:
            yield (
                database,
                IngestFlow(
                    database,
                    build_blobs(settings),
                    parser,
                    build_embedders(settings),
                    StatisticalDetector(),
                    settings=ingest,
                    sealer=VaultSealer(partial(_open_vault, settings)),
                    steps=StepLimits(database, ingest.step_limits()),
                ),
            )
        finally:
            await database.close()


def build_intake(ingest: "IngestSettings") -> "Intake":
    """Return what puts documents from elsewhere into the library, within the workspaces' limits."""
    from ragecho.ingest.allowance import Allowance, Room
    from ragecho.ingest.sources.intake import Intake

    allowance = Allowance(ingest.max_workspace_documents, ingest.max_workspace_bytes, ingest.max_waiting_documents)
    return Intake(Room(allowance))


@asynccontextmanager
async def source_work(settings: Settings, database: Database) -> AsyncIterator["SourceWork"]:
    """Build what a worker needs to take documents from elsewhere, and take it down again."""
    from ragecho.engines.sources.build import FetchLimits
    from ragecho.ingest.settings import IngestSettings
    from ragecho.ingest.sources.by_url import UrlFetching
    from ragecho.ingest.sources.holding import Holding
    from ragecho.ingest.sources.schedule import SourceSchedule
    from ragecho.ingest.sources.settings import FetchSettings
    from ragecho.ingest.sources.sync import SourceSync
    from ragecho.ingest.sources.work import SourceWork

    fetch = FetchSettings()
    limits = FetchLimits(
        fetch.fetch_max_bytes, fetch.fetch_seconds, fetch.fetch_user_agent, settings.allow_private_addresses
    )
    pages, blobs = limits.pages(), build_blobs(settings)
    urls = UrlFetching(database, blobs, pages, max_bytes=limits.max_bytes)
    holding = Holding(database, blobs, build_intake(IngestSettings()), max_bytes=limits.max_bytes)
    sync = SourceSync(database, holding, connector(VaultSealer(partial(_open_vault, settings)), limits))
    try:
        yield SourceWork(urls, sync, SourceSchedule(database))
    finally:
        await pages.close()


def connector(sealer: Sealer, limits: "FetchLimits") -> "Connect":
    """Return what makes a connection of a stored source."""
    import json

    from ragecho.engines.sources.build import build_source
    from ragecho.ingest.sources.service import checked_config, purpose_of

    def connect(source: "StoredSource") -> Source:
        secrets: dict[str, str] = {}
        if source.sealed is not None:
            try:
                secrets = json.loads(sealer.open(source.sealed, purpose=purpose_of(source.id)))
            except SealBrokenError as error:
                raise SourceRefused("secrets_unreadable", f"{error} Give the source its secrets again.") from error
        return build_source(checked_config(source.kind, source.config), secrets, limits)

    return connect
