"""Administration of an organisation's providers and domains. Whoever calls has been authorised for the organisation."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from ragecho.identity.federation import domains, store_providers
from ragecho.identity.federation.diagnosis import Check, diagnose
from ragecho.identity.federation.model import DEFAULT_SCOPES, GOOGLE_ISSUER, Domain, IdentityProvider
from ragecho.identity.federation.sign_in import SECRET_PURPOSE, FederatedSignIn, registration_of
from ragecho.identity.federation.upstream import Upstreams
from ragecho.identity.vault import Vault
from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import Conflict, Forbidden, InvalidInput, NotFound
from ragecho.kernel.ids import uuid7
from ragecho.platform.audit_log import Target, record
from ragecho.platform.database import Database, Session
from ragecho.tenancy.model import DEFAULT_ORGANIZATION

# What concerns everybody on the server: for the organisation that operates it, and for its command line.
SERVER_WIDE = ("is_listed", "trusts_email")


@dataclass(frozen=True, slots=True)
class ShownProvider:
    """A provider with what its administrator has to know: addresses to register there, and domains that still are no one's."""

    provider: IdentityProvider
    redirect_uri: str
    backchannel_logout_uri: str
    unverified_domains: tuple[str, ...]


class ProviderAdministration:
    """Acts on the providers and domains of the caller's organisation."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        upstreams: Upstreams,
        sign_in: FederatedSignIn,
        *,
        resolve_txt: domains.TxtLookup = domains.dns_txt,
    ) -> None:
        self._database = database
        self._vault = vault
        self._upstreams = upstreams
        self._sign_in = sign_in
        self._resolve_txt = resolve_txt

    async def create(
        self,
        caller: Caller,
        *,
        preset: str,
        values: Mapping[str, Any],
        client_secret: str | None,
        is_operator: bool = False,
    ) -> ShownProvider:
        """Create a provider. Raises `InvalidInput`, `Forbidden` or `Conflict`."""
        wanted = {"scopes": DEFAULT_SCOPES, **values}
        if preset == "google":
            wanted["issuer"] = GOOGLE_ISSUER
        if not wanted.get("issuer"):
            raise InvalidInput("An issuer is needed: the provider's https URL.")
        self._check(caller, wanted, is_operator=is_operator)
        if client_secret:
            wanted["client_secret_sealed"] = self._vault.encrypt(client_secret, purpose=SECRET_PURPOSE)
        async with self._database.anonymous() as db:
            made = await store_providers.insert_provider(db, uuid7(), caller.organization_id, preset, wanted)
            if made is None:
                raise Conflict("The organisation has a provider of that name already.")
            await record(
                db,
                caller,
                "identity_provider.created",
                Target("identity_provider", made.id),
                details={"name": made.name, "issuer": made.issuer},
            )
            return await self._shown(db, made)

    async def update(
        self,
        caller: Caller,
        provider_id: UUID,
        *,
        values: Mapping[str, Any],
        client_secret: str | None,
        is_operator: bool = False,
    ) -> ShownProvider:
        """Change what `values` name. Raises `NotFound`, `InvalidInput`, `Forbidden` or `Conflict`."""
        wanted = dict(values)
        self._check(caller, wanted, is_operator=is_operator)
        if client_secret:
            wanted["client_secret_sealed"] = self._vault.encrypt(client_secret, purpose=SECRET_PURPOSE)
        async with self._database.anonymous() as db:
            name = wanted.get("name")
            if name and await store_providers.is_name_taken(db, caller.organization_id, name, besides=provider_id):
                raise Conflict("The organisation has a provider of that name already.")
            before = await self._find(db, caller, provider_id)
            if before.preset == "google" and wanted.get("issuer", GOOGLE_ISSUER) != GOOGLE_ISSUER:
                raise InvalidInput("Google's issuer does not change. Make a provider of the kind 'oidc' instead.")
            if wanted.get("issuer", before.issuer) != before.issuer and not client_secret and before.has_secret:
                # Else the secret of one provider could be sent to another by whoever may not read it.
                raise InvalidInput("With a new issuer, give the client secret again.")
            made = await store_providers.update_provider(db, caller.organization_id, provider_id, wanted)
            if made is None:
                raise NotFound("There is no such identity provider.")
            changed = sorted("client_secret" if one == "client_secret_sealed" else one for one in wanted)
            await record(
                db,
                caller,
                "identity_provider.changed",
                Target("identity_provider", provider_id),
                details={"changed": changed},
            )
            return await self._shown(db, made)

    async def delete(self, caller: Caller, provider_id: UUID) -> None:
        """Remove a provider; nobody signs in with it from now on. Raises `NotFound`."""
        async with self._database.anonymous() as db:
            if not await store_providers.delete_provider(db, caller.organization_id, provider_id):
                raise NotFound("There is no such identity provider.")
            await record(db, caller, "identity_provider.deleted", Target("identity_provider", provider_id))

    async def get(self, caller: Caller, provider_id: UUID) -> ShownProvider:
        """Return a provider. Raises `NotFound`."""
        async with self._database.anonymous() as db:
            return await self._shown(db, await self._find(db, caller, provider_id))

    async def list_providers(self, caller: Caller, *, limit: int, offset: int) -> tuple[list[ShownProvider], int]:
        """Return a page of the providers, newest first."""
        async with self._database.anonymous() as db:
            found, total = await store_providers.list_providers(db, caller.organization_id, limit=limit, offset=offset)
            return [await self._shown(db, one) for one in found], total

    async def test(self, caller: Caller, provider_id: UUID) -> list[Check]:
        """Return what works and what does not. Raises `NotFound`."""
        async with self._database.anonymous() as db:
            provider = await self._find(db, caller, provider_id)
            sealed = await store_providers.sealed_secret(db, provider.id)
        secret = None if sealed is None else self._vault.decrypt(sealed, purpose=SECRET_PURPOSE).decode()
        return await diagnose(
            self._upstreams,
            registration_of(provider, secret),
            redirect_uri=self._sign_in.redirect_uri(provider.id),
        )

    async def add_domain(self, caller: Caller, name: str) -> Domain:
        """Claim a domain; it counts once it is verified. Raises `InvalidInput` or `Conflict`."""
        async with self._database.anonymous() as db:
            made = await domains.add_domain(db, caller.organization_id, name)
            await record(db, caller, "domain.added", Target("domain", made.id), details={"name": made.name})
            return made

    async def list_domains(self, caller: Caller, *, limit: int, offset: int) -> tuple[list[Domain], int]:
        """Return a page of the domains, newest first."""
        async with self._database.anonymous() as db:
            return await store_providers.list_domains(db, caller.organization_id, limit=limit, offset=offset)

    async def verify_domain(self, caller: Caller, domain_id: UUID) -> Domain:
        """Look for the TXT record, and note that it is there. Raises `NotFound`, `Conflict` or `Unavailable`."""
        async with self._database.anonymous() as db:
            domain = await self._domain(db, caller, domain_id)
        if domain.verified_at is not None:
            return domain
        domains.check_records(domain, await self._resolve_txt(f"{domains.RECORD_LABEL}.{domain.name}"))
        return await self._verified(caller, domain, by="dns")

    async def vouch_for_domain(self, caller: Caller, name: str) -> Domain:
        """Verify a domain by the operator's word, claiming it where that was not done. Never from a request."""
        wanted = domains.normal_domain(name)
        async with self._database.anonymous() as db:
            domain = await store_providers.find_domain(db, caller.organization_id, name=wanted)
            if domain is None:
                domain = await domains.add_domain(db, caller.organization_id, wanted)
        return await self._verified(caller, domain, by="operator")

    async def delete_domain(self, caller: Caller, domain_id: UUID) -> None:
        """Give a domain up. Raises `NotFound`."""
        async with self._database.anonymous() as db:
            if not await store_providers.delete_domain(db, caller.organization_id, domain_id):
                raise NotFound("There is no such domain.")
            await record(db, caller, "domain.removed", Target("domain", domain_id))

    async def _verified(self, caller: Caller, domain: Domain, *, by: str) -> Domain:
        async with self._database.anonymous() as db:
            done = await domains.mark_verified(db, domain, by=by)
            await record(
                db, caller, "domain.verified", Target("domain", done.id), details={"name": done.name, "by": by}
            )
            return done

    async def _domain(self, db: Session, caller: Caller, domain_id: UUID) -> Domain:
        found = await store_providers.find_domain(db, caller.organization_id, domain_id=domain_id)
        if found is None:
            raise NotFound("There is no such domain.")
        return found

    async def _find(self, db: Session, caller: Caller, provider_id: UUID) -> IdentityProvider:
        found = await store_providers.find_provider(db, provider_id, organization_id=caller.organization_id)
        if found is None:
            raise NotFound("There is no such identity provider.")
        return found

    async def _shown(self, db: Session, provider: IdentityProvider) -> ShownProvider:
        open_claims = [
            name
            for name in provider.routed_domains
            if not await store_providers.controls_domain(db, provider.organization_id, name)
        ]
        return ShownProvider(
            provider,
            self._sign_in.redirect_uri(provider.id),
            self._sign_in.backchannel_logout_uri(provider.id),
            tuple(open_claims),
        )

    def _check(self, caller: Caller, values: Mapping[str, Any], *, is_operator: bool) -> None:
        if is_operator or caller.organization_id == DEFAULT_ORGANIZATION:
            return
        asked = [name for name in SERVER_WIDE if values.get(name)]
        if asked:
            raise Forbidden(f"'{asked[0]}' concerns everybody on this server: only its operator sets it.")
