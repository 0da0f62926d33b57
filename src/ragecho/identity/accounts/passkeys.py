"""Passkeys (WebAuthn level 2, py_webauthn): registration, sign-in without an address, and as a second factor.

Browsers know passkeys by host name, never by IP address: a server reached as http://127.0.0.1:8000 has none, one
reached as http://localhost:8000 or by its own https name does.
"""

import ipaddress
import secrets
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

import orjson

from ragecho.identity.accounts import store, store_tickets
from ragecho.identity.accounts import store_passkeys as passkeys_store
from ragecho.identity.accounts.digests import digest_of
from ragecho.identity.accounts.errors import BadCode, ExpiredInteraction
from ragecho.identity.accounts.model import (
    AMR_HARDWARE_KEY,
    AMR_MULTI,
    AMR_SOFTWARE_KEY,
    AMR_USER_PRESENT,
    Account,
    BrowserSession,
    LoggedIn,
    Passkey,
    PasskeyOptions,
)
from ragecho.identity.accounts.service import require_recent
from ragecho.identity.accounts.sign_in import TICKET_ATTEMPTS, Browser, SignIn
from ragecho.identity.accounts.text import checked_name
from ragecho.identity.accounts.tools import AccountTools
from ragecho.identity.mail.render import Mail
from ragecho.kernel.errors import Conflict, InvalidInput, NotFound
from ragecho.kernel.ids import UserId, uuid7
from ragecho.platform.database import Row, Session

CHALLENGE_SECONDS: Final = 600
CHALLENGE_BYTES: Final = 32
MAX_PASSKEYS: Final = 20
MAX_NAME: Final = 100
_TRANSPORTS = frozenset({"usb", "nfc", "ble", "smart-card", "hybrid", "internal", "cable"})
_SIGN_IN, _SECOND_FACTOR, _REGISTER = "sign_in", "second_factor", "register"


def relying_party(issuer: str) -> tuple[str, str] | None:
    """Return the relying party's id and origin for the provider's URL; None where it is reached by IP address."""
    parts = urlsplit(issuer)
    host = parts.hostname or ""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host, f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    return None


class Passkeys:
    """Passkeys of accounts."""

    def __init__(self, tools: AccountTools, sign_in: SignIn) -> None:
        self._tools = tools
        self._sign_in = sign_in
        self._party = relying_party(tools.issuer)

    @property
    def is_available(self) -> bool:
        """Return whether browsers allow passkeys at the URL of this server; the pages offer none otherwise."""
        return self._party is not None

    async def list(self, user_id: UserId) -> "list[Passkey]":
        """Return a person's passkeys, newest first."""
        async with self._tools.database.anonymous() as db:
            return await passkeys_store.list_passkeys(db, user_id)

    async def begin_registration(self, session: BrowserSession) -> PasskeyOptions:
        """Return what `navigator.credentials.create` is called with. Raises `ReauthenticationRequired` or `Conflict`."""
        from webauthn import generate_registration_options
        from webauthn.helpers import options_to_json_dict, structs

        require_recent(session)
        party_id, _ = self._required_party()
        challenge, challenge_id = secrets.token_bytes(CHALLENGE_BYTES), uuid7()
        async with self._tools.database.anonymous() as db:
            account = await self._account(db, session.user_id)
            known = await passkeys_store.credentials_of(db, account.id)
            if len(known) >= MAX_PASSKEYS:
                raise Conflict(f"An account has at most {MAX_PASSKEYS} passkeys. Remove one first.")
            await self._challenge(db, challenge_id, challenge, _REGISTER, account.id)
        options = generate_registration_options(
            rp_id=party_id,
            rp_name="Echo",
            user_id=account.id.bytes,
            user_name=account.email,
            user_display_name=account.name or account.email,
            challenge=challenge,
            timeout=CHALLENGE_SECONDS * 1000,
            exclude_credentials=_descriptors(known),
            authenticator_selection=structs.AuthenticatorSelectionCriteria(
                resident_key=structs.ResidentKeyRequirement.REQUIRED,
                require_resident_key=True,
                user_verification=structs.UserVerificationRequirement.REQUIRED,
            ),
        )
        return PasskeyOptions(challenge_id, options_to_json_dict(options))

    async def finish_registration(
        self, session: BrowserSession, challenge_id: UUID, credential: Mapping[str, Any], *, name: str | None = None
    ) -> Passkey:
        """Store the passkey that the browser made (`credential` is its answer as JSON).

        Raises `ExpiredInteraction`, `BadCode` for an answer that does not verify, or `Conflict` for a known passkey.
        """
        from webauthn import verify_registration_response
        from webauthn.helpers.exceptions import WebAuthnException
        from webauthn.helpers.structs import CredentialDeviceType

        party_id, origin = self._required_party()
        shown = _name(name)
        challenge = await self._use(challenge_id, _REGISTER, session.user_id)
        try:
            verified = verify_registration_response(
                credential=orjson.dumps(credential).decode(),
                expected_challenge=challenge,
                expected_rp_id=party_id,
                expected_origin=origin,
                require_user_verification=True,
            )
        except (WebAuthnException, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
            raise BadCode("The passkey could not be verified. Try again.") from error
        async with self._tools.database.anonymous() as db:
            account = await self._account(db, session.user_id)
            stored = await passkeys_store.insert_passkey(
                db,
                {
                    "id": uuid7(),
                    "user_id": account.id,
                    "credential_id": verified.credential_id,
                    "public_key": verified.credential_public_key,
                    "sign_count": verified.sign_count,
                    "transports": _transports(credential),
                    "is_synced": verified.credential_device_type is CredentialDeviceType.MULTI_DEVICE,
                    "aaguid": verified.aaguid,
                    "name": shown,
                },
            )
            if stored is None:
                raise Conflict("This passkey is registered already.")
            await self._tell(db, account, "passkey_added", name=shown)
        return stored

    async def begin_sign_in(self, *, ticket: str | None = None) -> PasskeyOptions:
        """Return what `navigator.credentials.get` is called with.

        Without a ticket any passkey of this server does; with the ticket of a right password, those of that account.
        Raises `ExpiredInteraction` for a ticket that has ended.
        """
        from webauthn import generate_authentication_options
        from webauthn.helpers import options_to_json_dict, structs

        party_id, _ = self._required_party()
        challenge, challenge_id = secrets.token_bytes(CHALLENGE_BYTES), uuid7()
        allowed, user_id = None, None
        async with self._tools.database.anonymous() as db:
            if ticket is not None:
                user_id = await self._user_of(db, ticket)
                allowed = _descriptors(await passkeys_store.credentials_of(db, user_id))
            await self._challenge(db, challenge_id, challenge, _SECOND_FACTOR if ticket else _SIGN_IN, user_id)
        required, preferred = (
            structs.UserVerificationRequirement.REQUIRED,
            structs.UserVerificationRequirement.PREFERRED,
        )
        options = generate_authentication_options(
            rp_id=party_id,
            challenge=challenge,
            timeout=CHALLENGE_SECONDS * 1000,
            allow_credentials=allowed,
            user_verification=preferred if ticket else required,
        )
        return PasskeyOptions(challenge_id, options_to_json_dict(options))

    async def finish_sign_in(
        self, challenge_id: UUID, credential: Mapping[str, Any], *, browser: Browser, ticket: str | None = None
    ) -> LoggedIn:
        """Sign in by the browser's answer (as JSON); with a ticket, as the second factor after its password.

        Raises `BadCode` for an unknown passkey or an answer that does not verify, `ExpiredInteraction`,
        `AccountSuspended`.
        """
        purpose = _SECOND_FACTOR if ticket else _SIGN_IN
        user_id = None
        if ticket is not None:
            async with self._tools.database.anonymous() as db:
                tried = await store_tickets.try_ticket(db, digest_of(ticket), max_attempts=TICKET_ATTEMPTS)
                if tried is None:
                    raise ExpiredInteraction("This sign-in took too long. Start again.")
                user_id = UserId(tried["user_id"])
        challenge = await self._use(challenge_id, purpose, user_id)
        async with self._tools.database.anonymous() as db:
            known = await passkeys_store.lock_credential(db, _credential_id(credential))
            if known is None or (user_id is not None and known["user_id"] != user_id):
                raise BadCode("This passkey is not known here. It may have been removed.")
            amr = await self._verify(db, known, challenge, credential, is_second_factor=ticket is not None)
            if ticket is not None:
                found = await store_tickets.find_ticket(db, digest_of(ticket), max_attempts=TICKET_ATTEMPTS + 1)
                if found is None or not await store_tickets.use_ticket(db, digest_of(ticket)):
                    raise ExpiredInteraction("This sign-in took too long. Start again.")
                amr = (*found["amr"], *amr)
            return await self._sign_in.enter(db, UserId(known["user_id"]), amr, browser=browser)

    async def rename(self, user_id: UserId, passkey_id: UUID, name: str) -> None:
        """Rename a passkey. Raises `NotFound` or `InvalidInput`."""
        async with self._tools.database.anonymous() as db:
            if not await passkeys_store.rename(db, user_id, passkey_id, _name(name)):
                raise NotFound("There is no such passkey.")

    async def remove(self, session: BrowserSession, passkey_id: UUID) -> None:
        """Remove a passkey. Raises `ReauthenticationRequired`, `NotFound`, or `Conflict` when nothing else would be left."""
        require_recent(session)
        async with self._tools.database.anonymous() as db:
            account = await store.lock_account(db, session.user_id)
            if account is None or not await passkeys_store.delete(db, session.user_id, passkey_id):
                raise NotFound("There is no such passkey.")
            left = await store.factors_of(db, account.id)
            if not left.has_password and not left.passkeys and not await store.has_upstream(db, account.id):
                raise Conflict("This passkey is the only way into your account. Set a password first.")
            await store.drop_useless_recovery_codes(db, account.id)
            await self._tell(db, account, "passkey_removed")

    async def _verify(
        self, db: Session, known: Row, challenge: bytes, credential: Mapping[str, Any], *, is_second_factor: bool
    ) -> tuple[str, ...]:
        from webauthn import base64url_to_bytes, verify_authentication_response
        from webauthn.helpers.exceptions import WebAuthnException
        from webauthn.helpers.structs import CredentialDeviceType

        party_id, origin = self._required_party()
        try:
            verified = verify_authentication_response(
                credential=orjson.dumps(credential).decode(),
                expected_challenge=challenge,
                expected_rp_id=party_id,
                expected_origin=origin,
                credential_public_key=bytes(known["public_key"]),
                credential_current_sign_count=known["sign_count"],
                require_user_verification=not is_second_factor,
            )
            handle = credential["response"].get("userHandle")
            is_theirs = base64url_to_bytes(handle) == known["user_id"].bytes if handle else is_second_factor
        except (WebAuthnException, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
            raise BadCode("The passkey could not be verified. Try again.") from error
        if not is_theirs:
            raise BadCode("The passkey could not be verified. Try again.")
        is_synced = verified.credential_device_type is CredentialDeviceType.MULTI_DEVICE
        await passkeys_store.note_use(db, known["id"], sign_count=verified.new_sign_count, is_synced=is_synced)
        return AMR_SOFTWARE_KEY if is_synced else AMR_HARDWARE_KEY, AMR_USER_PRESENT, AMR_MULTI

    async def _challenge(
        self, db: Session, challenge_id: UUID, challenge: bytes, purpose: str, user_id: UserId | None
    ) -> None:
        await passkeys_store.insert_challenge(
            db, challenge_id, challenge=challenge, purpose=purpose, user_id=user_id, seconds=CHALLENGE_SECONDS
        )

    async def _use(self, challenge_id: UUID, purpose: str, user_id: UserId | None) -> bytes:
        """Return the challenge, which is used up whatever the answer to it is worth."""
        async with self._tools.database.anonymous() as db:
            row = await passkeys_store.use_challenge(db, challenge_id, purpose=purpose)
        if row is None or row["user_id"] != user_id:
            raise ExpiredInteraction("This took too long. Try again.")
        return bytes(row["challenge"])

    async def _user_of(self, db: Session, ticket: str) -> UserId:
        row = await store_tickets.find_ticket(db, digest_of(ticket), max_attempts=TICKET_ATTEMPTS)
        if row is None:
            raise ExpiredInteraction("This sign-in took too long. Start again.")
        return UserId(row["user_id"])

    async def _account(self, db: Session, user_id: UserId) -> Account:
        account = await store.find_account(db, user_id)
        if account is None:
            raise NotFound("There is no such account.")
        return account

    async def _tell(self, db: Session, account: Account, what: str, *, name: str | None = None) -> None:
        link = f"{self._tools.issuer}/account/security"
        await self._tools.outbox.put(
            db, Mail.SIGN_IN_CHANGED, to=account.email, language=account.locale, link=link, what=what, name=name
        )

    def _required_party(self) -> tuple[str, str]:
        if self._party is None:
            raise InvalidInput("Browsers allow passkeys only where the server has a name: set RAGECHO_PUBLIC_URL.")
        return self._party


def _descriptors(rows: Any) -> Any:
    from webauthn.helpers import structs

    return [
        structs.PublicKeyCredentialDescriptor(
            id=bytes(row["credential_id"]),
            transports=[structs.AuthenticatorTransport(name) for name in row["transports"]] or None,
        )
        for row in rows
    ]


def _transports(credential: Mapping[str, Any]) -> "list[str]":
    given = credential.get("response", {}).get("transports")
    return (
        sorted(_TRANSPORTS.intersection(name for name in given if isinstance(name, str)))
        if isinstance(given, list)
        else []
    )


def _credential_id(credential: Mapping[str, Any]) -> bytes:
    from webauthn import base64url_to_bytes

    try:
        return base64url_to_bytes(credential["rawId"])
    except (KeyError, TypeError, ValueError, AttributeError):
        return b""


def _name(name: str | None) -> str:
    shown = checked_name(name) or "Passkey"
    if len(shown) > MAX_NAME:
        raise InvalidInput(f"A passkey's name has at most {MAX_NAME} characters.")
    return shown
