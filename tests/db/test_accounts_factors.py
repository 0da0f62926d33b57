import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import pyotp
import pytest
from sqlalchemy import text
from tests.db.accounts_driver import PASSWORD, browser, identity_database, make_account, services, signed_in, subjects
from tests.db.soft_authenticator import SoftAuthenticator

from ragecho.identity.accounts import sessions, totp
from ragecho.identity.accounts.build import AccountServices
from ragecho.identity.accounts.errors import AccountSuspended, BadCode, ExpiredInteraction, TooManyAttempts
from ragecho.identity.accounts.model import ACR_MULTI, LoggedIn, Method, NeedsSecondFactor, Passkey
from ragecho.kernel.errors import Conflict, InvalidInput, NotFound
from ragecho.kernel.ids import UserId, uuid7

pytestmark = pytest.mark.anyio
ORIGIN = "http://localhost:8000"


@pytest.fixture
async def accounts(owner_url: str, anyio_backend: str) -> AsyncIterator[AccountServices]:
    database = identity_database(owner_url)
    yield services(database, issuer=f"{ORIGIN}/identity")
    await database.close()


def code_of(secret: str, *, ahead: int = 0) -> str:
    return pyotp.TOTP(secret).generate_otp(int(time.time() // 30) + ahead)


async def with_totp(accounts: AccountServices) -> tuple[UserId, str, str, tuple[str, ...]]:
    """An account with an authenticator; its next unused code is that of the next time step."""
    user_id, email = await make_account(accounts)
    entered = await signed_in(accounts, email)
    setup = await accounts.factors.begin_totp(entered.session)
    codes = await accounts.factors.confirm_totp(entered.session, code_of(setup.secret), browser=browser())
    return user_id, email, setup.secret, codes


async def asked(accounts: AccountServices, email: str, **where: Any) -> NeedsSecondFactor:
    needed = await accounts.sign_in.login(email, PASSWORD, browser=browser(**where))
    assert isinstance(needed, NeedsSecondFactor)
    return needed


async def with_passkey(
    accounts: AccountServices, **kind: Any
) -> tuple[UserId, str, SoftAuthenticator, Passkey, LoggedIn]:
    user_id, email = await make_account(accounts)
    entered = await signed_in(accounts, email)
    device = SoftAuthenticator(ORIGIN, **kind)
    offer = await accounts.passkeys.begin_registration(entered.session)
    stored = await accounts.passkeys.finish_registration(
        entered.session, offer.challenge_id, device.create(offer.options), name="Laptop"
    )
    return user_id, email, device, stored, entered


async def outcomes_of(work: Callable[[], Awaitable[Any]], *, times: int = 8) -> list[Any]:
    return await asyncio.gather(*(work() for _ in range(times)), return_exceptions=True)


# Authenticator apps


async def test_an_authenticator_counts_only_once_confirmed(accounts: AccountServices) -> None:
    _, email = await make_account(accounts)
    entered = await signed_in(accounts, email)
    setup = await accounts.factors.begin_totp(entered.session)
    assert "issuer=Echo" in setup.uri
    assert await accounts.factors.pending_totp(entered.session) == setup
    await signed_in(accounts, email)
    with pytest.raises(BadCode):
        await accounts.factors.confirm_totp(entered.session, "000000", browser=browser())
    codes = await accounts.factors.confirm_totp(entered.session, code_of(setup.secret), browser=browser())
    assert len(codes) == 10
    assert await accounts.factors.pending_totp(entered.session) is None
    assert (await asked(accounts, email)).methods == (Method.TOTP, Method.RECOVERY)
    with pytest.raises(Conflict):
        await accounts.factors.begin_totp(entered.session)
    assert (await subjects(accounts, email))[0] == "How you sign in has changed"


async def test_password_and_code_give_a_session_of_the_second_level(accounts: AccountServices) -> None:
    user_id, email, secret, _ = await with_totp(accounts)
    needed = await asked(accounts, email)
    entered = await accounts.sign_in.finish_with_code(needed.ticket, code_of(secret, ahead=1), browser=browser())
    assert entered.session.user_id == user_id
    assert (entered.session.amr, entered.session.acr) == (("pwd", "otp", "mfa"), ACR_MULTI)
    with pytest.raises(ExpiredInteraction):
        await accounts.sign_in.finish_with_code(needed.ticket, code_of(secret, ahead=1), browser=browser())


async def test_a_code_works_once_also_for_another_sign_in(accounts: AccountServices) -> None:
    _, email, secret, _ = await with_totp(accounts)
    code = code_of(secret, ahead=1)
    await accounts.sign_in.finish_with_code((await asked(accounts, email)).ticket, code, browser=browser())
    needed = await asked(accounts, email)
    for used in (code, code_of(secret)):
        with pytest.raises(BadCode):
            await accounts.sign_in.finish_with_code(needed.ticket, used, browser=browser())


async def test_eight_uses_of_one_code_at_once_give_one_session(accounts: AccountServices) -> None:
    _, email, secret, _ = await with_totp(accounts)
    code = code_of(secret, ahead=1)
    tickets = [(await asked(accounts, email)).ticket for _ in range(8)]
    outcomes = await asyncio.gather(
        *(accounts.sign_in.finish_with_code(ticket, code, browser=browser()) for ticket in tickets),
        return_exceptions=True,
    )
    assert sum(isinstance(outcome, LoggedIn) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, BadCode) for outcome in outcomes) == 7


async def test_a_ticket_allows_few_tries(accounts: AccountServices) -> None:
    _, email, secret, _ = await with_totp(accounts)
    needed = await asked(accounts, email)
    for _ in range(6):
        with pytest.raises(BadCode):
            await accounts.sign_in.finish_with_code(needed.ticket, "000000", browser=browser())
    with pytest.raises(ExpiredInteraction):
        await accounts.sign_in.finish_with_code(needed.ticket, code_of(secret, ahead=1), browser=browser())


async def test_who_knows_the_password_cannot_guess_codes_from_many_addresses(accounts: AccountServices) -> None:
    _, email, secret, _ = await with_totp(accounts)
    known = await accounts.sign_in.finish_with_code(
        (await asked(accounts, email)).ticket, code_of(secret, ahead=1), browser=browser()
    )
    with pytest.raises(TooManyAttempts):
        for _ in range(5):
            needed = await asked(accounts, email)
            for _ in range(6):
                with pytest.raises(BadCode):
                    await accounts.sign_in.finish_with_code(needed.ticket, "000000", browser=browser())
    # The owner's own browser is counted for itself.
    own = browser(device_secret=known.device_secret)
    needed_here = await accounts.sign_in.login(email, PASSWORD, browser=own)
    assert isinstance(needed_here, NeedsSecondFactor)
    with pytest.raises(BadCode):
        await accounts.sign_in.finish_with_code(needed_here.ticket, "000000", browser=own)


async def test_suspension_ends_a_sign_in_that_waits_for_its_code(accounts: AccountServices) -> None:
    user_id, email, secret, _ = await with_totp(accounts)
    needed = await asked(accounts, email)
    await accounts.accounts.suspend(user_id)
    with pytest.raises(ExpiredInteraction):
        await accounts.sign_in.finish_with_code(needed.ticket, code_of(secret, ahead=1), browser=browser())


async def test_a_password_reset_does_not_go_around_the_second_factor(accounts: AccountServices) -> None:
    from tests.db.accounts_driver import mailed_token

    _, email, secret, _ = await with_totp(accounts)
    await accounts.accounts.request_password_reset(email, browser=browser())
    token = await mailed_token(accounts, email)
    needed = await accounts.accounts.reset_password(token, "seven swans a-swimming", browser=browser())
    assert isinstance(needed, NeedsSecondFactor)
    entered = await accounts.sign_in.finish_with_code(needed.ticket, code_of(secret, ahead=1), browser=browser())
    assert entered.session.acr == ACR_MULTI


async def test_without_its_authenticator_an_account_needs_its_password_alone(accounts: AccountServices) -> None:
    user_id, email, secret, _ = await with_totp(accounts)
    needed = await asked(accounts, email)
    entered = await accounts.sign_in.finish_with_code(needed.ticket, code_of(secret, ahead=1), browser=browser())
    await accounts.factors.remove_totp(entered.session)
    await signed_in(accounts, email)
    factors = await accounts.accounts.factors(user_id)
    assert (factors.has_totp, factors.recovery_codes_left) == (False, 0)
    with pytest.raises(NotFound):
        await accounts.factors.remove_totp(entered.session)


async def test_the_seed_is_sealed(accounts: AccountServices) -> None:
    user_id, _, secret, _ = await with_totp(accounts)
    async with accounts.tools.database.anonymous() as db:
        sealed = await db.execute(text("select secret_sealed from identity_totp where user_id = :id"), {"id": user_id})
        stored = sealed.scalar_one()
        assert secret not in stored
        assert accounts.tools.vault.decrypt(stored, purpose=totp.PURPOSE).decode() == secret


# Recovery codes


async def test_each_recovery_code_works_once(accounts: AccountServices) -> None:
    user_id, email, _, codes = await with_totp(accounts)
    entered = await accounts.sign_in.finish_with_code(
        (await asked(accounts, email)).ticket, codes[3].upper().replace("-", " "), browser=browser()
    )
    assert entered.session.acr == ACR_MULTI
    assert (await accounts.accounts.factors(user_id)).recovery_codes_left == 9
    with pytest.raises(BadCode):
        await accounts.sign_in.finish_with_code((await asked(accounts, email)).ticket, codes[3], browser=browser())


async def test_eight_uses_of_one_recovery_code_at_once_give_one_session(accounts: AccountServices) -> None:
    _, email, _, codes = await with_totp(accounts)
    tickets = [(await asked(accounts, email)).ticket for _ in range(8)]
    outcomes = await asyncio.gather(
        *(accounts.sign_in.finish_with_code(ticket, codes[0], browser=browser()) for ticket in tickets),
        return_exceptions=True,
    )
    assert sum(isinstance(outcome, LoggedIn) for outcome in outcomes) == 1


async def test_new_recovery_codes_end_the_old_ones(accounts: AccountServices) -> None:
    user_id, email, secret, codes = await with_totp(accounts)
    entered = await accounts.sign_in.finish_with_code(
        (await asked(accounts, email)).ticket, code_of(secret, ahead=1), browser=browser()
    )
    fresh = await accounts.factors.new_recovery_codes(entered.session)
    assert not set(fresh) & set(codes)
    with pytest.raises(BadCode):
        await accounts.sign_in.finish_with_code((await asked(accounts, email)).ticket, codes[0], browser=browser())
    await outcomes_of(lambda: accounts.factors.new_recovery_codes(entered.session))
    assert (await accounts.accounts.factors(user_id)).recovery_codes_left == 10


async def test_recovery_codes_need_something_to_recover(accounts: AccountServices) -> None:
    _, email = await make_account(accounts)
    entered = await signed_in(accounts, email)
    with pytest.raises(Conflict):
        await accounts.factors.new_recovery_codes(entered.session)


# Passkeys


@pytest.mark.parametrize(("is_synced", "amr"), [(False, ("hwk", "user", "mfa")), (True, ("swk", "user", "mfa"))])
async def test_a_passkey_signs_in_without_an_address(
    accounts: AccountServices, is_synced: bool, amr: tuple[str, ...]
) -> None:
    user_id, _, device, stored, _ = await with_passkey(accounts, is_synced=is_synced)
    assert (stored.name, stored.is_synced) == ("Laptop", is_synced)
    for _ in range(2):
        offer = await accounts.passkeys.begin_sign_in()
        assert offer.options["allowCredentials"] == []
        entered = await accounts.passkeys.finish_sign_in(
            offer.challenge_id, device.get(offer.options), browser=browser()
        )
        assert entered.session.user_id == user_id
        assert (entered.session.amr, entered.session.acr) == (amr, ACR_MULTI)
    (listed,) = await accounts.passkeys.list(user_id)
    assert listed.last_used_at is not None


async def test_a_passkey_is_the_second_factor_of_its_own_account(accounts: AccountServices) -> None:
    user_id, email, device, _, _ = await with_passkey(accounts, verifies_user=True)
    needed = await asked(accounts, email)
    assert needed.methods == (Method.PASSKEY,)
    offer = await accounts.passkeys.begin_sign_in(ticket=needed.ticket)
    assert len(offer.options["allowCredentials"]) == 1
    device.verifies_user = False
    entered = await accounts.passkeys.finish_sign_in(
        offer.challenge_id, device.get(offer.options), browser=browser(), ticket=needed.ticket
    )
    assert entered.session.user_id == user_id
    assert (entered.session.amr, entered.session.acr) == (("pwd", "hwk", "user", "mfa"), ACR_MULTI)


async def test_somebody_elses_passkey_is_no_second_factor(accounts: AccountServices) -> None:
    _, email, _, _, _ = await with_passkey(accounts)
    _, _, other, _, _ = await with_passkey(accounts)
    needed = await asked(accounts, email)
    offer = await accounts.passkeys.begin_sign_in(ticket=needed.ticket)
    with pytest.raises(BadCode):
        await accounts.passkeys.finish_sign_in(
            offer.challenge_id, other.get(offer.options), browser=browser(), ticket=needed.ticket
        )


async def test_a_challenge_is_answered_once_and_only_for_its_purpose(accounts: AccountServices) -> None:
    _, email, device, _, entered = await with_passkey(accounts)
    offer = await accounts.passkeys.begin_sign_in()
    outcomes = await outcomes_of(
        lambda: accounts.passkeys.finish_sign_in(offer.challenge_id, device.get(offer.options), browser=browser())
    )
    assert sum(isinstance(outcome, LoggedIn) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, ExpiredInteraction) for outcome in outcomes) == 7
    needed = await asked(accounts, email)
    other = await accounts.passkeys.begin_sign_in(ticket=needed.ticket)
    registration = await accounts.passkeys.begin_registration(entered.session)
    for challenge_id in (other.challenge_id, registration.challenge_id, uuid7()):
        with pytest.raises(ExpiredInteraction):
            await accounts.passkeys.finish_sign_in(challenge_id, device.get(other.options), browser=browser())


@pytest.mark.parametrize("origin", ["https://localhost:8000", "http://localhost:9000", "http://evil.example"])
async def test_an_answer_from_another_origin_counts_for_nothing(accounts: AccountServices, origin: str) -> None:
    _, _, device, _, entered = await with_passkey(accounts)
    offer = await accounts.passkeys.begin_sign_in()
    with pytest.raises(BadCode):
        await accounts.passkeys.finish_sign_in(
            offer.challenge_id, device.get(offer.options, origin=origin), browser=browser()
        )
    registration = await accounts.passkeys.begin_registration(entered.session)
    with pytest.raises(BadCode):
        await accounts.passkeys.finish_registration(
            entered.session, registration.challenge_id, SoftAuthenticator(origin).create(registration.options)
        )


async def test_a_copied_authenticator_is_told_by_its_counter(accounts: AccountServices) -> None:
    _, _, device, _, _ = await with_passkey(accounts)
    offer = await accounts.passkeys.begin_sign_in()
    await accounts.passkeys.finish_sign_in(offer.challenge_id, device.get(offer.options), browser=browser())
    again = await accounts.passkeys.begin_sign_in()
    with pytest.raises(BadCode):
        await accounts.passkeys.finish_sign_in(
            again.challenge_id, device.get(again.options, counts=False), browser=browser()
        )


async def test_signing_in_without_an_address_needs_the_person_not_just_a_touch(accounts: AccountServices) -> None:
    _, _, device, _, _ = await with_passkey(accounts)
    device.verifies_user = False
    offer = await accounts.passkeys.begin_sign_in()
    with pytest.raises(BadCode):
        await accounts.passkeys.finish_sign_in(offer.challenge_id, device.get(offer.options), browser=browser())


async def test_a_changed_user_handle_is_refused(accounts: AccountServices) -> None:
    victim, _, _, _, _ = await with_passkey(accounts)
    _, _, device, _, _ = await with_passkey(accounts)
    device.user_handle = victim.bytes
    offer = await accounts.passkeys.begin_sign_in()
    with pytest.raises(BadCode):
        await accounts.passkeys.finish_sign_in(offer.challenge_id, device.get(offer.options), browser=browser())


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"rawId": 5},
        {"rawId": "x", "response": {}},
        {"id": "eA", "rawId": "eA", "type": "public-key", "response": None},
        {
            "id": "eA",
            "rawId": "eA",
            "type": "public-key",
            "response": {"clientDataJSON": "!", "attestationObject": "!"},
        },
        {"rawId": "\ud800"},
        {"rawId": "x" * 10_000},
    ],
)
async def test_answers_that_make_no_sense_are_refused(accounts: AccountServices, answer: dict[str, Any]) -> None:
    _, _, _, _, entered = await with_passkey(accounts)
    offer = await accounts.passkeys.begin_sign_in()
    with pytest.raises(BadCode):
        await accounts.passkeys.finish_sign_in(offer.challenge_id, answer, browser=browser())
    registration = await accounts.passkeys.begin_registration(entered.session)
    with pytest.raises(BadCode):
        await accounts.passkeys.finish_registration(entered.session, registration.challenge_id, answer)


async def test_a_known_answer_with_broken_parts_is_refused(accounts: AccountServices) -> None:
    _, _, device, _, _ = await with_passkey(accounts)
    for part in ("clientDataJSON", "authenticatorData", "signature"):
        for value in (None, "", "AAAA", 7, "!!"):
            offer = await accounts.passkeys.begin_sign_in()
            answer = device.get(offer.options)
            answer["response"][part] = value
            with pytest.raises(BadCode):
                await accounts.passkeys.finish_sign_in(offer.challenge_id, answer, browser=browser())


async def test_passkeys_are_renamed_and_removed_by_their_owner(accounts: AccountServices) -> None:
    user_id, email, device, stored, entered = await with_passkey(accounts)
    stranger, _, _, _, foreign = await with_passkey(accounts)
    with pytest.raises(NotFound):
        await accounts.passkeys.rename(stranger, stored.id, "Mine")
    with pytest.raises(NotFound):
        await accounts.passkeys.remove(foreign.session, stored.id)
    await accounts.passkeys.rename(user_id, stored.id, "Phone")
    assert [key.name for key in await accounts.passkeys.list(user_id)] == ["Phone"]
    await accounts.passkeys.remove(entered.session, stored.id)
    await signed_in(accounts, email)
    offer = await accounts.passkeys.begin_sign_in()
    with pytest.raises(BadCode):
        await accounts.passkeys.finish_sign_in(offer.challenge_id, device.get(offer.options), browser=browser())


async def test_the_only_way_in_is_not_removed(accounts: AccountServices) -> None:
    user_id, _, _, stored, entered = await with_passkey(accounts)
    async with accounts.tools.database.anonymous() as db:
        await db.execute(text("delete from identity_passwords where user_id = :id"), {"id": user_id})
    with pytest.raises(Conflict):
        await accounts.passkeys.remove(entered.session, stored.id)
    assert len(await accounts.passkeys.list(user_id)) == 1


async def test_a_credential_is_registered_once(accounts: AccountServices) -> None:
    _, _, device, _, entered = await with_passkey(accounts)
    offer = await accounts.passkeys.begin_registration(entered.session)
    assert len(offer.options["excludeCredentials"]) == 1
    with pytest.raises(Conflict):
        await accounts.passkeys.finish_registration(entered.session, offer.challenge_id, device.create(offer.options))


async def test_a_suspended_persons_passkey_does_not_sign_in(accounts: AccountServices) -> None:
    user_id, _, device, _, _ = await with_passkey(accounts)
    await accounts.accounts.suspend(user_id)
    offer = await accounts.passkeys.begin_sign_in()
    with pytest.raises(AccountSuspended):
        await accounts.passkeys.finish_sign_in(offer.challenge_id, device.get(offer.options), browser=browser())


async def test_a_passkey_renews_the_session_of_its_browser(accounts: AccountServices) -> None:
    _, _, device, _, entered = await with_passkey(accounts)
    offer = await accounts.passkeys.begin_sign_in()
    renewed = await accounts.passkeys.finish_sign_in(
        offer.challenge_id, device.get(offer.options), browser=replace(browser(), session=entered.session)
    )
    assert renewed.session.id == entered.session.id
    async with accounts.tools.database.anonymous() as db:
        assert await sessions.current_session(db, entered.secret) is None


async def test_a_server_without_a_name_offers_no_passkeys(owner_url: str) -> None:
    database = identity_database(owner_url)
    accounts = services(database)
    assert not accounts.passkeys.is_available
    with pytest.raises(InvalidInput):
        await accounts.passkeys.begin_sign_in()
    await database.close()
