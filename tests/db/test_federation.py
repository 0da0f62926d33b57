"""Signing in with a real upstream provider, and with one that cheats."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import httpx
import pytest
from joserfc.jwk import ECKey, RSAKey
from sqlalchemy import text
from tests.db.accounts_driver import ISSUER, VAULT
from tests.db.conftest import Tenant
from tests.db.people import add_person
from tests.db.upstream_provider import CLIENT_ID, CLIENT_SECRET, Upstream, answer_of, running

from ragecho.identity.accounts.sessions import start_session
from ragecho.identity.federation import store_sign_ins
from ragecho.identity.federation.build import FederationServices, build_federation
from ragecho.identity.federation.errors import Fault, FederationFailed
from ragecho.identity.federation.model import Connected, Destination, MustSignInFirst, SignedIn, WorkspaceGrant
from ragecho.identity.federation.sign_in import Answer, disconnect, list_connections, login_buttons, route_email
from ragecho.kernel.authorization import WorkspaceRole
from ragecho.kernel.errors import Conflict, Forbidden, InvalidInput, NotFound
from ragecho.kernel.ids import UserId
from ragecho.platform.database import IDENTITY_ROLE, Database
from ragecho.platform.settings import Settings

pytestmark = pytest.mark.anyio

BROWSER = "b" * 43
OTHER_BROWSER = "o" * 43


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with running(Upstream()) as found:
        found.person()
        yield found


@pytest.fixture
async def identity(owner_url: str, anyio_backend: str) -> AsyncIterator[Database]:
    database = Database(owner_url, role=IDENTITY_ROLE, pool_size=5)
    yield database
    await database.close()


@dataclass
class Sso:
    """An organisation with a provider."""

    services: FederationServices
    identity: Database
    tenant: Tenant
    provider_id: UUID
    domain: str

    async def go(self, browser: str = BROWSER, **options: Any) -> dict[str, str]:
        """Go to the provider and return what the browser brings back."""
        url = await self.services.sign_in.start(
            self.provider_id, browser_secret=browser, destination=Destination(), **options
        )
        async with httpx.AsyncClient() as client:
            answer = await client.get(url)
        assert answer.status_code == 302, answer.text
        return answer_of(answer.headers["location"])

    async def come_back(
        self,
        parameters: dict[str, str],
        browser: str | None = BROWSER,
        *,
        provider_id: UUID | None = None,
        user: UserId | None = None,
    ) -> SignedIn | MustSignInFirst | Connected:
        answer = Answer(
            provider_id or self.provider_id,
            browser,
            state=parameters.get("state"),
            code=parameters.get("code"),
            error=parameters.get("error"),
            issuer=parameters.get("iss"),
        )
        return await self.services.sign_in.finish(answer, signed_in_user_id=user)

    async def sign_in(self) -> SignedIn:
        found = await self.come_back(await self.go())
        assert isinstance(found, SignedIn)
        return found

    async def fault(self) -> Fault:
        with pytest.raises(FederationFailed) as caught:
            await self.come_back(await self.go())
        return caught.value.fault

    async def change(self, **values: Any) -> None:
        await self.services.administration.update(
            self.tenant.member(), self.provider_id, values=values, client_secret=None, is_operator=True
        )

    async def rows(self, statement: str, **parameters: Any) -> list[Any]:
        async with self.identity.anonymous() as db:
            return list((await db.execute(text(statement), parameters)).all())

    async def membership(self, user_id: UserId) -> list[str]:
        rows = await self.rows(
            "select role from organization_members where organization_id = :o and user_id = :u",
            o=self.tenant.organization_id,
            u=user_id,
        )
        return [row.role for row in rows]


async def set_up(identity: Database, tenant: Tenant, upstream: Upstream, **values: Any) -> Sso:
    services = build_federation(Settings(allow_private_addresses=True), identity, VAULT, issuer=ISSUER)
    caller = tenant.member()
    domain = f"corp-{str(tenant.organization_id)[-12:]}.example"
    made = await services.administration.create(
        caller,
        preset="oidc",
        values={
            "name": "Corp",
            "issuer": upstream.issuer,
            "client_id": CLIENT_ID,
            "routed_domains": (domain,),
            **values,
        },
        client_secret=CLIENT_SECRET,
        is_operator=True,
    )
    await services.administration.vouch_for_domain(caller, domain)
    upstream.redirect_uris = {made.redirect_uri}
    upstream.person(email=f"ada@{domain}")
    return Sso(services, identity, tenant, made.provider.id, domain)


@pytest.fixture
async def sso(identity: Database, tenant: Tenant, upstream: Upstream) -> Sso:
    return await set_up(identity, tenant, upstream)


async def test_a_new_person_of_a_verified_domain_gets_an_account_and_becomes_a_member(sso: Sso) -> None:
    found = await sso.sign_in()
    (user,) = await sso.rows("select * from users where id = :id", id=found.user_id)
    assert user.email == f"ada@{sso.domain}"
    assert user.name == "Ada"
    assert user.email_verified_at is not None
    assert user.managed_by_organization_id == sso.tenant.organization_id
    assert await sso.membership(found.user_id) == ["member"]


async def test_the_same_person_comes_back_to_the_same_account_whatever_the_address_is_now(
    sso: Sso, upstream: Upstream
) -> None:
    first = await sso.sign_in()
    upstream.person(email=f"ada.lovelace@{sso.domain}")
    second = await sso.sign_in()
    upstream.userinfo = {"sub": "ada"}
    third = await sso.sign_in()
    assert first.user_id == second.user_id == third.user_id
    (user,) = await sso.rows("select email from users where id = :id", id=first.user_id)
    assert user.email == f"ada@{sso.domain}"


async def test_the_request_carries_state_nonce_and_pkce_and_its_own_redirect_uri(sso: Sso, upstream: Upstream) -> None:
    await sso.go(login_hint="ada@corp.example", is_fresh=True)
    (asked,) = upstream.requests
    assert asked["code_challenge_method"] == "S256"
    assert len(asked["code_challenge"]) == len(asked["nonce"]) == 43
    assert asked["redirect_uri"] == f"{ISSUER}/federation/{sso.provider_id}/callback"
    assert asked["scope"].split()[0] == "openid"
    assert asked["prompt"] == "login"
    assert asked["login_hint"] == "ada@corp.example"
    # Nothing of it can be read in the database.
    (row,) = await sso.rows("select * from federation_sign_ins where provider_id = :id", id=sso.provider_id)
    stored = repr(row)
    assert not any(asked[name] in stored for name in ("state", "nonce", "code_challenge"))


async def test_new_members_get_the_providers_default_workspaces(sso: Sso) -> None:
    await sso.change(default_workspaces=(WorkspaceGrant(sso.tenant.workspace_id, WorkspaceRole.EDITOR),))
    found = await sso.sign_in()
    rows = await sso.rows("select workspace_id, role from workspace_members where user_id = :id", id=found.user_id)
    assert [tuple(row) for row in rows] == [(sso.tenant.workspace_id, "editor")]


async def test_what_the_provider_says_of_the_login_is_carried(sso: Sso, upstream: Upstream) -> None:
    moment = int(time.time()) - 3000
    upstream.person(email=f"ada@{sso.domain}", amr=["pwd", "mfa"], acr="gold", auth_time=moment, sid="s-1")
    found = (await sso.sign_in()).identity
    assert found.amr == ("pwd", "mfa")
    assert found.acr == "gold"
    assert found.auth_time is not None
    assert found.auth_time.timestamp() == moment
    assert found.upstream_session == "s-1"


@pytest.mark.parametrize(
    "cheat",
    [
        {"iss": "https://accounts.google.com"},
        {"aud": "another-client"},
        {"aud": ["echo", "another-client"], "azp": "another-client"},
        {"aud": ["echo", "another-client"]},
        {"azp": "another-client"},
        {"aud": None},
        {"nonce": "replayed"},
        {"nonce": None},
        {"exp": 1},
        {"exp": None},
        {"exp": "tomorrow"},
        {"iat": 4102444800},
        {"nbf": 4102444800},
        {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"},
        {"sub": None},
        {"sub": 7},
        {"sub": "x" * 300},
        {"amr": "pwd"},
        {"auth_time": "noon"},
    ],
    ids=str,
)  # fmt: skip
async def test_an_id_token_with_a_wrong_claim_is_refused(sso: Sso, upstream: Upstream, cheat: dict[str, Any]) -> None:
    upstream.id_token_claims = cheat
    assert await sso.fault() is Fault.ID_TOKEN
    assert await sso.rows("select from federated_identities where issuer = :i", i=upstream.issuer) == []


@pytest.mark.parametrize(
    "sign", ["not at all", "with the public key", "with the client secret", "with a key of its own"]
)
async def test_an_id_token_that_the_provider_did_not_sign_is_refused(sso: Sso, upstream: Upstream, sign: str) -> None:
    upstream.sign = sign
    assert await sso.fault() is Fault.ID_TOKEN


async def test_an_access_token_is_no_id_token(sso: Sso, upstream: Upstream) -> None:
    upstream.id_token_header = {"typ": "at+jwt"}
    assert await sso.fault() is Fault.ID_TOKEN


async def test_a_symmetric_key_in_the_key_set_is_not_used(sso: Sso, upstream: Upstream) -> None:
    upstream.other_keys = [
        {"kty": "oct", "k": "c2VjcmV0", "kid": upstream.key.thumbprint()},
        {"kty": "ML-KEM", "x": 1},
        {},
    ]
    assert (await sso.sign_in()).user_id


async def test_keys_without_ids_are_all_tried(sso: Sso, upstream: Upstream) -> None:
    upstream.has_key_id = False
    other = ECKey.generate_key("P-256").as_dict(private=False)
    upstream.other_keys = [dict(other)]
    assert (await sso.sign_in()).user_id


async def test_rsa_signatures_are_accepted_and_weak_keys_are_not(sso: Sso, upstream: Upstream) -> None:
    upstream.key, upstream.alg = RSAKey.generate_key(2048, {"use": "sig"}), "RS256"
    assert (await sso.sign_in()).user_id


async def test_a_provider_that_rotates_its_keys_is_looked_up_again(
    sso: Sso, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ragecho.identity.federation.discovery.KEYS_AGAIN_SECONDS", 0.0)
    await sso.sign_in()
    upstream.key = ECKey.generate_key("P-256", {"use": "sig"})
    assert (await sso.sign_in()).user_id
    assert upstream.jwks_fetched == 2


async def test_a_state_works_once(sso: Sso) -> None:
    back = await sso.go()
    await sso.come_back(back)
    with pytest.raises(FederationFailed) as caught:
        await sso.come_back(back)
    assert caught.value.fault is Fault.UNKNOWN_STATE


async def test_another_browser_cannot_finish_a_sign_in_nor_spoil_it(sso: Sso) -> None:
    back = await sso.go()
    for browser, fault in ((OTHER_BROWSER, Fault.OTHER_BROWSER), (None, Fault.UNKNOWN_STATE)):
        with pytest.raises(FederationFailed) as caught:
            await sso.come_back(back, browser)
        assert caught.value.fault is fault
    assert isinstance(await sso.come_back(back), SignedIn)


async def test_a_state_that_nobody_made_is_refused(sso: Sso) -> None:
    back = await sso.go()
    for state in ("invented", "", None):
        with pytest.raises(FederationFailed) as caught:
            await sso.come_back({"code": back["code"], **({"state": state} if state is not None else {})})
        assert caught.value.fault is Fault.UNKNOWN_STATE


async def test_an_expired_state_is_refused(sso: Sso) -> None:
    back = await sso.go()
    await_expiry = "update federation_sign_ins set expires_at = now() - interval '1 second' returning 1"
    await sso.rows(await_expiry)
    with pytest.raises(FederationFailed) as caught:
        await sso.come_back(back)
    assert caught.value.fault is Fault.UNKNOWN_STATE


async def test_an_answer_of_another_provider_is_a_mix_up(sso: Sso, upstream: Upstream) -> None:
    for issuer in ("https://attacker.example", None):
        upstream.response = {"iss": issuer}
        assert await sso.fault() is Fault.MIX_UP
        upstream.response = {"iss": issuer, "error": "access_denied", "code": None}
        assert await sso.fault() is Fault.MIX_UP


async def test_a_state_of_one_provider_is_no_good_at_another(sso: Sso, upstream: Upstream) -> None:
    other = await sso.services.administration.create(
        sso.tenant.member(),
        preset="oidc",
        values={"name": "Other", "issuer": upstream.issuer, "client_id": CLIENT_ID},
        client_secret=CLIENT_SECRET,
    )
    back = await sso.go()
    with pytest.raises(FederationFailed) as caught:
        await sso.come_back(back, provider_id=other.provider.id)
    assert caught.value.fault is Fault.UNKNOWN_STATE
    assert isinstance(await sso.come_back(back), SignedIn)


async def test_a_refusal_at_the_provider_is_told_as_one(sso: Sso, upstream: Upstream) -> None:
    upstream.response = {"error": "access_denied", "code": None}
    assert await sso.fault() is Fault.DENIED
    upstream.response = {"error": "<script>", "code": None}
    assert await sso.fault() is Fault.UPSTREAM_ERROR


async def test_a_code_of_another_sign_in_fails_by_pkce(sso: Sso) -> None:
    mine, theirs = await sso.go(), await sso.go(OTHER_BROWSER)
    with pytest.raises(FederationFailed) as caught:
        await sso.come_back({**mine, "code": theirs["code"]})
    assert caught.value.fault is Fault.TOKEN_EXCHANGE


async def test_an_unverified_address_opens_and_makes_no_account(sso: Sso, upstream: Upstream) -> None:
    for claim in (False, "false", None, 1, "yes", {}):
        upstream.person(email=f"ada@{sso.domain}", email_verified=claim)
        assert await sso.fault() is Fault.EMAIL_UNVERIFIED
    await sso.change(trusts_own_domains=True)
    upstream.person(email=f"ada@{sso.domain}", email_verified=False)
    assert await sso.fault() is Fault.EMAIL_UNVERIFIED
    upstream.person(email=f"ada@{sso.domain}", email_verified=None)
    assert (await sso.sign_in()).user_id


async def test_a_provider_is_not_believed_about_domains_that_its_organisation_does_not_control(
    sso: Sso, upstream: Upstream
) -> None:
    upstream.person(email="victim@elsewhere.example")
    assert await sso.fault() is Fault.EMAIL_NOT_TRUSTED
    await sso.change(trusts_email=True)
    assert await sso.fault() is Fault.DOMAIN_NOT_ALLOWED
    await sso.change(allowed_domains=("elsewhere.example",))
    found = await sso.sign_in()
    (user,) = await sso.rows("select managed_by_organization_id from users where id = :id", id=found.user_id)
    assert user.managed_by_organization_id is None


async def test_an_existing_account_with_the_address_is_never_taken_over(
    sso: Sso, database: Database, upstream: Upstream
) -> None:
    owner = await add_person(database, sso.tenant, email=f"ada@{sso.domain}", role="owner")
    found = await sso.come_back(await sso.go())
    assert isinstance(found, MustSignInFirst)
    assert await sso.rows("select from federated_identities where user_id = :id", id=owner) == []

    async with sso.identity.anonymous() as db:
        with pytest.raises(NotFound):
            await sso.services.sign_in.pending_link(db, found.pending_id, OTHER_BROWSER)
        pending, provider = await sso.services.sign_in.pending_link(db, found.pending_id, BROWSER)
        await sso.services.sign_in.confirm_link(db, pending, provider, owner)
    assert (await sso.sign_in()).user_id == owner
    async with sso.identity.anonymous() as db:
        with pytest.raises(NotFound):
            await sso.services.sign_in.pending_link(db, found.pending_id, BROWSER)


async def test_signing_in_in_eight_tabs_at_once_makes_one_account(sso: Sso) -> None:
    backs = [await sso.go() for _ in range(8)]
    found = await asyncio.gather(*(sso.come_back(back) for back in backs))
    assert all(isinstance(one, SignedIn) for one in found), found
    assert len({one.user_id for one in found if isinstance(one, SignedIn)}) == 1


async def test_one_answer_redeemed_eight_times_at_once_signs_in_once(sso: Sso) -> None:
    back = await sso.go()
    found = await asyncio.gather(*(sso.come_back(back) for _ in range(8)), return_exceptions=True)
    assert sum(isinstance(one, SignedIn) for one in found) == 1
    assert sum(isinstance(one, FederationFailed) and one.fault is Fault.UNKNOWN_STATE for one in found) == 7


async def test_an_account_that_the_organisations_directory_made_is_connected_at_the_first_sign_in(
    sso: Sso, database: Database
) -> None:
    person = await add_person(database, sso.tenant, email=f"Ada@{sso.domain}", is_verified=False)
    await sso.rows(
        "update users set managed_by_organization_id = :o where id = :id returning 1",
        o=sso.tenant.organization_id,
        id=person,
    )
    assert (await sso.sign_in()).user_id == person


async def test_the_same_subject_at_another_issuer_is_another_person(
    sso: Sso, identity: Database, tenant: Tenant
) -> None:
    first = await sso.sign_in()
    with running(Upstream()) as second:
        second.person(subject="ada", email=f"other-ada@{sso.domain}")
        made = await sso.services.administration.create(
            tenant.member(),
            preset="oidc",
            values={"name": "Second", "issuer": second.issuer, "client_id": CLIENT_ID},
            client_secret=CLIENT_SECRET,
        )
        other = await replace(sso, provider_id=made.provider.id).sign_in()
    assert other.user_id != first.user_id


async def test_connecting_needs_the_person_who_began_it_and_an_account_that_is_nobody_elses(
    sso: Sso, database: Database, upstream: Upstream
) -> None:
    bob = await add_person(database, sso.tenant)
    back = await sso.go(linking_user_id=bob)
    with pytest.raises(FederationFailed) as caught:
        await sso.come_back(back, user=None)
    assert caught.value.fault is Fault.NOT_SIGNED_IN
    assert isinstance(await sso.come_back(await sso.go(linking_user_id=bob), user=bob), Connected)
    carol = await add_person(database, sso.tenant)
    with pytest.raises(FederationFailed) as caught:
        await sso.come_back(await sso.go(linking_user_id=carol), user=carol)
    assert caught.value.fault is Fault.LINKED_ELSEWHERE
    async with sso.identity.anonymous() as db:
        (connection,) = await list_connections(db, bob)
        with pytest.raises(Conflict, match="only way"):
            await disconnect(db, bob, connection.id)


async def test_a_suspended_person_does_not_get_in(sso: Sso, database: Database) -> None:
    found = await sso.sign_in()
    async with database.transaction(sso.tenant.member()) as db:
        await db.execute(
            text("update organization_members set suspended_at = now() where user_id = :id"), {"id": found.user_id}
        )
    assert await sso.fault() is Fault.SUSPENDED
    async with database.transaction(sso.tenant.member()) as db:
        await db.execute(
            text("update organization_members set suspended_at = null where user_id = :id"), {"id": found.user_id}
        )
    await sso.sign_in()
    await sso.rows("update users set is_disabled = true where id = :id returning 1", id=found.user_id)
    assert await sso.fault() is Fault.SUSPENDED


async def test_without_just_in_time_members_a_stranger_is_refused(sso: Sso) -> None:
    await sso.change(creates_members=False)
    assert await sso.fault() is Fault.NOT_A_MEMBER


async def test_a_deleted_account_is_connected_to_nothing_and_its_person_may_come_again(sso: Sso) -> None:
    first = await sso.sign_in()
    await sso.rows(
        "update users set deleted_at = now(), is_disabled = true, email = id || '@deleted.invalid' where id = :id returning 1",
        id=first.user_id,
    )
    assert await sso.rows("select from federated_identities where user_id = :id", id=first.user_id) == []
    assert (await sso.sign_in()).user_id != first.user_id


async def test_a_provider_that_fails_is_not_asked_again_at_once(sso: Sso, upstream: Upstream) -> None:
    upstream.metadata = {"issuer": "https://another.example"}
    with pytest.raises(FederationFailed):
        await sso.go()
    upstream.metadata = {}
    with pytest.raises(FederationFailed) as caught:
        await sso.go()
    assert caught.value.fault is Fault.ISSUER_MISMATCH
    await sso.services.administration.test(sso.tenant.member(), sso.provider_id)
    await sso.sign_in()


async def test_a_disabled_or_deleted_provider_signs_nobody_in(sso: Sso) -> None:
    back = await sso.go()
    await sso.change(is_enabled=False)
    with pytest.raises(FederationFailed) as caught:
        await sso.go()
    assert caught.value.fault is Fault.PROVIDER_DISABLED
    with pytest.raises(FederationFailed):
        await sso.come_back(back)
    await sso.services.administration.delete(sso.tenant.member(), sso.provider_id)
    with pytest.raises(NotFound):
        await sso.go()


async def test_claims_come_from_userinfo_where_the_id_token_has_none_and_only_of_the_same_person(
    sso: Sso, upstream: Upstream
) -> None:
    upstream.userinfo = {"sub": "mallory", "email": f"ada@{sso.domain}", "email_verified": True}
    assert await sso.fault() is Fault.USERINFO
    upstream.userinfo = {"sub": "ada", "email": f"ada@{sso.domain}", "email_verified": True}
    assert (await sso.sign_in()).identity.email == f"ada@{sso.domain}"


async def test_a_hosted_domain_is_checked_in_the_token_not_only_asked_for(sso: Sso, upstream: Upstream) -> None:
    await sso.change(hosted_domain="corp.example")
    assert await sso.fault() is Fault.DOMAIN_NOT_ALLOWED
    assert upstream.requests[-1]["hd"] == "corp.example"
    upstream.person(email=f"ada@{sso.domain}", hd="corp.example")
    assert (await sso.sign_in()).user_id


async def test_a_provider_that_calls_itself_otherwise_is_refused_with_both_names(sso: Sso, upstream: Upstream) -> None:
    upstream.metadata = {"issuer": f"{upstream.issuer}/"}
    with pytest.raises(FederationFailed) as caught:
        await sso.go()
    assert caught.value.fault is Fault.ISSUER_MISMATCH
    assert f"'{upstream.issuer}/'" in caught.value.hint


@pytest.mark.parametrize("endpoint", ["javascript:alert(1)", "file:///etc/passwd", 7, None, "https://", "//x/y"])
async def test_endpoints_that_are_no_web_addresses_are_refused(sso: Sso, upstream: Upstream, endpoint: Any) -> None:
    upstream.metadata = {"authorization_endpoint": endpoint}
    with pytest.raises(FederationFailed):
        await sso.go()


async def test_outside_of_development_a_provider_on_a_private_address_is_not_asked(
    identity: Database, sso: Sso
) -> None:
    strict = build_federation(Settings(), identity, VAULT, issuer=ISSUER)
    with pytest.raises(FederationFailed) as caught:
        await strict.sign_in.start(sso.provider_id, browser_secret=BROWSER, destination=Destination())
    assert caught.value.fault is Fault.INSECURE


async def test_addresses_are_routed_only_for_verified_domains_of_the_same_organisation(
    sso: Sso, identity: Database, other_tenant: Tenant, upstream: Upstream
) -> None:
    admin = sso.services.administration
    thief = other_tenant.member()
    shown = await admin.create(
        thief,
        preset="oidc",
        values={
            "name": "Thief",
            "issuer": upstream.issuer,
            "client_id": "x",
            "routed_domains": (sso.domain, "b.example"),
        },
        client_secret=None,
    )
    assert shown.unverified_domains == (sso.domain, "b.example")
    async with identity.anonymous() as db:
        found = await route_email(db, f"Somebody@{sso.domain.upper()}")
        assert found is not None
        assert str(sso.provider_id) in found.href
        assert await route_email(db, "somebody@b.example") is None
        assert await route_email(db, "nobody") is None
    claim = await admin.add_domain(thief, sso.domain)
    with pytest.raises(Conflict, match="Another organisation"):
        await admin.vouch_for_domain(thief, claim.name)


async def test_a_domain_is_verified_by_its_txt_record(identity: Database, tenant: Tenant) -> None:
    records: dict[str, list[str]] = {}

    async def resolve(name: str) -> list[str]:
        return records.get(name, [])

    services = build_federation(Settings(), identity, VAULT, issuer=ISSUER, resolve_txt=resolve)
    admin, caller = services.administration, tenant.member()
    domain = await admin.add_domain(caller, f"B\u00fccher-{str(tenant.organization_id)[-12:]}.Example.")
    assert domain.name.startswith("xn--bcher-")
    with pytest.raises(Conflict, match="does not say"):
        await admin.verify_domain(caller, domain.id)
    records[f"_echo.{domain.name}"] = ["v=spf1 -all", domain.txt_value]
    verified = await admin.verify_domain(caller, domain.id)
    assert (verified.verified_by, verified.verified_at is not None) == ("dns", True)
    for name in ("gmail.com", "localhost", "a b.example", "-x.example"):
        with pytest.raises(InvalidInput):
            await admin.add_domain(caller, name)


async def test_only_the_operator_puts_a_button_on_everybodys_login_page(
    sso: Sso, identity: Database, other_tenant: Tenant
) -> None:
    with pytest.raises(Forbidden):
        await sso.services.administration.update(
            sso.tenant.member(), sso.provider_id, values={"is_listed": True}, client_secret=None
        )
    async with identity.anonymous() as db:
        assert str(sso.provider_id) not in repr(await login_buttons(db))
    await sso.change(is_listed=True)
    async with identity.anonymous() as db:
        assert str(sso.provider_id) in repr(await login_buttons(db))
    await sso.change(is_listed=False)


async def test_another_organisation_sees_and_changes_no_provider(sso: Sso, other_tenant: Tenant) -> None:
    admin, stranger = sso.services.administration, other_tenant.member()
    assert await admin.list_providers(stranger, limit=10, offset=0) == ([], 0)
    for act in (
        admin.get(stranger, sso.provider_id),
        admin.delete(stranger, sso.provider_id),
        admin.test(stranger, sso.provider_id),
        admin.update(stranger, sso.provider_id, values={"name": "mine"}, client_secret=None),
    ):
        with pytest.raises(NotFound):
            await act


async def test_a_secret_does_not_go_to_another_issuer(sso: Sso, upstream: Upstream) -> None:
    with pytest.raises(InvalidInput, match="again"):
        await sso.change(issuer="https://attacker.example")
    (row,) = await sso.rows("select client_secret_sealed from identity_providers where id = :id", id=sso.provider_id)
    assert CLIENT_SECRET not in row.client_secret_sealed


async def test_the_diagnosis_of_a_provider_that_works_and_of_ones_that_do_not(sso: Sso, upstream: Upstream) -> None:
    async def verdicts() -> dict[str, str]:
        found = await sso.services.administration.test(sso.tenant.member(), sso.provider_id)
        return {check.name: str(check.verdict) for check in found}

    good = {"discovery": "ok", "keys": "ok", "pkce": "ok", "redirect_uri": "ok", "client": "ok"}
    assert await verdicts() == good
    upstream.redirect_uris = {"https://elsewhere.example/callback"}
    assert await verdicts() == {**good, "redirect_uri": "failed"}
    upstream.redirect_uris = set()
    await sso.services.administration.update(
        sso.tenant.member(), sso.provider_id, values={}, client_secret="an old secret"
    )
    assert await verdicts() == {**good, "client": "failed"}
    upstream.metadata = {"id_token_signing_alg_values_supported": ["HS256"], "code_challenge_methods_supported": None}
    assert await verdicts() == {**good, "client": "failed", "keys": "failed", "pkce": "warning"}
    upstream.metadata = {"issuer": "https://another.example"}
    assert await verdicts() == {"discovery": "failed"}


async def session_from_upstream(sso: Sso, upstream: Upstream, sid: str) -> tuple[UUID, SignedIn]:
    upstream.person(email=f"ada@{sso.domain}", sid=sid)
    found = await sso.sign_in()
    async with sso.identity.anonymous() as db:
        session, _ = await start_session(db, found.user_id, amr=("fed",), user_agent=None, ip=None)
        await store_sign_ins.insert_federated_session(
            db, session.id, found.identity_id, upstream_session=found.identity.upstream_session
        )
    return session.id, found


async def test_signing_out_at_the_provider_ends_the_sessions_that_came_from_there(sso: Sso, upstream: Upstream) -> None:
    one, _ = await session_from_upstream(sso, upstream, "s-1")
    two, _ = await session_from_upstream(sso, upstream, "s-2")
    three, _ = await session_from_upstream(sso, upstream, "s-3")
    logout = sso.services.logout

    async def live() -> set[UUID]:
        rows = await sso.rows(
            "select id from identity_sessions where ended_at is null and id = any(:ids)", ids=[one, two, three]
        )
        return {row.id for row in rows}

    assert await logout.receive(sso.provider_id, upstream.logout_token(sid="s-1")) == 1
    assert await live() == {two, three}
    assert await logout.receive(sso.provider_id, upstream.logout_token(sid="s-2", sub="somebody else")) == 0
    token = upstream.logout_token(sub="ada")
    assert await logout.receive(sso.provider_id, token) == 2
    assert await live() == set()
    with pytest.raises(FederationFailed, match="could not be verified"):
        await logout.receive(sso.provider_id, token)


@pytest.mark.parametrize(
    "cheat",
    [
        {"events": None},
        {"events": {}},
        {"events": {"http://schemas.openid.net/event/backchannel-logout": 1}},
        {"nonce": "n"},
        {"iss": "https://other.example"},
        {"aud": "another-client"},
        {"exp": 1},
        {"iat": 1},
        {"iat": 4102444800},
        {"iat": None},
        {"jti": None},
        {"jti": 7},
        {"sub": None},
        {"sub": 7},
        {"sid": ["s-1"]},
    ],
    ids=str,
)  # fmt: skip
async def test_a_logout_token_with_a_wrong_claim_ends_nothing(
    sso: Sso, upstream: Upstream, cheat: dict[str, Any]
) -> None:
    session_id, _ = await session_from_upstream(sso, upstream, "s-1")
    with pytest.raises(FederationFailed):
        await sso.services.logout.receive(sso.provider_id, upstream.logout_token(**{"sub": "ada", **cheat}))
    assert await sso.rows("select from identity_sessions where id = :id and ended_at is null", id=session_id)


@pytest.mark.parametrize(
    "sign", ["not at all", "with the public key", "with the client secret", "with a key of its own"]
)
async def test_a_logout_token_that_the_provider_did_not_sign_ends_nothing(
    sso: Sso, upstream: Upstream, sign: str
) -> None:
    session_id, _ = await session_from_upstream(sso, upstream, "s-1")
    upstream.sign = sign
    with pytest.raises(FederationFailed):
        await sso.services.logout.receive(sso.provider_id, upstream.logout_token(sub="ada"))
    assert await sso.rows("select from identity_sessions where id = :id and ended_at is null", id=session_id)
