"""`ragecho identity provider …` and `… domain …`, on the machine that holds the database: the operator's word counts."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from uuid import UUID

from pydantic import ValidationError

from ragecho.identity.federation.build import build_federation
from ragecho.identity.federation.providers import ProviderAdministration, ShownProvider
from ragecho.identity.federation.schemas import CheckOut, DomainOut, ProviderIn, ProviderOut
from ragecho.identity.settings import IdentitySettings, issuer_of
from ragecho.identity.vault import open_vault
from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import InvalidInput, NotFound
from ragecho.kernel.ids import OrganizationId
from ragecho.platform.database import IDENTITY_ROLE, Database
from ragecho.platform.settings import Settings
from ragecho.roles.local import local_database
from ragecho.roles.prepare import prepare
from ragecho.tenancy.model import DEFAULT_ORGANIZATION
from ragecho.tenancy.service import local_administrator

MOST = 200
Shown = dict[str, Any]


def add_provider(settings: Settings, organization: str | None, values: Mapping[str, Any]) -> Shown:
    """Create a provider from what the API takes. Raises `InvalidInput` or `Conflict`."""
    try:
        wanted = ProviderIn.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise InvalidInput(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None

    async def work(admin: ProviderAdministration, caller: Caller) -> Shown:
        made = await admin.create(
            caller, preset=wanted.preset, values=wanted.values(), client_secret=wanted.secret(), is_operator=True
        )
        return _plain(made)

    return _run(settings, organization, work)


def list_providers(settings: Settings, organization: str | None) -> list[Shown]:
    """Return the organisation's providers, newest first."""

    async def work(admin: ProviderAdministration, caller: Caller) -> list[Shown]:
        found, _ = await admin.list_providers(caller, limit=MOST, offset=0)
        return [_plain(one) for one in found]

    return _run(settings, organization, work)


def set_enabled(settings: Settings, organization: str | None, name: str, *, is_enabled: bool) -> Shown:
    """Switch a provider on or off, by id or name. Raises `NotFound`."""

    async def work(admin: ProviderAdministration, caller: Caller) -> Shown:
        wanted = await _find(admin, caller, name)
        return _plain(
            await admin.update(caller, wanted, values={"is_enabled": is_enabled}, client_secret=None, is_operator=True)
        )

    return _run(settings, organization, work)


def remove_provider(settings: Settings, organization: str | None, name: str) -> None:
    """Remove a provider by id or name. Raises `NotFound`."""

    async def work(admin: ProviderAdministration, caller: Caller) -> None:
        await admin.delete(caller, await _find(admin, caller, name))

    _run(settings, organization, work)


def check_provider(settings: Settings, organization: str | None, name: str) -> list[Shown]:
    """Return the checks of a provider, by id or name. Raises `NotFound`."""

    async def work(admin: ProviderAdministration, caller: Caller) -> list[Shown]:
        checks = await admin.test(caller, await _find(admin, caller, name))
        return [CheckOut.model_validate(check).model_dump(mode="json") for check in checks]

    return _run(settings, organization, work)


def list_domains(settings: Settings, organization: str | None) -> list[Shown]:
    """Return the domains that the organisation claims, newest first."""

    async def work(admin: ProviderAdministration, caller: Caller) -> list[Shown]:
        found, _ = await admin.list_domains(caller, limit=MOST, offset=0)
        return [DomainOut.of(one).model_dump(mode="json") for one in found]

    return _run(settings, organization, work)


def verify_domain(settings: Settings, organization: str | None, name: str) -> Shown:
    """Verify a domain by the operator's word. Raises `InvalidInput` or `Conflict`."""

    async def work(admin: ProviderAdministration, caller: Caller) -> Shown:
        return DomainOut.of(await admin.vouch_for_domain(caller, name)).model_dump(mode="json")

    return _run(settings, organization, work)


def remove_domain(settings: Settings, organization: str | None, name: str) -> None:
    """Give a domain up, by id or name. Raises `NotFound`."""

    async def work(admin: ProviderAdministration, caller: Caller) -> None:
        found, _ = await admin.list_domains(caller, limit=MOST, offset=0)
        wanted = next((one.id for one in found if name.lower() in (one.name, str(one.id))), None)
        if wanted is None:
            raise NotFound("There is no such domain.")
        await admin.delete_domain(caller, wanted)

    _run(settings, organization, work)


async def _find(admin: ProviderAdministration, caller: Caller, name: str) -> UUID:
    found, _ = await admin.list_providers(caller, limit=MOST, offset=0)
    for one in found:
        if name.lower() in (one.provider.name.lower(), str(one.provider.id)):
            return one.provider.id
    raise NotFound("There is no such identity provider; 'ragecho identity provider ls' lists them.")


def _plain(shown: ShownProvider) -> Shown:
    return ProviderOut.of(shown).model_dump(mode="json")


def _run[T](
    settings: Settings,
    organization: str | None,
    work: Callable[[ProviderAdministration, Caller], Awaitable[T]],
) -> T:
    try:
        organization_id = OrganizationId(UUID(organization)) if organization else DEFAULT_ORGANIZATION
    except ValueError as error:
        raise InvalidInput("An organisation's id is a UUID.") from error

    async def run(url: str) -> T:
        database = Database(url, role=IDENTITY_ROLE, pool_size=1, application_name="ragecho identity")
        try:
            vault = open_vault(settings, IdentitySettings())
            federation = build_federation(settings, database, vault, issuer=issuer_of(settings))
            return await work(federation.administration, local_administrator(organization_id))
        finally:
            await database.close()

    with local_database(settings) as urls:
        prepare(settings, urls.owner, is_embedded=urls.is_embedded)
        return asyncio.run(run(urls.app))
