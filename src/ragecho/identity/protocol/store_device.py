"""SQL of the device authorization grant. Every decision is one conditional update."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import RowMapping, text

from ragecho.identity.protocol import store_grants
from ragecho.identity.protocol.model import BrowserSession, DeviceRequest
from ragecho.kernel.ids import uuid7
from ragecho.platform.database import Session


async def insert(
    db: Session,
    *,
    device_code_sha256: bytes,
    user_code: str,
    client_id: str,
    scopes: Sequence[str],
    resources: Sequence[str] = (),
    seconds: int,
    interval_seconds: int,
) -> bool:
    """Store a device's request; False where the user code is taken."""
    made = await db.execute(
        text(
            "insert into identity_device_codes (device_code_sha256, user_code, client_id, scopes, resources,"
            " interval_seconds, expires_at) values (:device, :user_code, :client, :scopes, :resources, :interval, now() + make_interval(secs => :seconds))"
            " on conflict (user_code) do nothing"
        ),
        {
            "device": device_code_sha256,
            "user_code": user_code,
            "client": client_id,
            "scopes": list(scopes),
            "resources": list(resources),
            "interval": interval_seconds,
            "seconds": seconds,
        },
    )
    return bool(made.rowcount)


async def find_pending(db: Session, user_code: str) -> DeviceRequest | None:
    """Return what waits under the code."""
    found = await db.execute(
        text(
            "select d.user_code, d.client_id, d.scopes, d.resources, d.expires_at, c.name, c.kind from identity_device_codes d"
            " join identity_clients c on c.id = d.client_id"
            " where d.user_code = :code and d.status = 'pending' and d.expires_at > now() and c.disabled_at is null"
        ),
        {"code": user_code},
    )
    row = found.mappings().first()
    if row is None:
        return None
    return DeviceRequest(
        user_code=row["user_code"],
        client_id=row["client_id"],
        client_name=row["name"],
        is_first_party=row["kind"] == "first_party",
        scopes=tuple(row["scopes"]),
        resources=tuple(row["resources"]),
        expires_at=row["expires_at"],
    )


async def approve(db: Session, user_code: str, *, session: BrowserSession) -> bool:
    """Give the device a grant of its own, apart from the browser's session; False where the code does not wait."""
    grant_id = uuid7()
    waiting = await find_pending(db, user_code)
    if waiting is None:
        return False
    await store_grants.insert_grant(
        db,
        grant_id,
        client_id=waiting.client_id,
        user_id=session.user_id,
        session_id=None,
        scopes=waiting.scopes,
        resources=waiting.resources,
        auth_time=session.authenticated_at,
        acr=session.acr,
        amr=session.amr,
        claims=None,
    )
    done = await db.execute(
        text(
            "update identity_device_codes set status = 'approved', grant_id = :grant"
            " where user_code = :code and status = 'pending' and expires_at > now()"
        ),
        {"grant": grant_id, "code": user_code},
    )
    if not done.rowcount:
        await store_grants.delete_grant(db, grant_id)
    return bool(done.rowcount)


async def deny(db: Session, user_code: str) -> bool:
    """Refuse; False where the code does not wait."""
    done = await db.execute(
        text(
            "update identity_device_codes set status = 'denied'"
            " where user_code = :code and status = 'pending' and expires_at > now()"
        ),
        {"code": user_code},
    )
    return bool(done.rowcount)


async def poll(db: Session, device_code_sha256: bytes) -> RowMapping | None:
    """Return the request, and note the time of asking. `is_too_fast` compares with the time before."""
    # The old row is locked first, so that parallel polls count one after the other.
    found = await db.execute(
        text(
            "with old as (select * from identity_device_codes where device_code_sha256 = :device for update)"
            " update identity_device_codes d set last_polled_at = now(),"
            " interval_seconds = least(60, d.interval_seconds"
            "   + case when now() < old.last_polled_at + make_interval(secs => old.interval_seconds) then 5 else 0 end)"
            " from old where d.device_code_sha256 = old.device_code_sha256"
            " returning d.client_id, d.user_code, d.scopes, d.resources, d.grant_id, d.status, d.expires_at <= now() as is_expired,"
            " coalesce(now() < old.last_polled_at + make_interval(secs => old.interval_seconds), false) as is_too_fast"
        ),
        {"device": device_code_sha256},
    )
    return found.mappings().first()


async def take(db: Session, device_code_sha256: bytes) -> UUID | None:
    """Use an approved code; None where another request was faster."""
    found = await db.execute(
        text(
            "update identity_device_codes set status = 'used' where device_code_sha256 = :device and status = 'approved'"
            " returning grant_id"
        ),
        {"device": device_code_sha256},
    )
    return found.scalar_one_or_none()
