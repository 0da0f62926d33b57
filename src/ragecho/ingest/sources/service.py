"""What people do with sources: set them up, change them, start a run, remove them."""

import builtins
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import orjson
from pydantic import ValidationError

from ragecho.ingest.repetition import Repetition
from ragecho.ingest.sources import store, store_items
from ragecho.ingest.sources.model import SYNC_JOB, Run, SourceLabels, StoredItem, StoredSource
from ragecho.ingest.sources.sync import JOB_BYTES
from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import InvalidInput, NotFound
from ragecho.kernel.ids import uuid7
from ragecho.library.model import NamedReaders
from ragecho.library.service import checked_metadata, checked_tags
from ragecho.platform import audit_log
from ragecho.platform.database import Database, Session
from ragecho.platform.jobs import store as jobs
from ragecho.platform.outbound import check_url
from ragecho.ports.sealer import Sealer
from ragecho.ports.source_configs import CONFIGS, SourceConfig
from ragecho.tenancy import grants

MAX_SECRET = 8192


@dataclass(frozen=True, slots=True)
class SourceChange:
    """What to change of a source; None leaves it. An interval of 0 ends the schedule."""

    name: str | None = None
    config: Mapping[str, Any] | None = None
    secrets: Mapping[str, str] | None = None
    labels: SourceLabels | None = None
    interval_seconds: int | None = None
    is_paused: bool | None = None


@dataclass(frozen=True, slots=True)
class SourceState:
    """A source with its newest run and how many documents it holds."""

    source: StoredSource
    run: Run | None
    documents: int


class Sources:
    """The sources of workspaces."""

    def __init__(self, database: Database, sealer: Sealer) -> None:
        self._database = database
        self._sealer = sealer

    async def add(
        self, caller: Caller, kind: str, change: SourceChange, *, idempotency_key: str | None = None
    ) -> SourceState:
        """Set up a source and start its first run.

        Raises `InvalidInput` with what is wrong, `NotFound` for readers, and as `Repetition.known_answer`.
        """
        config = checked_config(kind, change.config or {})
        labels = _checked_labels(change.labels or SourceLabels())
        source_id = uuid7()
        secrets = _checked_secrets(config, change.secrets or {})
        repetition = Repetition(caller, idempotency_key, "add_source", _asked(kind, config, labels, change))
        async with self._database.transaction(caller) as session:
            if (known := await repetition.known_answer(session)) is not None:
                return await self._state(session, caller, UUID(known["id"]))
            await _check_readers(caller, session, labels)
            values = {
                "id": source_id,
                "kind": kind,
                "name": _checked_name(change.name or ""),
                "config": config.model_dump(mode="json"),
                "sealed": self._sealed(source_id, secrets),
                "labels": labels.as_json(),
                "owner_id": caller.user_id,
                "made_by": caller.own_principal,
                "interval_seconds": change.interval_seconds or None,
                "is_paused": bool(change.is_paused),
            }
            await store.insert_source(session, caller, values)
            if not change.is_paused:
                await begin(session, caller, source_id, reason="asked")
            await _record(session, caller, "source.added", source_id, {"kind": kind, "name": values["name"]})
            await repetition.keep(session, {"id": source_id})
            return await self._state(session, caller, source_id)

    async def change(self, caller: Caller, source_id: UUID, change: SourceChange) -> SourceState:
        """Change a source; new labels reach its documents at the next run. Raises as `add`, and `NotFound`."""
        async with self._database.transaction(caller) as session:
            source = await _get(session, caller, source_id, for_update=True)
            config = checked_config(source.kind, source.config if change.config is None else change.config)
            labels = SourceLabels.from_json(source.labels) if change.labels is None else _checked_labels(change.labels)
            if change.labels is not None:
                await _check_readers(caller, session, labels)
            sealed = source.sealed
            if change.secrets is not None:
                sealed = self._sealed(source_id, _checked_secrets(config, change.secrets))
            elif source.sealed is not None and _reaches(source.config) != _reaches(config.model_dump(mode="json")):
                # Who may change a source may not read its secrets by sending them somewhere else.
                raise InvalidInput("A source that is to reach another place needs its secrets again.")
            interval = source.interval_seconds if change.interval_seconds is None else change.interval_seconds or None
            changed = replace(
                source,
                name=source.name if change.name is None else _checked_name(change.name),
                config=config.model_dump(mode="json"),
                labels=labels.as_json(),
                sealed=sealed,
                interval_seconds=interval,
                is_paused=source.is_paused if change.is_paused is None else change.is_paused,
            )
            await store.update_source(session, caller, changed)
            what = [name for name in SourceChange.__slots__ if getattr(change, name) is not None]
            await _record(session, caller, "source.changed", source_id, {"changed": what})
            return await self._state(session, caller, source_id)

    async def sync(self, caller: Caller, source_id: UUID, *, idempotency_key: str | None = None) -> Run:
        """Start a run, or return the one under way. Raises `NotFound`, and as `Repetition.known_answer`."""
        repetition = Repetition(caller, idempotency_key, "sync_source", {"source": source_id})
        async with self._database.transaction(caller) as session:
            await _get(session, caller, source_id, for_update=True)
            known = await repetition.known_answer(session)
            if known is not None and (before := await store.get_run(session, caller, UUID(known["id"]))) is not None:
                return before
            run = await begin(session, caller, source_id, reason="asked")
            await repetition.keep(session, {"id": run.id})
            await _record(session, caller, "source.synced", source_id, {"run_id": run.id})
        return run

    async def remove(self, caller: Caller, source_id: UUID, *, keep_documents: bool) -> None:
        """Remove a source, and in the background its documents unless they are kept. Raises `NotFound`."""
        async with self._database.transaction(caller) as session:
            source = await _get(session, caller, source_id, for_update=True)
            if keep_documents or not await store_items.count_held(session, caller, source_id):
                await store.delete_source(session, caller, source_id)
            else:
                removing = replace(source, is_removing=True, is_paused=True, sealed=None)
                await store.update_source(session, caller, removing)
                await begin(session, caller, source_id, reason="removal", is_overtaking=True)
            details = {"kind": source.kind, "name": source.name, "kept_documents": keep_documents}
            await _record(session, caller, "source.removed", source_id, details)

    async def get(self, caller: Caller, source_id: UUID) -> SourceState:
        """Return a source. Raises `NotFound`."""
        async with self._database.transaction(caller) as session:
            await _get(session, caller, source_id)
            return await self._state(session, caller, source_id)

    async def list(self, caller: Caller, *, limit: int, offset: int) -> tuple[builtins.list[SourceState], int]:
        """Return one page, newest first, and how many there are."""
        async with self._database.transaction(caller) as session:
            found, total = await store.list_sources(session, caller, limit=limit, offset=offset)
            return [await self._state(session, caller, source.id) for source in found], total

    async def runs(self, caller: Caller, source_id: UUID, *, limit: int, offset: int) -> tuple[builtins.list[Run], int]:
        """Return a page of a source's runs, newest first. Raises `NotFound`."""
        async with self._database.transaction(caller) as session:
            await _get(session, caller, source_id)
            return await store.list_runs(session, caller, source_id, limit=limit, offset=offset)

    async def items(
        self, caller: Caller, source_id: UUID, *, status: str | None, limit: int, offset: int
    ) -> tuple[builtins.list[StoredItem], int]:
        """Return a page of what is in a source. Raises `NotFound`."""
        async with self._database.transaction(caller) as session:
            await _get(session, caller, source_id)
            return await store_items.list_items(session, caller, source_id, status=status, limit=limit, offset=offset)

    async def _state(self, session: Session, caller: Caller, source_id: UUID) -> SourceState:
        source = await _get(session, caller, source_id)
        run = await store.get_run(session, caller, source.run_id) if source.run_id else None
        return SourceState(source, run, await store_items.count_held(session, caller, source_id))

    def _sealed(self, source_id: UUID, secrets: Mapping[str, str]) -> str | None:
        if not secrets:
            return None
        return self._sealer.seal(orjson.dumps(dict(secrets)).decode(), purpose=purpose_of(source_id))


def purpose_of(source_id: UUID) -> str:
    """Return what the secrets of a source are sealed for: one source's open no other's."""
    return f"ragecho.source.{source_id}"


async def begin(session: Session, caller: Caller, source_id: UUID, *, reason: str, is_overtaking: bool = False) -> Run:
    """Start a run, or return the open one; `is_overtaking` ends that instead. The source's row is locked by the caller."""
    source = await store.get_source(session, caller, source_id)
    present = await store.get_run(session, caller, source.run_id) if source is not None and source.run_id else None
    if present is not None and present.is_open:
        if not is_overtaking and await jobs.still_open(session, caller, present.job_id):
            return present
        # Its job was cancelled, or is overtaken.
        await store.finish_run(session, caller, present, status="cancelled")
    run_id = uuid7()
    job_id = await jobs.enqueue(session, caller, kind=SYNC_JOB, size=JOB_BYTES)
    await store.insert_run(session, caller, source_id, run_id=run_id, job_id=job_id, reason=reason)
    run = await store.get_run(session, caller, run_id)
    assert run is not None
    return run


def checked_config(kind: str, config: Mapping[str, Any]) -> SourceConfig:
    """Return the configuration of a kind. Raises `InvalidInput` that names the field."""
    shape = CONFIGS.get(kind)
    if shape is None:
        raise InvalidInput(f"There is no such kind of source; there are {', '.join(CONFIGS)}.")
    try:
        checked = shape.model_validate(dict(config))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InvalidInput(f"config.{place}: {first['msg']}") from error
    address = getattr(checked, "endpoint", None) or getattr(checked, "url", None)
    if address is not None and not (kind == "git" and address.startswith("file://")):
        check_url(address)
    return checked


def _asked(kind: str, config: SourceConfig, labels: SourceLabels, change: SourceChange) -> dict[str, Any]:
    """Return what a request for a source asks for; of its secrets the names only."""
    return {
        "kind": kind,
        "name": change.name,
        "config": config.model_dump(mode="json"),
        "secrets": sorted(change.secrets or ()),
        "labels": labels.as_json(),
        "interval_seconds": change.interval_seconds,
        "is_paused": change.is_paused,
    }


def _checked_secrets(config: SourceConfig, secrets: Mapping[str, str]) -> dict[str, str]:
    names = {name.rstrip("?"): name.endswith("?") for name in config.secrets}
    if unknown := set(secrets) - set(names):
        raise InvalidInput(f"This kind of source has no secret '{min(unknown)}'.")
    if missing := [name for name, is_optional in names.items() if not is_optional and not secrets.get(name)]:
        raise InvalidInput(f"This kind of source needs the secret '{missing[0]}'.")
    if any(len(value) > MAX_SECRET for value in secrets.values()):
        raise InvalidInput(f"A secret has at most {MAX_SECRET} characters.")
    return {name: value for name, value in secrets.items() if value}


def _checked_labels(labels: SourceLabels) -> SourceLabels:
    tags = checked_tags(labels.labels.tags)
    for rule in labels.rules:
        checked_tags((*tags, *rule.tags))
    return replace(labels, labels=replace(labels.labels, tags=tags, metadata=checked_metadata(labels.labels.metadata)))


async def _check_readers(caller: Caller, session: Session, labels: SourceLabels) -> None:
    """Raise `NotFound` unless everybody who is named is of the organisation."""
    everybody: list[NamedReaders] = [labels.labels.named, *(rule.named for rule in labels.rules if rule.named)]
    for named in everybody:
        await grants.principals_of(caller, session, users=named.users, groups=named.groups)


def _checked_name(name: str) -> str:
    name = " ".join(name.split())
    if not name or len(name) > 200:  # noqa: PLR2004 - told in the message
        raise InvalidInput("A source has a name of at most 200 characters.")
    return name


def _reaches(config: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return where a source's secrets are sent."""
    return tuple(config.get(name) for name in ("url", "endpoint", "host", "port", "security", "region"))


async def _get(session: Session, caller: Caller, source_id: UUID, *, for_update: bool = False) -> StoredSource:
    source = await store.get_source(session, caller, source_id, for_update=for_update)
    if source is None or source.is_removing:
        raise NotFound("There is no such source.")
    return source


async def _record(session: Session, caller: Caller, action: str, source_id: UUID, details: Mapping[str, Any]) -> None:
    target = audit_log.Target("source", source_id)
    await audit_log.record(session, caller, action, target, workspace_id=caller.workspace_id, details=details)
